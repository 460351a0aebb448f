"""A superuser sets what the sealer keeps about its own work: nothing stalls in silence, and no two seal at once."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from audit import envelope
from audit.condition import condition
from audit.sealing import backlog
from audit.sealing.lease import LostLease
from audit.taxonomy import Event
from audit.watch import Watch
from provenance.db import database_now
from provenance.ids import uuid7, uuid7_floor
from tests.audit import sealing
from tests.audit.sealing import WORKSPACE, assert_log_is_sound, ids_in
from tests.audit.telling import tell
from tests.audit.verifying import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE)]

LAST = "'ffffffff-ffff-ffff-ffff-ffffffffffff'"


def set_state(change):
    sealing.rows(f"UPDATE audit.sealer SET {change} RETURNING 1")


@pytest.mark.parametrize("until", ["'2999-01-01'", "'infinity'", "clock_timestamp() + interval '1 minute'"])
def test_a_lease_that_nobody_would_ask_for_keeps_no_sealer_from_working(until):
    ids = tell()
    set_state(f"owner = 'nobody', fence = fence + 7, lease_until = {until}")
    sealing.seal()
    assert ids_in(WORKSPACE) == ids


def test_of_two_that_were_given_the_same_fence_one_works():
    with sealing.sealer() as sleeper, sealing.sealer() as heir:
        tell()
        sleeper.work()
        set_state("fence = fence - 1, lease_until = '-infinity'")
        late = tell()
        heir.work()
        assert heir._lease.fence == sleeper._lease.fence
        tell()
        with pytest.raises(LostLease):
            sleeper.work()
        heir.work()
        assert late[0] in ids_in(WORKSPACE)
    assert_log_is_sound(WORKSPACE)


@pytest.mark.parametrize(
    "change", [f"sealed_before = {LAST}", f"sealed_maybe = {LAST}", "sealed_maybe = sealed_before"]
)
def test_events_that_a_working_sealer_is_made_to_pass_over_are_told_and_sealed(change):
    with sealing.sealer() as one:
        tell()
        while one.work():
            pass
        set_state(change)
        late = tell(count=2)
        while one.work():
            pass
    assert set(late) <= set(ids_in(WORKSPACE))
    assert len(sealing.told(Event.AUDIT_VERIFICATION_FAILED)) == 1
    assert_log_is_sound(WORKSPACE)


def test_events_that_the_next_sealer_is_made_to_pass_over_are_found_at_its_start():
    tell()
    sealing.seal()
    late = tell(count=2)
    ((before,),) = sealing.rows("SELECT id FROM audit.event ORDER BY id DESC LIMIT 1")
    set_state(f"sealed_before = '{before}', snap = pg_current_snapshot()")
    sealing.seal()
    assert set(late) <= set(ids_in(WORKSPACE))


def test_that_all_is_said_to_be_well_while_nothing_is_sealed_hides_nothing(monkeypatch, as_role):
    """The sealer is kept away; its state, its lease, its status and the last checkpoint look as if it worked."""
    tell()
    sealing.seal()
    made = UUID(int=uuid7_floor(datetime.now(UTC) - timedelta(minutes=4)).int | uuid7().int & (1 << 80) - 1)
    with monkeypatch.context() as patch:
        patch.setattr(envelope, "uuid7", lambda: made)
        tell()
    set_state(
        f"sealed_before = {LAST}, snap = '900000000:900000000:', lease_until = clock_timestamp() + interval '9 seconds'"
    )
    sealing.tamper("UPDATE audit.checkpoint SET at = clock_timestamp()")
    sealing.rows("UPDATE audit.status SET problem = '', at = clock_timestamp() RETURNING 1")
    assert condition().waiting == made
    with as_role("worker"):
        watch = Watch()
        watch.look_at_sealing(database_now())
        watch.look_at_sealing(database_now() + timedelta(seconds=61))
    assert sealing.told(Event.AUDIT_SEALING_STALLED)
    assert any("is not sealed though it is from" in problem for problem in verify().problems)


def test_a_lease_beyond_all_reason_is_told_while_no_sealer_takes_it_back():
    tell()
    sealing.seal()
    set_state("lease_until = 'infinity'")
    assert "which none asks for" in condition().lag


def test_what_was_never_sealed_is_looked_for_a_part_in_each_pass_and_what_comes_meanwhile_is_not_missed(monkeypatch):
    """After a restore no transaction id says anything, and the log may be large."""
    monkeypatch.setattr(backlog, "SCANNED_AT_ONCE", 2)
    before = tell(count=10)
    sealing.seal()
    after = tell(count=4)
    # Transaction ids of the other cluster, which may be higher than any here.
    set_state("system_id = 1, snap = '900000000:900000000:'")
    with sealing.sealer() as one:
        passes = [one.work()]
        after += tell()
        while one.work():
            passes.append(True)
        after += tell()
        one.work()
    assert len(passes) >= 4
    assert set(ids_in(WORKSPACE)) == {*before, *after}
    assert not sealing.told(Event.AUDIT_VERIFICATION_FAILED)
    assert_log_is_sound(WORKSPACE)


def test_a_checkpoint_that_waits_for_its_signature_under_a_false_time_shows_by_the_events_in_it(monkeypatch):
    made = UUID(int=uuid7_floor(datetime.now(UTC) - timedelta(minutes=4)).int | uuid7().int & (1 << 80) - 1)
    with monkeypatch.context() as patch:
        patch.setattr(envelope, "uuid7", lambda: made)
        tell()
    with sealing.sealer() as one:
        one.lead()
        one.seal()
        sealing.tamper("UPDATE audit.checkpoint SET at = clock_timestamp() + interval '1 day'")
        assert condition().waiting == made
        one.publish()
        assert condition().waiting is None
