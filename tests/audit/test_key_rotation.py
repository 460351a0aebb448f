"""Replacing the keys of events: told under both, known before it signs, and nobody stops in between (M112, M126)."""

import threading
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from audit import rotation
from audit.services import Target, record
from audit.signing import KeyRing
from audit.taxonomy import Event
from provenance import held_keys
from provenance.actor import Actor
from provenance.errors import NotFound, PermissionDenied
from provenance.held_keys import Environment, Files, HeldKeys
from provenance.home import Home, write_once
from provenance.keyfiles import KeyRefused
from provenance.readiness import problems
from provenance.role_keys import MAC_KEYS_OF
from tests import databases
from tests.audit.keys import HOST, as_migrator, copied_home, forget_rotations, keys_of, ring, rotate
from tests.audit.sealing import leaves, rows, sealer
from tests.provenance.environments import key


@pytest.fixture
def home(tmp_path):
    return copied_home(tmp_path / "home")


@pytest.mark.django_db
class TestRotate:
    def test_both_keys_tell_it_in_their_signed_bodies(self, home, instance_events):
        done = rotate(home)
        events = instance_events(Event.AUDIT_KEY_ROTATED)
        assert [(event.kid, event.object_id) for event in events] == [("web-1", "web-2"), ("web-2", "web-1")]
        assert len({event.signed["context"]["action_id"] for event in events}) == 1
        assert {event.risk for event in events} == {"critical"}
        ring = KeyRing.parse(keys_of(home).now(), "web")
        for event in events:
            assert ring.key(event.kid, None).verifies(event.body.encode(), bytes(event.mac))
        assert (done.old, done.new) == ("web-1", "web-2")
        assert home.key_path("mac-web-2").stat().st_mode & 0o777 == 0o600
        assert {path.name for path in home.keys.glob("mac-web*")} == {"mac-web", "mac-web-2"}

    @pytest.mark.parametrize("process", MAC_KEYS_OF["keys"])
    def test_every_process_can_have_a_new_one(self, home, process):
        rotate(home, process)
        assert KeyRing.parse(keys_of(home).now(), process).current == f"{process}-2"

    def test_the_old_key_ends_after_the_overlap_and_an_older_one_not_later(self, home):
        first = rotate(home, overlap=timedelta(hours=2))
        second = rotate(home, overlap=timedelta(hours=24))
        known = {key.kid: key for key in rotation.registered("web")}
        assert known["web-1"].not_after == first.old_ends_at
        assert known["web-2"].not_after == second.old_ends_at
        assert known["web-3"].not_after is None
        assert [key.kid for key in known.values()] == ["web-1", "web-2", "web-3"]

    def test_an_overlap_has_a_longest(self, home):
        done = rotate(home, overlap=timedelta(days=400))
        (first, *_) = rotation.registered("web")
        assert done.old_ends_at - first.now < timedelta(days=31)

    def test_the_tenth_key_follows_the_ninth(self, home):
        for number in range(2, 11):
            assert rotate(home).new == f"web-{number}"
        assert KeyRing.parse(keys_of(home).now(), "web").current == "web-10"

    def test_the_walls_hold_with_several_keys(self, home):
        rotate(home)
        rotate(home, "worker")
        assert problems() == []

    def test_what_was_announced_is_taken(self, home):
        with as_migrator():
            assert rotation.announce(actor=HOST, process="web", keys=keys_of(home)) == "web-2"
            assert rotation.announce(actor=HOST, process="web", keys=keys_of(home)) == "web-2"
        announced = home.key_path("mac-web-2.next").read_text()
        assert rotate(home).new == "web-2"
        assert home.read_key("mac-web-2") == announced
        assert not home.key_path("mac-web-2.next").exists()

    def test_what_an_earlier_run_left_half_is_finished(self, home, instance_events):
        """It came to its end in the database, and the file kept its name."""
        keys = keys_of(home)
        with as_migrator():
            rotation.announce(actor=HOST, process="web", keys=keys)
            rotation.register(actor=HOST, new="web-2", keys=keys.again())
        assert rotate(home).new == "web-2"
        assert home.key_path("mac-web-2").exists()
        assert len(instance_events(Event.AUDIT_KEY_ROTATED)) == 2

    def test_a_leftover_never_takes_the_place_of_a_key_that_signs(self, home):
        rotate(home)
        genuine = home.read_key("mac-web-2")
        write_once(home.key_path("mac-web-2.next"), home.read_key("mac-setup")[::-1].lstrip("=") + "=")
        assert KeyRing.parse(keys_of(home).now(), "web").roots["web-2"] == b64decode(genuine)
        assert rotate(home).new == "web-3"
        assert home.read_key("mac-web-2") == genuine

    def test_a_key_that_gets_its_name_while_it_is_looked_for_is_found(self, home, monkeypatch):
        """Or the sealer would take the first event under it for a forgery."""
        with as_migrator():
            rotation.announce(actor=HOST, process="web", keys=keys_of(home))
        look, moved = Home.key_versions, []

        def versions(self, name):
            found = look(self, name)
            if name == "mac-web" and not moved:
                moved.append(Files(home).begin("web-2"))
            return found

        monkeypatch.setattr(Home, "key_versions", versions)
        assert "web-2" in keys_of(home)
        assert moved

    def test_it_is_registered_once(self, home):
        keys = keys_of(home)
        with as_migrator():
            rotation.announce(actor=HOST, process="web", keys=keys)
            rotation.register(actor=HOST, new="web-2", keys=keys.again())
            with pytest.raises(rotation.KeyRotatedAlready):
                rotation.register(actor=HOST, new="web-2", keys=keys.again())

    def test_without_the_old_key_only_who_says_so_goes_on(self, home, instance_events):
        home.key_path("mac-web").unlink()
        with pytest.raises(NotFound, match="The key web-1 is not here"):
            rotate(home)
        assert not instance_events(Event.AUDIT_KEY_ROTATED)
        rotate(home, is_lost=True)
        assert [event.kid for event in instance_events(Event.AUDIT_KEY_ROTATED)] == ["web-2"]

    def test_of_a_process_that_there_is_not(self, home):
        with pytest.raises(NotFound, match="No process signs events as 'runner'"):
            rotate(home, "runner")

    def test_no_person_does_it_from_afar(self, home, admin):
        with as_migrator(), pytest.raises(PermissionDenied, match="on the host"):
            rotation.rotate(actor=admin, process="web", keys=keys_of(home))
        assert not home.key_path("mac-web-2.next").exists()

    def test_as_a_command(self, home, settings, capsys):
        settings.AUDIT_MAC_KEYS = keys_of(home)
        with as_migrator():
            call_command("rotate_keys", "web", "worker", "--overlap", "2")
        said = capsys.readouterr().out
        assert "web-1 -> web-2; web-1 ends at" in said
        assert "worker-1 -> worker-2" in said
        assert home.read_key("mac-web-2") not in said

    def test_as_a_command_of_a_role_that_runs(self, home, settings, as_role):
        settings.AUDIT_MAC_KEYS = keys_of(home)
        for role in ("web", "gateway", "worker", "sealer"):
            with as_role(role), pytest.raises(CommandError, match="permission denied"), transaction.atomic():
                call_command("rotate_keys", "web")
        assert not home.key_path("mac-web-2").exists()


@pytest.mark.django_db
class TestRunningProcesses:
    """Whoever runs while keys are replaced."""

    @pytest.fixture(autouse=True)
    def _no_waiting(self, monkeypatch):
        monkeypatch.setattr(held_keys, "LOOK_SECONDS", 0.0)

    def test_a_signer_goes_over_to_the_new_key_by_itself(self, home, settings):
        settings.AUDIT_MAC_KEYS = keys_of(home, "web")
        ring = KeyRing.from_settings("web")
        assert ring.signing_key(None).kid == "web-1"
        rotate(home)
        assert ring.signing_key(None).kid == "web-2"
        assert ring.key("web-1", None) is not None

    def test_a_verifier_knows_the_new_key_before_it_signs(self, home, settings):
        settings.AUDIT_MAC_KEYS = keys_of(home, "gateway")
        ring = KeyRing.from_settings("gateway")
        with as_migrator():
            rotation.announce(actor=HOST, process="web", keys=keys_of(home))
        assert ring.key("web-2", None) is not None
        own = KeyRing.parse(keys_of(home, "web").now(), "web")
        assert own.signing_key(None).kid == "web-1"

    def test_a_verifier_looks_again_for_a_key_it_has_not(self, home, settings, monkeypatch):
        """It does not wait for the second to pass."""
        monkeypatch.setattr(held_keys, "LOOK_SECONDS", 3600.0)
        settings.AUDIT_MAC_KEYS = keys_of(home, "gateway")
        ring = KeyRing.from_settings("gateway")
        rotate(home)
        assert ring.key("web-2", None) is not None
        assert ring.key("web-9", None) is None

    def test_a_role_takes_up_no_key_that_is_not_for_it(self, home, settings):
        settings.AUDIT_MAC_KEYS = keys_of(home, "worker")
        ring = KeyRing.from_settings("worker")
        rotate(home, "gateway")
        assert ring.key("gateway-2", None) is None

    @pytest.mark.parametrize("text", ["no key", "", "QUFB"])
    def test_a_bad_file_stops_nobody_who_runs(self, home, settings, text):
        settings.AUDIT_MAC_KEYS = keys_of(home, "web")
        ring = KeyRing.from_settings("web")
        write_once(home.key_path("mac-web-2"), text)
        assert ring.signing_key(None).kid == "web-1"
        with pytest.raises(KeyRefused):
            keys_of(home, "web")

    def test_neither_prints_a_key(self, home):
        keys = keys_of(home)
        for shown in (repr(keys), repr(KeyRing.parse(keys.now(), "web")), repr(dict(keys.now())), f"{keys!s}"):
            assert not [name for name in keys if str(keys[name]) in shown]


@pytest.mark.django_db
class TestFromTheEnvironment:
    """Nobody but the operator sets a variable; the command says what to do (4.3)."""

    def keys(self, home, *more):
        pairs = [f"{name}:{text}" for name, text in keys_of(home).now().items()]
        return HeldKeys(Environment([*pairs, *more]), MAC_KEYS_OF["keys"])

    def test_a_new_key_has_to_be_there_first(self, home):
        with as_migrator(), pytest.raises(KeyRefused, match=r"Add web-2.next:\$\(openssl rand -base64 32\) to it"):
            rotation.rotate(actor=HOST, process="web", keys=self.keys(home))

    def test_then_it_is_registered_and_the_rest_is_said(self, home):
        keys = self.keys(home, f"web-2.next:{key()}")
        with as_migrator():
            done = rotation.rotate(actor=HOST, process="web", keys=keys)
        assert (done.old, done.new) == ("web-1", "web-2")
        assert "take .next off web-2.next" in done.left_to_do
        assert KeyRing.parse(keys.now(), "web").current == "web-1"


@pytest.mark.django_db(transaction=True)
class TestSealed:
    @pytest.fixture(autouse=True)
    def _afterwards(self):
        yield
        forget_rotations()

    def test_a_story_across_a_rotation_loses_nothing_and_alarms_nobody(self, home, settings, monkeypatch):
        """Processes that run, and ones that start anew with the new keys, write on while keys are replaced (M112)."""
        from audit import services
        from provenance.db import enter
        from tests.factories import make_workspace

        monkeypatch.setattr(held_keys, "LOOK_SECONDS", 0.0)
        settings.AUDIT_MAC_KEYS = keys_of(home, "web")
        services._keys.cache_clear()
        workspace = make_workspace()
        actor = Actor.system("story", workspace.id)
        written = []

        def write():
            with enter(workspace.id):
                written.append(record(actor=actor, event=Event.RUN_STARTED, target=Target("run", str(len(written)))))

        with sealer(keys=ring(home)) as one:
            for step in range(6):
                write()
                while one.work():
                    pass
                if step in {1, 3}:
                    rotate(home, overlap=timedelta(hours=1))
                if step == 4:
                    # A restart: nothing is left of what the process knew.
                    services._keys.cache_clear()
                    settings.AUDIT_MAC_KEYS = keys_of(home, "web")
            while one.work():
                pass
        services._keys.cache_clear()
        assert [orjson.loads(event.body)["kid"] for event in written] == [
            "web-1",
            "web-1",
            "web-2",
            "web-2",
            "web-3",
            "web-3",
        ]
        sealed = {event_id for _hash, event_id in leaves(workspace.id)}
        assert {event.id for event in written} <= sealed
        assert not rows("SELECT 1 FROM audit.event WHERE action = %s", Event.AUDIT_VERIFICATION_FAILED)

    def test_two_who_rotate_at_once_leave_a_file_for_every_key_and_no_alarm(self, home):
        start, before = threading.Barrier(3), databases.become("prov_migrate")

        def work(_number):
            try:
                start.wait(60)
                with transaction.atomic(), connection.cursor() as cursor:
                    cursor.execute("SET LOCAL ROLE prov_owner")
                    return rotation.rotate(actor=HOST, process="web", keys=keys_of(home)).new
            finally:
                connection.close()

        try:
            with ThreadPoolExecutor(3) as pool:
                made = list(pool.map(work, range(3)))
        finally:
            databases.become(before)
        registered = {kid for (kid,) in rows("SELECT kid FROM audit.key WHERE kid LIKE 'web-%%'")}
        held = set(keys_of(home, "web")) & {f"web-{number}" for number in range(9)}
        assert registered == held == {"web-1", *made}
        with sealer(keys=ring(home)) as one:
            while one.work():
                pass
        assert not rows("SELECT 1 FROM audit.event WHERE action = %s", Event.AUDIT_VERIFICATION_FAILED)
        assert len(rows("SELECT 1 FROM audit.event WHERE action = %s", Event.AUDIT_KEY_ROTATED)) == 2 * len(set(made))

    def test_a_key_of_ninety_days_is_told_once_a_week(self, home):
        from tests.audit.sealing import tamper

        tamper("UPDATE audit.key SET not_before = now() - interval '91 days' WHERE kid = 'worker-1'")
        for _ in range(2):
            with sealer() as one:
                while one.work():
                    pass
        ((body,),) = rows(
            "SELECT convert_from(detail.body, 'UTF8') FROM audit.detail JOIN audit.event ON id = event_id"
            " WHERE action = %s",
            Event.AUDIT_KEY_ROTATION_DUE,
        )
        assert "worker-1" in body
        assert "web-1" not in body
