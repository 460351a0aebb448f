"""The port upwards for evidence: what tools answered in a run, as the platform itself recorded it (T25).

A request is written by a worker, and a hijacked one writes into it what it likes. So whatever evidence says of where it
was found is looked up again when it is shown, in a record that no worker can write. Who keeps it plugs in here.
"""

from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from approvals.evidence import Answer

Witness = Callable[[UUID, UUID, Iterable[UUID]], Mapping[UUID, Answer]]

_witnesses: list[Witness] = []


def register(witness: Witness) -> None:
    """Let an upper floor say what calls brought: `witness(workspace_id, run_id, call_ids)`. Called in `plugs.py`."""
    _witnesses[:] = [witness]


def answers(workspace_id: UUID, run_id: UUID | None, call_ids: Iterable[UUID]) -> Mapping[UUID, Answer]:
    """The answers of those calls that this run made and that succeeded. Call it inside the workspace.

    Empty without a run, and without anybody who keeps a record: then everything is a claim.
    """
    wanted = set(call_ids)
    if run_id is None or not wanted:
        return {}
    return {call: answer for witness in _witnesses for call, answer in witness(workspace_id, run_id, wanted).items()}
