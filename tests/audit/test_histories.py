"""An event that was deleted before it was sealed is missed by the next change of its object (goal 2, pitfall 19)."""

import pytest

from audit.envelope import ObjectFacts, build, storing
from audit.taxonomy import Event
from audit.verifying.verification import Wanted
from provenance.actor import Actor
from provenance.ids import uuid7
from tests import databases
from tests.audit import sealing
from tests.audit.sealing import WORKSPACE
from tests.audit.verifying import ORIGIN, flaws, verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE)]


def told(*changes, object_id="view-1"):
    """One event for each `(op, rev)` of an object, in one transaction; their ids."""
    events = [
        build(
            keys=sealing.all_keys("web"),
            actor=Actor.system("tests", WORKSPACE),
            event=Event.RUN_STARTED,
            target=ObjectFacts(type="saved_view", id=object_id, rev=rev, op=op),
            workspace_id=WORKSPACE,
        )
        for op, rev in changes
    ]
    with databases.login("web") as web, web.transaction():
        web.execute(f"SET LOCAL app.workspace_id = '{WORKSPACE}'")
        web.execute(*storing(events))
    return [event.id for event in events]


WHOLE = (("insert", 1), ("update", 2), ("update", 3), ("update", 3), ("update", 4), ("delete", 5))


@pytest.mark.parametrize("lost", [0, 1, 4])
def test_a_deletion_before_sealing_is_found_where_the_next_change_stands(lost):
    told(*WHOLE[:3], object_id="another")
    ids = told(*WHOLE)
    sealing.tamper("DELETE FROM audit.event WHERE id = %s", ids[lost])
    sealing.seal()
    assert flaws(verify()) == [(3 + lost, "revision")]


def test_of_every_object_the_next_change_tells():
    """30 of 30: each object lost one event that has a successor."""
    lost = [
        told(("insert", 1), ("update", 2), ("update", 3), object_id=str(uuid7()))[number % 2] for number in range(30)
    ]
    sealing.tamper("DELETE FROM audit.event WHERE id = ANY (%s)", lost)
    sealing.seal()
    report = verify()
    assert [flaw.kind for log in report.logs for flaw in log.flaws] == ["revision"] * 30


def test_whole_histories_over_several_passes_raise_no_alarm():
    for part in (WHOLE[:1], WHOLE[1:3], WHOLE[3:]):
        told(*part)
        sealing.seal()
    assert verify().is_good


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ((("insert", 1), ("delete", 2), ("insert", 1)), "was created again after revision 2"),
        ((("insert", 1), ("delete", 2), ("update", 3)), "changed after it was deleted at revision 2"),
        ((("insert", 1), ("update", 2), ("delete", 2)), "the delete of revision 2 comes after revision 2"),
        ((("update", 3),), "what came before is missing"),
        ((("update", 1),), "the first event is its update: nobody made it"),
        ((("insert", 1), ("insert", 2)), "was created again after revision 1"),
    ],
)
def test_a_history_that_cannot_be_is_told(changes, says):
    for change in changes:
        told(change)
        sealing.seal()
    ((flaw,),) = [log.flaws for log in verify().logs if log.origin == ORIGIN]
    assert (flaw.index, flaw.kind) == (len(changes) - 1, "revision")
    assert says in flaw.problem


def test_what_is_new_is_held_against_what_was_verified_before():
    told(*WHOLE[:2])
    sealing.seal()
    known = {log.origin: (log.size, bytes.fromhex(log.root)) for log in verify().logs}
    told(WHOLE[-1])
    sealing.seal()
    assert flaws(verify(wanted=Wanted(verified=known))) == [(2, "revision")]
