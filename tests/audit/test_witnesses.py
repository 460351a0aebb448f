"""Witnesses cosign the log of logs, and refuse a second history and a smaller tree (goal 11, audit.md 4.5)."""

import base64

import pytest

from audit.anchors import AnchorFailed
from audit.anchors.witnesses import Witness
from audit.notes import BadNote, Checkpoint, Ed25519Cosigner, cosignatures, opened, parse_cosigner, signed_note
from audit.taxonomy import Event
from tests import databases
from tests.audit import sealing
from tests.audit.sealing import WORKSPACE, status, told
from tests.audit.telling import tell
from tests.fakes import witness as fakes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE)]
INSTANCE = f"{sealing.ORIGIN}/instance"


@pytest.fixture
def fake():
    public = sealing.SIGNER.verifiers(INSTANCE)[0].public
    with fakes.witnessing({INSTANCE: public}) as made:
        yield made


def witness_of(fake):
    return Witness.of(fake.url, fake.vkeys, lambda: databases.login("sealer"))


@pytest.fixture
def witness(fake):
    return witness_of(fake)


def grow(*places, times=1):
    for _ in range(times):
        tell(WORKSPACE)
        with sealing.sealer(places=places) as one:
            one.work()
            took = [courier.deliver() for courier in one.couriers]
    return took


def cosigned():
    rows = sealing.rows("SELECT size, cosignatures FROM audit.checkpoint WHERE workspace_id IS NULL ORDER BY size")
    return {size: lines.count("\n") for size, lines in rows if lines}


def test_the_log_of_logs_is_cosigned_as_it_grows_and_the_note_verifies(fake, witness):
    grow(times=3)
    assert grow(witness) == [True]
    assert grow(witness) == [True]
    assert cosigned() == {4: 2, 5: 2}, "two keys, each once; a line of a stranger is left out"
    ((note, signatures, lines),) = sealing.rows(
        "SELECT note, signatures, cosignatures FROM audit.checkpoint WHERE workspace_id IS NULL AND size = 5"
    )
    checkpoint = Checkpoint.parse(note)
    assert opened(signed_note(checkpoint, signatures + lines), sealing.SIGNER.verifiers(INSTANCE)) == checkpoint
    assert cosignatures(checkpoint, lines, [parse_cosigner(vkey) for vkey in fake.vkeys]) == lines
    assert fake.seen[INSTANCE][0] == 5
    assert status(witness.name) == ""


def test_a_sealer_that_does_not_know_what_was_cosigned_asks_and_is_told(fake, witness):
    grow(witness, times=2)
    asked = fake.asked
    grow(witness_of(fake))
    assert fake.asked == asked + 2, "a conflict says the size, and the second request has the proof"
    assert fake.seen[INSTANCE][0] == 3


def test_the_same_checkpoint_is_cosigned_once(fake, witness):
    grow(witness)
    with sealing.sealer(places=[witness]) as one:
        one.lead()
        assert one.couriers[0].deliver()
    assert cosigned() == {1: 2}


def test_a_witness_that_saw_more_says_that_the_database_was_set_back(fake, witness):
    grow(witness, times=3)
    sealing.start_over()
    assert grow(witness_of(fake)) == [False]
    assert "COSIGNED 3 ENTRIES, AND THERE ARE 1" in status(witness.name)
    ((_log, detail),) = told(Event.AUDIT_ANCHOR_FAILED)
    assert detail["name"] == witness.name
    assert len(sealing.leaves(WORKSPACE)) == 1, "a witness alone stops nobody"


def test_a_second_history_is_not_cosigned(fake, witness):
    grow(witness, times=2)
    sealing.start_over()
    grow(times=2)
    assert grow(witness_of(fake)) == [False]
    assert "ANOTHER HISTORY" in status(witness.name)
    assert cosigned() == {}


@pytest.mark.parametrize(
    ("logs", "says"), [({}, "does not know this log yet"), ({INSTANCE: b"k" * 32}, "does not accept the key")]
)
def test_what_a_witness_has_to_be_told_is_said(fake, witness, logs, says):
    fake.logs = logs
    assert grow(witness) == [False]
    assert says in status(witness.name)


def test_a_cosignature_that_does_not_hold_is_not_stored(fake, witness):
    fake.lies = True
    assert grow(witness) == [False]
    assert "does not verify" in status(witness.name)
    assert cosigned() == {}


def test_a_witness_that_is_away_holds_nobody_up():
    absent = Witness.of("http://127.0.0.1:9", fakes.FakeWitness({}).vkeys, lambda: databases.login("sealer"))
    assert grow(absent) == [False]
    assert "does not answer" in status(absent.name)
    assert len(sealing.leaves(WORKSPACE)) == 1


def test_checkpoints_of_workspaces_are_not_sent(fake, witness):
    witness.carry({f"{sealing.ORIGIN}/{WORKSPACE}": "never read"})
    assert fake.asked == 0


def test_only_keys_of_witnesses_are_taken():
    log_key = sealing.vkeys(None)[0]
    with pytest.raises(BadNote, match="key of a witness"):
        parse_cosigner(log_key)
    good = fakes.FakeWitness({}).vkeys[0]
    name, key_id, material = good.split("+", 2)
    with pytest.raises(BadNote, match="id of the witness's key"):
        parse_cosigner(f"{name}+00000000+{material}")
    assert key_id == parse_cosigner(good).id.hex()


def test_a_cosignature_without_a_time_does_not_count():
    fake = fakes.FakeWitness({})
    key = parse_cosigner(fake.vkeys[0])
    checkpoint = Checkpoint("log.test/instance", 1, b"r" * 32)
    signature = bytes(8) + fake.ed25519.sign(f"cosignature/v1\ntime 0\n{checkpoint.text}".encode())
    assert isinstance(key, Ed25519Cosigner)
    assert key.verifies(checkpoint, signature)
    with pytest.raises(BadNote, match="does not hold"):
        cosignatures(checkpoint, f"— {key.name} {base64.b64encode(key.id + signature).decode()}\n", [key])


def test_the_example_of_the_specification_is_read():
    """c2sp.org/tlog-cosignature: the checkpoint of the example has a line of type 4 whose time is 1679315147."""
    line = (
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe"
        "+mbIUBkBIfZ+qnA==\n"
    )
    checkpoint = Checkpoint.parse(
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )
    material = base64.b64decode(line.split(" ")[2])
    assert int.from_bytes(material[4:12]) == 1679315147
    stranger = Ed25519Cosigner("witness.example.com/w1", b"k" * 32)
    with pytest.raises(BadNote, match="none of the known keys"):
        cosignatures(checkpoint, line, [stranger])


def test_an_answer_that_is_no_size_is_not_followed(fake, witness, monkeypatch):
    monkeypatch.setattr(fake, "judge", lambda _request: ("409 Conflict", "9" * 30 + "\n", "text/x.tlog.size"))
    grow()
    ((note, signatures),) = sealing.rows("SELECT note, signatures FROM audit.checkpoint WHERE workspace_id IS NULL")
    with pytest.raises(AnchorFailed, match="does not say which"):
        witness.carry({INSTANCE: f"{note}\n{signatures}"})
