"""The five steps of a proof, on the page and over REST: a tampered log shows at the step that it breaks (M112)."""

import base64
import html
import json
import re
from datetime import timedelta

import pytest

from apikeys import services as keys
from audit import one_event
from audit.merkle import leaf_hash, root_of_inclusion
from audit.notes import opened
from audit.services import Target, record
from audit.steps import State
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import enter
from provenance.ids import public_id
from tests import databases, factories
from tests.attacks.log import told_by
from tests.audit import sealing
from tests.audit.planting import plant_rows
from tests.audit.sealing import SIGNER
from tests.browsing import browser, program

pytestmark = pytest.mark.django_db(transaction=True)

OK, FAILED, WAITING = State.OK, State.FAILED, State.WAITING


@pytest.fixture
def workspace(db):
    return factories.make_workspace()


@pytest.fixture
def event(workspace, admin):
    """One sealed event among others."""
    with enter(workspace.pk):
        made = record(actor=admin, event=Event.RUN_FAILED, target=Target("run", "1"), reason="odd")
    sealing.seal()
    return made


def steps_of(auditor, workspace, event):
    with enter(workspace.pk):
        return one_event.event_detail(actor=auditor, event_id=event.id).steps


def test_a_sealed_event_is_proved_in_five_steps(workspace, auditor, event):
    steps = steps_of(auditor, workspace, event)
    assert [step.state for step in steps] == [OK] * 5
    ((index, size),) = sealing.rows(
        "SELECT idx, (SELECT min(size) FROM audit.checkpoint WHERE log_id = leaf.log_id AND size > idx)"
        " FROM audit.leaf WHERE event_id = %s",
        event.id,
    )
    assert [step.title for step in steps] == [
        "Contents match",
        "Signature is valid",
        f"Position {index} in the log",
        f"Inside checkpoint {size}",
        "Checkpoint is signed",
    ]
    key = sealing.SIGNER.verifiers(f"{sealing.ORIGIN}/{workspace.pk}")[0]
    assert key.id.hex() in steps[4].figure


def test_before_it_is_sealed_nothing_is_claimed(workspace, auditor, admin):
    with enter(workspace.pk):
        event = record(actor=admin, event=Event.RUN_FAILED, target=Target("run", "1"))
    steps = steps_of(auditor, workspace, event)
    assert [step.state for step in steps] == [OK, OK, WAITING, WAITING, WAITING]
    assert steps[2].figure == "Signed, not sealed yet."


def test_the_proof_of_one_event_is_taken_away_as_a_file(workspace, auditor, admin, event, events):
    """c2sp.org/tlog-proof, checked here by hand: leaf from its extra line, path, root, signature."""
    with enter(workspace.pk):
        _key, text = keys.issue_key(actor=admin, name="reader", scopes=["audit:read"])
    where = public_id("evt", event.id)
    answer = browser(auditor).get(f"/w/{workspace.slug}/audit/{where}/proof")
    assert answer["Content-Disposition"] == f'attachment; filename="{where}.tlog-proof"'
    proof = answer.content.decode()
    assert program(text).get(f"/api/v1/audit/events/{where}/proof").content.decode() == proof
    page = browser(auditor).get(f"/w/{workspace.slug}/audit/{where}/").text
    assert html.escape(proof).replace("\n", "") in page.replace("\n", "")
    head, _, note = proof.partition("\n\n")
    first, extra, index, *path = head.split("\n")
    assert first == "c2sp.org/tlog-proof@v1"
    told = json.loads(base64.b64decode(extra.removeprefix("extra ")))
    leaf = leaf_hash(b"provenance-audit-v1\n" + told["body"].encode() + bytes.fromhex(told["mac"]))
    checkpoint = opened(note, SIGNER.verifiers(f"{sealing.ORIGIN}/{workspace.pk}"))
    place = int(index.removeprefix("index "))
    hashes = [base64.b64decode(line) for line in path]
    assert root_of_inclusion(leaf, place, checkpoint.size, hashes) == checkpoint.root


def test_there_is_no_proof_before_the_seal(workspace, auditor, admin):
    with enter(workspace.pk):
        fresh = record(actor=admin, event=Event.RUN_FAILED, target=Target("run", "2"))
    where = f"/w/{workspace.slug}/audit/{public_id('evt', fresh.id)}/"
    assert browser(auditor).get(f"{where}proof").status_code == 409
    assert "Proof file" not in browser(auditor).get(where).text


def test_another_tenants_event_has_no_proof_here(other_workspace, stranger, event):
    theirs = f"/w/{other_workspace.slug}/audit/{public_id('evt', event.id)}/proof"
    assert browser(stranger).get(theirs).status_code == 404


TAMPERED = {
    "a column": ("UPDATE audit.event SET risk = 'low' WHERE id = %(id)s", 0, "high", "low"),
    "the body": (
        "UPDATE audit.event SET body = replace(body, '\"run\"', '\"ruin\"') WHERE id = %(id)s",
        0,
        "ruin",
        "run",
    ),
    "no body": ("UPDATE audit.event SET body = '[]' WHERE id = %(id)s", 0, "the signed text of an event", "not one"),
    "body and column": (
        'UPDATE audit.event SET object_id = \'2\', body = replace(body, \'"id":"1"\', \'"id":"2"\') WHERE id = %(id)s',
        1,
        "the signature of web-1",
        "",
    ),
    "the mac": ("UPDATE audit.event SET mac = sha256('x') WHERE id = %(id)s", 1, "the signature of web-1", ""),
    "the detail": ("UPDATE audit.detail SET body = '{}' WHERE event_id = %(id)s", 0, "commits to", "other details"),
    "no detail": ("DELETE FROM audit.detail WHERE event_id = %(id)s", 0, "commits to", "or none"),
    "the leaf": ("UPDATE audit.leaf SET hash = sha256('x') WHERE event_id = %(id)s", 2, "", "2d71 1642 … 4881"),
    "a neighbor's place": (
        "UPDATE audit.leaf SET hash = other.hash FROM audit.leaf AS other WHERE leaf.event_id = %(id)s AND other.log_id = leaf.log_id AND other.idx = leaf.idx - 1",
        2,
        "",
        "",
    ),
    "a neighbor's leaf": (
        "UPDATE audit.leaf SET hash = sha256('x') WHERE idx = (SELECT idx - 1 FROM audit.leaf WHERE event_id = %(id)s)",
        3,
        "root ",
        "root ",
    ),
    "a root": (
        "UPDATE audit.checkpoint SET note = split_part(note, E'\n', 1) || E'\n' || size || E'\n' || encode(sha256('x'), 'base64') || E'\n'",
        3,
        "root 2d71 1642 … 4881",
        "root ",
    ),
    "no checkpoint": ("UPDATE audit.checkpoint SET note = 'nothing'", 3, "three lines", "no checkpoint"),
    "a signature": (
        "UPDATE audit.checkpoint SET signatures = overlay(signatures placing 'AAAA' from length(signatures) - 20)",
        4,
        "a signature of",
        "none that holds",
    ),
    "another key": (
        "UPDATE audit.key SET vkey = encode('\\x01'::bytea || sha256('x'), 'base64') WHERE kid = 'checkpoint-1'",
        4,
        "a signature of",
        "none that holds",
    ),
}


@pytest.fixture
def _keys_stay():
    """`audit.key` is not emptied between tests."""
    kept = sealing.rows("SELECT kid, vkey FROM audit.key")
    yield
    for kid, vkey in kept:
        sealing.tamper("UPDATE audit.key SET vkey = %s WHERE kid = %s AND vkey <> %s", vkey, kid, vkey)


@pytest.mark.usefixtures("_keys_stay")
@pytest.mark.parametrize("what", TAMPERED)
def test_a_tampered_log_fails_at_its_step_and_nothing_after_it_is_checked(workspace, auditor, event, what):
    statement, at, expected, found = TAMPERED[what]
    assert sealing.tamper(statement.replace("%(id)s", f"'{event.id}'")) >= 1
    steps = steps_of(auditor, workspace, event)
    assert [step.state for step in steps] == [OK] * at + [FAILED] + [WAITING] * (4 - at)
    assert expected in steps[at].expected
    assert found in steps[at].found
    assert steps[at].expected != steps[at].found
    assert all(step.figure == "Not checked." for step in steps[at + 1 :])


def test_what_a_superuser_writes_beside_a_checkpoint_is_no_word_of_a_witness(workspace, auditor, event):
    sealing.tamper("UPDATE audit.checkpoint SET cosignatures = '\u2014 witness.example/trusted AAAAAAAAAAAA\n'")
    step = steps_of(auditor, workspace, event)[4]
    assert (step.state, step.title) == (OK, "Checkpoint is signed")
    assert "witness.example" not in step.figure
    assert step.figure.endswith("cosignatures stand beside it, not checked here")


def test_the_page_shows_what_was_expected_and_found(workspace, auditor, event):
    sealing.tamper("UPDATE audit.leaf SET hash = sha256('x') WHERE event_id = %s", event.id)
    page = browser(auditor).get(f"/w/{workspace.slug}/audit/{public_id('evt', event.id)}/").text
    assert re.search(r'Expected <b class="mono">[0-9a-f]{4} [0-9a-f]{4} … [0-9a-f]{4}</b>', page)
    assert 'Found <b class="mono">2d71 1642 … 4881</b>' in page
    assert page.count("Not checked.") == 2


@pytest.mark.parametrize("body", ["[]", "no json", '{"at":"yesterday"}', '{"context":[],"actor":1,"object":""}'])
def test_a_body_that_is_none_hides_no_other_event(workspace, auditor, event, admin, body):
    """Whoever breaks one row must not take the log away from its readers."""
    sealing.tamper("UPDATE audit.event SET body = %s WHERE id = %s", body, event.id)
    with enter(workspace.pk):
        _key, text = keys.issue_key(actor=admin, name="reader", scopes=["audit:read"])
    where = f"/w/{workspace.slug}/audit/"
    page = browser(auditor).get(where)
    assert page.status_code == 200
    assert "run.failed" in page.text
    assert "workspace.created" in page.text or "member.added" in page.text
    assert browser(auditor).get(f"{where}{public_id('evt', event.id)}/").status_code == 200
    broken = [
        item for item in program(text).get("/api/v1/audit/events").json()["items"] if item["event_type"] == "run.failed"
    ]
    assert len(broken) == 1
    whole = program(text).get(f"/api/v1/audit/events/{public_id('evt', event.id)}").json()
    assert whole["body"] == body
    assert whole["proof"]["contents_match"] is False


def test_an_event_that_came_past_the_doors_shows_and_is_told(workspace, auditor, event):
    """A superuser stores a row with a transaction that the sealer has long been past: it looks for such ones too."""
    planted = told_by("web", Actor.system("tests", workspace.pk), Event.RUN_STARTED)
    older = "UPDATE audit.checkpoint SET at = at + interval '1 hour'"
    with databases.admin() as owner, owner.transaction():
        plant_rows(owner, [planted], xid="'3'::xid8")
    assert [step.state for step in steps_of(auditor, workspace, planted)][2] is WAITING
    sealing.tamper(older)
    steps = steps_of(auditor, workspace, planted)
    assert [step.state for step in steps] == [OK, OK, FAILED, WAITING, WAITING]
    assert steps[2].title == "Not in the log"
    sealing.seal()
    assert [step.state for step in steps_of(auditor, workspace, planted)][2] is OK
    ((problem,),) = sealing.rows(
        "SELECT convert_from(detail.body, 'UTF8')::jsonb ->> 'problem' FROM audit.event JOIN audit.detail ON event_id = id"
        " WHERE action = %s",
        Event.AUDIT_VERIFICATION_FAILED,
    )
    assert "passed over" in problem


def test_the_seal_turns_to_alarm_when_the_log_falls_silent_or_does_not_verify(workspace, auditor, event):
    from audit import seal

    def state():
        with enter(workspace.pk):
            return seal.seal_of(auditor).state

    assert state() is seal.SealState.SEALED
    sealing.tamper("UPDATE audit.checkpoint SET at = at - %s::interval", seal.LONGEST_SILENCE + timedelta(minutes=1))
    assert state() is seal.SealState.STALE
    sealing.tamper("UPDATE audit.event SET mac = sha256('x'), xid = pg_current_xact_id() WHERE id = %s", event.id)
    sealing.tamper("DELETE FROM audit.leaf WHERE event_id = %s", event.id)
    sealing.tamper("UPDATE audit.checkpoint SET at = clock_timestamp()")
    assert state() is seal.SealState.SEALED
    with sealing.sealer() as one:
        one.work()
        one.work()
    assert state() is seal.SealState.BROKEN


def test_a_log_that_nobody_ever_sealed_is_stale_after_an_hour(workspace, auditor, monkeypatch):
    from audit import seal

    with enter(workspace.pk):
        assert seal.seal_of(auditor).state is seal.SealState.WAITING
        later = seal.database_now() + seal.LONGEST_SILENCE
        monkeypatch.setattr(seal, "database_now", lambda: later)
        assert seal.seal_of(auditor).state is seal.SealState.STALE
