"""What must not leave unsealed waits for the checkpoint, after its own COMMIT (audit.md 4.5)."""

import time

import pytest
from django.db import transaction

from audit import awaiting
from audit.awaiting import NotSealed, hold_until_sealed, wait_until_sealed
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import enter
from tests.audit import sealing
from tests.audit.sealing import OTHER, WORKSPACE, ids_in
from tests.audit.telling import tell

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE, OTHER)]


def tell_and_hold(workspace_id=WORKSPACE):
    event = record(actor=Actor.system("tests", workspace_id), event=Event.RUN_STARTED, target=Target("run", "1"))
    hold_until_sealed(event)
    return event.id


def test_the_end_of_the_transaction_waits_for_the_checkpoint():
    with sealing.going_on():
        with enter(WORKSPACE):
            event_id = tell_and_hold()
            assert ids_in(WORKSPACE) == []
        assert ids_in(WORKSPACE) == [event_id]
        assert sealing.checkpoints(WORKSPACE)[-1].size == 1


def test_without_a_sealer_it_fails_in_time_and_the_event_stays(monkeypatch):
    monkeypatch.setattr(awaiting, "LONGEST_SECONDS", 0.1)
    started = time.monotonic()
    with pytest.raises(NotSealed, match="was not sealed"), enter(WORKSPACE):
        event_id = tell_and_hold()
    assert time.monotonic() - started < 30
    sealing.seal()
    assert ids_in(WORKSPACE) == [event_id]


def test_a_leaf_without_a_signed_checkpoint_is_not_enough(monkeypatch):
    monkeypatch.setattr(awaiting, "LONGEST_SECONDS", 0.1)
    (event_id,) = tell(WORKSPACE)
    with sealing.sealer() as one:
        one.lead()
        one.seal()
        assert ids_in(WORKSPACE) == [event_id]
        with pytest.raises(NotSealed):
            wait_until_sealed(WORKSPACE, event_id)
        one.publish()
        wait_until_sealed(WORKSPACE, event_id)


def test_what_is_rolled_back_waits_for_nothing():
    with pytest.raises(RuntimeError, match="changed my mind"), enter(WORKSPACE):  # noqa: PT012  the block rolls back
        tell_and_hold()
        raise RuntimeError("changed my mind")


def test_another_workspaces_event_is_never_sealed_for_us(monkeypatch):
    monkeypatch.setattr(awaiting, "LONGEST_SECONDS", 0.1)
    (theirs,) = tell(OTHER)
    sealing.seal()
    with pytest.raises(NotSealed):
        wait_until_sealed(WORKSPACE, theirs)


def test_events_of_the_instance_cannot_be_waited_for():
    with transaction.atomic(), pytest.raises(ValueError, match="of a workspace"):
        tell_and_hold(None)
