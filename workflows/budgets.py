"""The token budget of a run: held before a model is asked, settled after, never overdrawn (M159)."""

import json
from collections.abc import Sequence
from typing import Any

from provenance.ids import uuid7
from workflows import sql
from workflows.models import Budget, BudgetHold, Call

# Fewer bytes than a token has in ordinary text, so that a hold is rather too large than too small.
BYTES_PER_TOKEN = 3
LEAST_ANSWER_TOKENS = 64


def hold(call: Call, *, prompt: Sequence[dict[str, Any]], most: int) -> int | None:
    """Reserve what this call may use; how many tokens the answer may have. None when the budget does not reach.

    Call it inside the transaction that holds the token.
    """
    budget = Budget.objects.for_workspace(call.workspace_id).select_for_update().get(run_id=call.run_id)
    size = sum(len(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")) for message in prompt)
    prompt_tokens = size // BYTES_PER_TOKEN + 1
    answer_tokens: int = min(most, budget.limit - budget.spent - budget.reserved - prompt_tokens)
    if answer_tokens < LEAST_ANSWER_TOKENS:
        return None
    amount = prompt_tokens + answer_tokens
    if sql.one(sql.HOLD_BUDGET, run_id=call.run_id, amount=amount) is None:
        return None
    BudgetHold(
        id=uuid7(),
        workspace_id=call.workspace_id,
        run_id=call.run_id,
        budget_id=budget.pk,
        call_id=call.pk,
        amount=amount,
    ).save(force_insert=True)
    return answer_tokens


def settle(call: Call, *, spent: int | None) -> None:
    """Turn what a call held into what it used; None when that is not known: then all of it counts as used."""
    sql.run(sql.SETTLE_BUDGET, run_id=call.run_id, call_id=call.pk, spent=spent)
