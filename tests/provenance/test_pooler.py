"""Behind a pooler that hands out one process of the server for each transaction (PgBouncer, a real one): it all goes on."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from provenance.postgres.base import ScopedCursor
from provenance.postgres.connection import WORKSPACE, ScopedConnection
from provenance.postgres.names import signed_in
from provenance.postgres.session import is_straight
from tests import databases

AS_SOMEBODY_ELSE = ["--reuid=65534", "--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
"""It does not run as root; what root may read, it must be able to read all the same."""
BEFORE = ["setpriv", *AS_SOMEBODY_ELSE] if os.getuid() == 0 else []


def runs():
    """Whether there is one, and rights that it takes can be given to it."""
    tried = subprocess.run([*BEFORE, "true"], capture_output=True, check=False)
    return bool(shutil.which("pgbouncer")) and not tried.returncode


pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not runs(), reason="PgBouncer is not installed"),
]

TIMES = 12
"""More than it takes until a statement is ready, by our count and by the driver's."""
LOOK = "SELECT id FROM agents_agent WHERE id = %s FOR UPDATE"


@pytest.fixture
def pooled(tmp_path):
    """The URL of PgBouncer before this worker's database, with two processes of the server for everybody."""
    server = conninfo_to_dict(databases.role_url("web"))
    (tmp_path / "users").write_text(f'"{server["user"]}" "{server["password"]}"\n')
    file = tmp_path / "pgbouncer.ini"
    file.write_text(
        "[databases]\n"
        f"* = host={server['host']} port={server.get('port', 5432)}\n"
        "[pgbouncer]\n"
        "pool_mode = transaction\ndefault_pool_size = 2\nignore_startup_parameters = extra_float_digits,options\n"
        f"listen_addr =\nunix_socket_dir = {tmp_path}\nlogfile = {tmp_path}/log\n"
        f"auth_type = plain\nauth_file = {tmp_path}/users\n"
    )
    with subprocess.Popen([*BEFORE, "pgbouncer", "--quiet", str(file)], stderr=subprocess.PIPE) as running:
        _wait_for(tmp_path / ".s.PGSQL.6432", running)
        yield f"postgresql://{server['user']}:{server['password']}@/{settings.DATABASES['default']['NAME']}?host={tmp_path}&port=6432"
        running.send_signal(signal.SIGINT)


def _wait_for(socket: Path, running):
    for _ in range(600):
        if socket.exists():
            return
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.1)
    raise AssertionError("PgBouncer does not start.")


def connected(url):
    connection = ScopedConnection.connect(url, cursor_factory=ScopedCursor)
    connection.is_straight = is_straight(connection)
    connection.commit()
    return connection


@pytest.fixture
def look(workspace):
    def begin(connection):
        token = WORKSPACE.set(workspace.id)
        try:
            connection.cursor().execute(connection.ready(LOOK), [workspace.id])
        finally:
            WORKSPACE.reset(token)

    return begin


def alternating(one, other, begin):
    """Transactions of two connections that overlap, so that the two processes answer each of them in turn.

    The pooler gives the process that became free last to whoever begins next.
    """
    first, second = one, other
    for _ in range(TIMES):
        begin(first)
        begin(second)
        second.commit()
        first.commit()
        first, second = second, first


def test_nothing_is_kept_in_a_process_that_others_get_next(pooled, look):
    with connected(pooled) as one, connected(pooled) as other:
        assert not one.is_straight
        alternating(one, other, look)
        assert one.ready(LOOK) == LOOK


def test_what_is_kept_is_missed_in_the_other_process(pooled, look):
    """So each is answered by both processes, and what is not to be seen above would be seen."""
    with connected(pooled) as one, connected(pooled) as other:
        one.is_straight = True
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            alternating(one, other, look)
        one.rollback()


def test_a_pooler_that_does_not_show_itself_gives_no_answer_to_another_statement(pooled):
    """One that hands on the number of a process, which is not the only one: what is missed is said, and left there no more."""
    with connected(pooled) as one, connected(pooled) as other:
        wanted, missed = {one: 1, other: 2}, []

        def ask(connection):
            number = wanted[connection]
            try:
                cursor = connection.cursor().execute(connection.ready(f"SELECT {number} + %s"), [10])
                assert cursor.fetchone() == (number + 10,)
            except psycopg.errors.InvalidSqlStatementName as error:
                connection.note_failure(error)
                connection.rollback()
                missed.append(connection)

        one.is_straight = other.is_straight = True
        alternating(one, other, ask)
        assert set(missed) == {one, other}
        assert len(missed) == 2


def test_without_a_pooler_it_is_kept(look):
    url = databases.role_url("web")
    with connected(url) as one, connected(url) as other:
        alternating(one, other, look)
        assert one.ready(LOOK).startswith("EXECUTE ")


def test_what_the_driver_prepares_by_itself_is_not_kept_either(pooled):
    """As the sealer, reconciliation and verifiers connect. Two statements of one name would answer for each other."""
    with signed_in(pooled) as one, signed_in(pooled) as other:
        wanted = {one: 1, other: 2}

        def ask(connection):
            number = wanted[connection]
            assert connection.execute(f"SELECT {number} + %s::int", [10]).fetchone() == (number + 10,)

        alternating(one, other, ask)
