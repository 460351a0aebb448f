"""A superuser rewrites the register of keys, which nobody signed: verification holds it against what was told (T01, T15)."""

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from audit import envelope
from audit.envelope import ObjectFacts, build
from audit.notes import LogKey, LogSigner
from audit.signing import KeyRing
from audit.succession import Succession
from audit.taxonomy import Event
from audit.verifying.verification import Verification, Wanted
from provenance.actor import Actor
from provenance.ids import uuid7, uuid7_floor
from tests import databases
from tests.audit import sealing
from tests.audit.keys import copied_home, keys_of, ring, rotate
from tests.audit.planting import plant_rows
from tests.audit.sealing import WORKSPACE
from tests.audit.telling import tell

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE)]

ORIGIN = f"{sealing.ORIGIN}/{WORKSPACE}"


@pytest.fixture
def home(tmp_path):
    """The keys of an installation. Afterwards the register is as it was before."""
    kept = sealing.rows("SELECT to_jsonb(key)::text FROM audit.key WHERE purpose = 'event'")
    yield copied_home(tmp_path / "home")
    sealing.tamper("DELETE FROM audit.key")
    for (row,) in kept:
        sealing.tamper("INSERT INTO audit.key SELECT * FROM jsonb_populate_record(NULL::audit.key, %s::jsonb)", row)


def verify(home, wanted=None, signer=sealing.SIGNER):
    return Verification(
        connect=lambda: databases.login("sealer"), keys=ring(home), signer=signer, installation=sealing.ORIGIN
    ).run(wanted or Wanted())


def seal(home, signer=sealing.SIGNER):
    with sealing.sealer(keys=ring(home), signer=signer) as one:
        while one.work():
            pass


def test_keys_that_were_replaced_as_told_alarm_nobody(home):
    rotate(home, overlap=timedelta(hours=1))
    tell(WORKSPACE)
    rotate(home, overlap=timedelta(hours=24))
    rotate(home, "worker", overlap=timedelta(0), is_lost=True)
    rotate(home, "sealer", overlap=timedelta(hours=1))
    seal(home)
    report = verify(home)
    assert report.is_good, report
    forget = "UPDATE audit.key SET not_after = not_after - interval '1 minute' WHERE kid = 'web-1'"
    assert sealing.tamper(forget) == 1
    assert verify(home).is_good, "earlier than told lets nobody sign"


CHANGED = [
    ("UPDATE audit.key SET not_after = NULL WHERE kid = 'web-1'", "The key web-1 was told to end at {end} UTC, and is registered without an end"),
    ("UPDATE audit.key SET not_after = 'infinity' WHERE kid = 'web-1'", "The key web-1 was told to end at {end} UTC, and is registered until 9000-01-01 00:00:00 UTC"),
    ("UPDATE audit.key SET not_after = not_after + interval '1 second' WHERE kid = 'web-1'", "The key web-1 was told to end at {end} UTC, and is registered {later} UTC"),
    ("UPDATE audit.key SET db_role = 'prov_worker' WHERE kid = 'web-2'", "The db_role of the key web-2 was changed"),
    ("UPDATE audit.key SET db_role = 'prov_gateway' WHERE kid = 'worker-1'", "The db_role of the key worker-1 was changed"),
    ("UPDATE audit.key SET alg = 'none' WHERE kid = 'sealer-1'", "The alg of the key sealer-1 was changed"),
    ("UPDATE audit.key SET vkey = 'x' WHERE kid = 'web-1'", "The vkey of the key web-1 was changed"),
    ("DELETE FROM audit.key WHERE kid = 'web-2'", "The key web-2 is not registered though it was"),
    ("DELETE FROM audit.key WHERE kid = 'gateway-1'", "The key gateway-1 is not registered though it was"),
    ("INSERT INTO audit.key (kid, purpose, alg, db_role) VALUES ('web-3', 'event', 'HMAC-SHA256', 'prov_web')", "The key web-3 is registered, and no signed event tells of it"),
    ("INSERT INTO audit.key (kid, purpose, alg, db_role) VALUES ('people-1', 'event', 'HMAC-SHA256', 'prov_web')", "The key people-1 is registered, and no signed event tells of it"),
    ("INSERT INTO audit.key (kid, purpose, alg) VALUES ('checkpoint-2', 'checkpoint', 'Ed25519')", "The key checkpoint-2 is registered, and is not among the keys of the log"),
    ("INSERT INTO audit.key (kid, purpose, alg) VALUES ('web-7', 'other', 'x')", "The key web-7 is registered, and is not among the keys of the log"),
    ("UPDATE audit.key SET vkey = reverse(vkey) WHERE kid = 'checkpoint-1'", "The vkey of the key checkpoint-1 was changed"),
    ("UPDATE audit.key SET purpose = 'other' WHERE kid = 'instance-1'", "The purpose of the key instance-1 was changed"),
    ("UPDATE audit.key SET rotation = 'x' WHERE kid = 'instance-1'", "The rotation of the key instance-1 is not the one that was told"),
    ("DELETE FROM audit.key WHERE kid = 'checkpoint-1'", "The key checkpoint-1 of the log is not registered though it signs"),
]  # fmt: skip


def test_the_sealer_too_looks_every_hour_and_tells_it(home):
    tell(WORKSPACE)
    seal(home)
    sealing.tamper("UPDATE audit.key SET db_role = 'prov_gateway' WHERE kid = 'worker-1'")
    seal(home)
    ((body,),) = sealing.rows(
        "SELECT convert_from(detail.body, 'UTF8') FROM audit.detail JOIN audit.event ON id = event_id WHERE action = %s",
        Event.AUDIT_VERIFICATION_FAILED,
    )
    assert "The db_role of the key worker-1 was changed" in body


@pytest.mark.parametrize(("change", "words"), CHANGED, ids=[change[:90] for change, _words in CHANGED])
def test_what_a_superuser_changed_in_the_register_is_named(home, change, words):
    done = rotate(home, overlap=timedelta(hours=1))
    tell(WORKSPACE)
    seal(home)
    assert verify(home).is_good
    assert sealing.tamper(change) == 1
    moment = "%Y-%m-%d %H:%M:%S"
    later = done.old_ends_at + timedelta(seconds=1)
    wanted = words.format(end=done.old_ends_at.strftime(moment), later=f"until {later.strftime(moment)}")
    report = verify(home)
    assert wanted in report.problems
    known = {log.origin: (log.size, bytes.fromhex(log.root)) for log in report.logs}
    assert wanted in verify(home, Wanted(verified=known)).problems, "also when only what is new is read"


def test_the_telling_event_taken_back_with_the_end_is_found(home):
    """Whoever rewrites the words of the event breaks what its body commits to, and the register then has no word for it."""
    rotate(home, overlap=timedelta(hours=1))
    seal(home)
    assert verify(home).is_good
    sealing.tamper("UPDATE audit.key SET not_after = NULL WHERE kid = 'web-1'")
    sealing.tamper(
        "UPDATE audit.detail SET body = '{}' FROM audit.event WHERE id = event_id AND action = %s",
        Event.AUDIT_KEY_ROTATED,
    )
    assert "The key web-2 is registered, and no signed event tells of it" in verify(home).problems


@pytest.mark.parametrize(
    "facts",
    [{"old": "web-1"}, {"old": 1, "new": 2, "old_ends_at": 3}, {"old": "web-1", "new": "web-2", "old_ends_at": "soon"}],
)
def test_words_that_the_host_would_not_use_have_no_say_and_stop_nobody(home, facts):
    store(
        build(
            keys=sealing.all_keys("web"),
            actor=Actor.system("rotate_keys", None),
            event=Event.AUDIT_KEY_ROTATED,
            target=ObjectFacts(type="audit_key", id="web-2"),
            workspace_id=None,
            detail=facts,
        )
    )
    seal(home)
    assert verify(home).is_good


def signed(home, kid, at):
    """An event of that moment, by its own word and by its id."""
    id_ = UUID(int=uuid7_floor(at).int | 0x7 << 76 | 0b10 << 62 | uuid7().int & (1 << 62) - 1)
    with pytest.MonkeyPatch.context() as clock:
        clock.setattr(envelope, "uuid7", lambda: id_)
        return build(
            keys=KeyRing.parse({kid: keys_of(home).now()[kid]}, kid.partition("-")[0]),
            actor=Actor.system("tests", WORKSPACE),
            event=Event.RUN_STARTED,
            target=ObjectFacts(type="run", id=str(uuid7())),
            workspace_id=WORKSPACE,
            now=at,
        )


def store(event):
    """As a superuser does, past the check of the register."""
    with databases.admin() as owner, owner.transaction():
        plant_rows(owner, [event])
        owner.execute("UPDATE audit.sealer SET sealed_before = '00000000-0000-0000-0000-000000000000'")


def flaws(report):
    return [(log.origin, flaw.index, flaw.problem) for log in report.logs for flaw in log.flaws]


def test_what_a_stolen_key_signs_after_its_told_end_is_found_where_it_stands(home):
    """The superuser takes the end back, lets the thief sign, and puts the end where it was."""
    tell(WORKSPACE, 2)
    rotate(home, overlap=timedelta(0))
    seal(home)
    store(signed(home, "web-1", datetime.now(UTC) + timedelta(minutes=6)))
    seal(home)
    assert flaws(verify(home)) == [(ORIGIN, 2, "web-1 had ended before it was signed")]


def test_dating_back_what_a_stolen_key_signs_does_not_help(home):
    """An id can lie about its time; where the event stands in the log, it stands."""
    tell(WORKSPACE, 2)
    rotate(home, overlap=timedelta(0))
    seal(home)
    store(signed(home, "web-2", datetime.now(UTC) + timedelta(hours=25)))
    seal(home)
    assert verify(home).is_good
    store(signed(home, "web-1", datetime.now(UTC) - timedelta(hours=1)))
    seal(home)
    assert flaws(verify(home)) == [(ORIGIN, 3, "web-1 had ended before it was signed")]


def test_a_key_of_the_log_that_was_replaced_alarms_nobody_and_its_rotation_is_held(home):
    tell(WORKSPACE)
    seal(home)
    first, instance = sealing.SIGNER.keys
    both = LogSigner.of([first, LogKey.ed25519(b"f" * 32, 2), instance])
    assert verify(home, signer=both).is_good, "the sealer has not taken it up yet"
    seal(home, signer=both)
    tell(WORKSPACE)
    seal(home, signer=both)
    report = verify(home, signer=both)
    assert report.is_good, report
    other = Succession.signed_by(
        LogKey.ed25519(b"t" * 32, 1), LogKey.ed25519(b"f" * 32, 2), sealing.ORIGIN, datetime.now(UTC)
    )
    sealing.tamper("UPDATE audit.key SET rotation = %s WHERE kid = 'checkpoint-2'", other.text)
    words = "The rotation of the key checkpoint-2 is not the one that was told"
    assert verify(home, signer=both).problems == [words]
    sealing.tamper("UPDATE audit.key SET rotation = '' WHERE kid = 'checkpoint-2'")
    assert verify(home, signer=both).problems == [words]


def test_a_rotation_at_the_very_moment_alarms_nobody(home):
    """The register and what is told of it are read in one snapshot."""
    tell(WORKSPACE)
    seal(home)
    stop = threading.Event()
    reports = []

    def look():
        while not stop.is_set():
            reports.append(verify(home))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(6):
            rotate(home, overlap=timedelta(hours=1))
    finally:
        stop.set()
        thread.join()
    assert all(report.is_good for report in reports), [report.problems for report in reports if not report.is_good]
