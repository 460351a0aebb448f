"""The hot path: one statement for each transition of a token. All times are the database's; worker clocks never count.

Every statement that moves a held token names its fence. No row back means that somebody else holds it now.
Statements run inside `provenance.db.enter`, so row security shows only the workspace of the doorbell; those that work
across workspaces call definer functions that return ids only (T09; `migrations/0002_guards.py`).
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from provenance.db import ask

# These stand in the statements below and in the function that renews leases as they stand here.
LEASE_SECONDS = 30
RING_AGAIN_SECONDS = 15
MOST_CRASHES = 3

CLAIM = """
UPDATE workflows_token
SET state = 'leased', fence = fence + 1, owner = %(owner)s,
    lease_until = clock_timestamp() + interval '30 seconds',
    wake_at = clock_timestamp() + interval '30 seconds',
    crash_claims = crash_claims + (state = 'leased')::int,
    waiting_on = '', approval_id = NULL
WHERE id = %(token_id)s AND dispatch_no = %(dispatch_no)s
  AND (state = 'ready' OR (state = 'leased' AND lease_until < clock_timestamp()))
RETURNING run_id, scope_id, node_key, item_index, fence, crash_claims
"""

HOLD = "SELECT 1 FROM workflows_token WHERE id = %(token_id)s AND fence = %(fence)s AND state = 'leased' FOR UPDATE"

# A statement of its own after the lock: in one statement the status would be the one from before the wait for it.
IS_CANCELING = "SELECT status = 'canceling' FROM workflows_run WHERE id = %(run_id)s"

ADVANCE = """
UPDATE workflows_token SET node_key = %(node_key)s, step_id = %(step_id)s, crash_claims = 0
WHERE id = %(token_id)s AND fence = %(fence)s AND state = 'leased' RETURNING 1
"""

PARK = """
UPDATE workflows_token
SET state = 'waiting', waiting_on = %(waiting_on)s, approval_id = %(approval_id)s, owner = '', lease_until = NULL,
    crash_claims = 0, wake_at = clock_timestamp() + make_interval(secs => %(wake_in)s)
WHERE id = %(token_id)s AND fence = %(fence)s AND state = 'leased' RETURNING 1
"""

YIELD = """
UPDATE workflows_token
SET state = 'ready', owner = '', lease_until = NULL, dispatch_no = dispatch_no + 1,
    wake_at = clock_timestamp() + interval '15 seconds'
WHERE id = %(token_id)s AND fence = %(fence)s AND state = 'leased' RETURNING dispatch_no
"""

END = """
UPDATE workflows_token SET state = %(state)s, owner = '', lease_until = NULL, wake_at = NULL
WHERE id = %(token_id)s AND fence = %(fence)s AND state = 'leased' RETURNING 1
"""

# A woken token, a lost lease and a bell that was never answered are the same thing here: ready, with a new bell.
REVIVE = """
UPDATE workflows_token
SET crash_claims = crash_claims + (state = 'leased')::int,
    state = 'ready', owner = '', lease_until = NULL, dispatch_no = dispatch_no + 1,
    wake_at = clock_timestamp() + interval '15 seconds'
WHERE id = %(token_id)s AND (state IN ('ready', 'leased', 'waiting') AND wake_at <= clock_timestamp()
  OR state IN ('ready', 'leased') AND wake_at > clock_timestamp() + interval '2 minutes')
RETURNING dispatch_no
"""

WAKE = """
UPDATE workflows_token
SET state = 'ready', dispatch_no = dispatch_no + 1,
    wake_at = clock_timestamp() + interval '15 seconds'
WHERE id = %(token_id)s AND state = 'waiting' RETURNING dispatch_no
"""

CANCEL_TOKENS = """
UPDATE workflows_token SET state = 'canceled', owner = '', lease_until = NULL, wake_at = NULL
WHERE run_id = %(run_id)s AND state IN ('ready', 'waiting')
"""

LEAVE_SCOPE = "UPDATE workflows_scope SET pending = pending - 1 WHERE id = %(scope_id)s RETURNING pending"

HOLD_BUDGET = """
UPDATE workflows_budget SET reserved = reserved + %(amount)s
WHERE run_id = %(run_id)s AND spent + reserved + %(amount)s <= "limit" RETURNING id
"""

SETTLE_BUDGET = """
WITH hold AS (
    UPDATE workflows_budgethold SET settled_at = clock_timestamp()
    WHERE run_id = %(run_id)s AND call_id = %(call_id)s AND settled_at IS NULL RETURNING budget_id, amount
)
UPDATE workflows_budget b
SET reserved = greatest(0, reserved - hold.amount), spent = spent + coalesce(%(spent)s, hold.amount)
FROM hold WHERE b.id = hold.budget_id
"""

MARK_LEAVING = """
UPDATE workflows_call
SET status = %(status)s, fence = %(fence)s, attempts = attempts + 1,
    started_at = coalesce(started_at, clock_timestamp()), agent_slug = %(agent)s,
    not_after = clock_timestamp() + interval '25 seconds'
WHERE run_id = %(run_id)s AND id = %(call_id)s RETURNING attempts, not_after
"""

RENEW = "SELECT token_id, canceling FROM workflows_renew_leases(%(owner)s, %(token_ids)s::uuid[], %(fences)s::bigint[])"
DUE = "SELECT workspace_id, token_id FROM workflows_due_tokens(%(most)s)"
AHEAD = "SELECT workspace_id, token_id FROM workflows_tokens_ahead(%(most)s)"
ANSWERED = "SELECT workspace_id, token_id FROM workflows_answered_tokens(%(most)s)"
TIMERS = "SELECT workspace_id, timer_id FROM workflows_due_timers(%(most)s)"
LEAD = "SELECT workflows_lead(%(name)s, %(owner)s, %(seconds)s)"


class FencedOut(Exception):
    """This process no longer holds the token; whatever it was doing must not be written."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim returned."""

    run_id: UUID
    scope_id: UUID
    node_key: str
    item_index: int
    fence: int
    crash_claims: int


def one(statement: str, **parameters: Any) -> tuple[Any, ...] | None:
    """The first row of a statement, or None."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def every(statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """All rows of a statement."""
    return ask(statement, parameters)


def run(statement: str, **parameters: Any) -> int:
    """Execute a statement that returns no rows; how many it changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)


def claim(token_id: UUID, dispatch_no: int, owner: str) -> Claim | None:
    """Take the token that this doorbell rang for. None for a repeated, stale or forged one."""
    row = one(CLAIM, token_id=token_id, dispatch_no=dispatch_no, owner=owner)
    return Claim(*row) if row else None


def demand(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """The row of a fenced statement. Raises `FencedOut` without one."""
    if row is None:
        raise FencedOut
    return row
