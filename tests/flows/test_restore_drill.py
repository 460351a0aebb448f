"""The restore drill (goal 14): dump, restore, verify; and what a restore to before the last checkpoint does to sealing.

In a cluster of its own, because a restore is one of a whole cluster: another system id after dump and restore, the same
one after its files were put back, another timeline after a promotion.
"""

import shutil
import subprocess
from types import SimpleNamespace

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from audit.anchors.directory import DirectoryAnchor
from audit.envelope import storing
from audit.sealer import Sealer
from audit.sealing.log_keys import LogKeys
from audit.taxonomy import Event
from audit.verifying.fsck import Fsck
from audit.verifying.verification import Verification, Wanted
from provenance import readiness
from provenance.actor import Actor
from provenance.binaries import postgres_for
from provenance.embedded import SERVER_ENVIRONMENT, EmbeddedPostgres
from provenance.home import DATABASE, Home
from provenance.roles import LOGIN_ROLES, ensure_roles
from tests import databases
from tests.attacks.log import told_by
from tests.audit import sealing
from tests.audit.sealing import WORKSPACE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE)]


class Place:
    """A database somewhere: who signs in to it, and what is done there."""

    def __init__(self, admin_url, home, anchor):
        self.admin_url, self.home, self.anchor = admin_url, home, anchor

    def login(self, role):
        conninfo = psycopg.conninfo.make_conninfo(
            self.admin_url, user=f"prov_{role}", password=self.home.read_key(f"db-prov_{role}")
        )
        return psycopg.connect(conninfo, autocommit=True)

    def tell(self, count):
        with self.login("worker") as worker, worker.transaction():
            worker.execute(f"SET LOCAL app.workspace_id = '{WORKSPACE}'")
            for _ in range(count):
                worker.execute(*storing([told_by("worker", Actor.system("tests", WORKSPACE), Event.RUN_STARTED)]))

    def sealer(self):
        return Sealer(
            connect=lambda: self.login("sealer"),
            keys=sealing.all_keys(),
            log_keys=LogKeys(sealing.SIGNER),
            origin=sealing.ORIGIN,
            places=[self.anchor],
        )

    def seal(self):
        one = self.sealer()
        try:
            while one.work():
                pass
            for courier in one.couriers:
                courier.deliver()
        finally:
            one.close()

    def start_epoch(self):
        one = self.sealer()
        try:
            return one.start_epoch("the drill")
        finally:
            one.close()

    def rows(self, statement):
        with psycopg.connect(self.admin_url, autocommit=True) as owner:
            return owner.execute(statement).fetchall()

    def problem(self):
        return self.rows("SELECT problem FROM audit.status WHERE subject = 'sealer'")[0][0]

    def sealed(self):
        return self.rows("SELECT count(*) FROM audit.leaf WHERE event_id IS NOT NULL")[0][0]

    def verify(self):
        report = Verification(
            connect=lambda: self.login("sealer"),
            keys=sealing.all_keys(),
            signer=sealing.SIGNER,
            installation=sealing.ORIGIN,
            anchors=[self.anchor],
        ).run(Wanted())
        with self.login("sealer") as reader:
            defects = Fsck(reader).run(60)
        return SimpleNamespace(is_good=report.is_good and not defects, report=report, defects=defects)

    def cluster(self):
        return self.rows(
            "SELECT (SELECT system_identifier FROM pg_control_system()), left(pg_walfile_name(pg_current_wal_lsn()), 8)"
        )[0]


@pytest.fixture
def elsewhere(tmp_path):
    """An empty cluster with the roles of the installation."""
    home = Home(tmp_path / "home").ensure()
    server = EmbeddedPostgres(home, durable=False)
    server.start()
    yield server
    server.stop()
    home.discard_run()


def program(server, name, *arguments):
    """One of Postgres's own programs, from where the server comes from."""
    command = [str(postgres_for(server.home.postgres).folder / name), *arguments]
    subprocess.run(command, env=SERVER_ENVIRONMENT, check=True, capture_output=True)


def restored(server, dump, anchor):
    """What the runbook says: roles and an empty database, then the dump."""
    here = Home.locate()
    ensure_roles(server.admin_url(), {role: here.read_key(f"db-{role}") for role in LOGIN_ROLES})
    program(server, "pg_restore", "--exit-on-error", "--dbname", server.admin_url(DATABASE), str(dump))
    ensure_roles(server.admin_url(), {})
    return Place(server.admin_url(DATABASE), here, anchor)


def problems_seen_from(place):
    """What readiness says, as web would in the restored database."""
    before = dict(connection.settings_dict)
    connection.close()
    url = psycopg.conninfo.conninfo_to_dict(place.admin_url)
    connection.settings_dict |= {
        "NAME": url["dbname"],
        "HOST": url["host"],
        "PORT": "",
        "USER": url["user"],
        "PASSWORD": url["password"],
    }
    try:
        return readiness.problems()
    finally:
        connection.close()
        connection.settings_dict |= before


def test_the_drill(elsewhere, tmp_path):
    anchor = DirectoryAnchor(tmp_path / "anchor")
    origin = Place(databases.admin_url_of_worker(), Home.locate(), anchor)
    origin.tell(300)
    origin.seal()
    origin.tell(2)
    dump = tmp_path / "dump"
    program(elsewhere, "pg_dump", "--format=custom", "--file", str(dump), databases.admin_url_of_worker())

    # Nothing was published since: the dump is the log, in another cluster, and it is sealed on.
    place = restored(elsewhere, dump, anchor)
    assert problems_seen_from(place) == []
    assert place.cluster()[0] != origin.cluster()[0]
    assert place.verify().is_good
    place.tell(1)
    place.seal()
    assert place.problem() == ""
    assert place.sealed() == 303, "also what was committed and not sealed when it was dumped"
    assert place.verify().is_good

    # The cluster's files put back: the same system id, and transaction ids that are given out a second time.
    files, copy = elsewhere.home.postgres, tmp_path / "files"
    elsewhere.stop()
    shutil.copytree(files, copy, symlinks=True)
    elsewhere.start()
    known = place.cluster()
    place.tell(4)
    place.seal()
    elsewhere.stop()
    shutil.rmtree(files)
    copy.rename(files)
    elsewhere.start()
    place.tell(3)
    place.seal()
    assert place.cluster() == known
    assert "were published" in place.problem()
    assert place.sealed() == 303, "nothing is sealed, and nothing is signed, until a person says so"
    assert not place.verify().is_good
    assert len(place.start_epoch()) == 2
    place.seal()
    assert place.problem() == ""
    assert place.sealed() == 303 + 3 + 2 + 1, "three told, two epochs, and that the sealer refused"
    assert place.verify().is_good, place.verify()

    # A standby that was promoted: another timeline, and everything of it is found and sealed once.
    elsewhere.stop()
    (files / "standby.signal").touch()
    elsewhere.start()
    place.rows("SELECT pg_promote()")
    place.tell(2)
    place.seal()
    assert place.cluster()[0] == known[0]
    assert place.cluster()[1] > known[1]
    assert place.problem() == ""
    assert place.sealed() == 311
    assert place.verify().is_good


def test_a_dump_from_before_what_was_published_is_not_sealed_on(elsewhere, tmp_path):
    anchor = DirectoryAnchor(tmp_path / "anchor")
    origin = Place(databases.admin_url_of_worker(), Home.locate(), anchor)
    origin.tell(3)
    origin.seal()
    dump = tmp_path / "dump"
    program(elsewhere, "pg_dump", "--format=custom", "--file", str(dump), databases.admin_url_of_worker())
    origin.tell(2)
    origin.seal()
    place = restored(elsewhere, dump, anchor)
    place.tell(1)
    place.seal()
    assert "has 3 entries" in place.problem() or "and 2 were published" in place.problem()
    assert place.sealed() == 3
    place.start_epoch()
    place.seal()
    assert place.verify().is_good
    assert settings.DATABASES["default"]["NAME"] not in place.admin_url
