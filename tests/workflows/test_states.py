"""Which status may follow which (runs.md 3.2)."""

import pytest

from workflows.states import MACHINES, RUN, STEP, TERMINAL_RUN, TOKEN, RunStatus, TokenState


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_every_status_has_a_row(name: str):
    machine = MACHINES[name]
    assert set(machine) == set(type(next(iter(machine))))


def test_a_run_that_is_over_stays_over():
    assert {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELED} == TERMINAL_RUN


def test_every_live_run_can_be_canceled():
    for status, following in RUN.items():
        assert status in TERMINAL_RUN or status is RunStatus.CANCELING or RunStatus.CANCELING in following


def test_a_canceling_run_ends_only_as_canceled():
    assert RUN[RunStatus.CANCELING] == {RunStatus.CANCELED}


def test_every_status_can_reach_an_end():
    for machine in MACHINES.values():
        ends = {state for state, following in machine.items() if not following}
        for state in machine:
            reached, waiting = set(), [state]
            while waiting:
                current = waiting.pop()
                if current not in reached:
                    reached.add(current)
                    waiting.extend(machine[current])
            assert reached & ends


def test_only_a_claimed_token_ends_as_done():
    assert [state for state, following in TOKEN.items() if TokenState.DONE in following] == [TokenState.LEASED]


def test_a_step_that_ended_is_never_moved_again():
    assert all(not STEP[status] for status in STEP if status.value in {"succeeded", "failed", "skipped", "canceled"})
