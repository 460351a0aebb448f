"""A run whose next call must happen once waits until somebody has reconciled the timeline, and then goes on (T27)."""

import pytest

from tests.gateway.world import on_another_timeline
from workflows import journal

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_run_waits_while_the_timeline_is_not_reconciled_and_then_calls_once(desk):
    with on_another_timeline():
        run = desk.drive(desk.start("sending"))
        asked_at = [desk.token(run).wake_at]
        # An answer, however often it is given, is not counted as silence.
        for _ in range(journal.MOST_ATTEMPTS + 1):
            run = desk.drive(run)
            asked_at.append(desk.token(run).wake_at)
        assert (run.status, run.waiting_on) == ("waiting", ["timer"]), run.failure_reason
        assert not desk.up.calls
    assert all((wake - run.created_at).total_seconds() >= journal.LONGEST_WAIT_SECONDS for wake in asked_at)
    done = desk.drive(run)
    assert done.status == "succeeded", done.failure_reason
    assert len(desk.up.calls) == 1
