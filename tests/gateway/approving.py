"""A call that a person must approve: asked for as a worker does, and approved."""

from approvals import services as approvals
from approvals.digest import ActionFacts
from provenance.db import enter
from tests import factories


def asked(world, key="run:update:1", **arguments):
    """An approval step's request for a call, as a worker makes it from `/call/facts`."""
    facts = world.facts("ledger", "erp.setTerms", key, **arguments)
    assert facts.verdict == "ask", facts
    with enter(world.workspace.id):
        return factories.make_approval(
            world.workspace,
            run_id=world.run.id,
            risk=facts.risk,
            payload=arguments,
            payload_schema=facts.input_schema,
            current={},
            evidence=[],
            facts=ActionFacts.from_json(facts.facts),
            tool_label="erp.setTerms",
        )


def approve(world, request_id, **payload):
    """Let the approver approve it, as it is or with another payload."""
    approvals.decide(
        actor=world.approver,
        request_id=request_id,
        verdict="approve",
        payload=payload or None,
        reason="Checked against the amendment.",
    )
