"""What publishing says about agents, tools and approvals (M044, M094, M109)."""

import pytest

from tests.workflows.samples import VENDOR_TERMS
from workflows.definition import parse
from workflows.readiness import AgentFacts, Catalog, ToolFacts, problems

READ_SCHEMA = {
    "type": "object",
    "required": ["vendor_id"],
    "properties": {"vendor_id": {}},
    "additionalProperties": False,
}
WRITE_SCHEMA = {
    "type": "object",
    "required": ["vendor_id", "payment_terms", "effective_from", "idempotency_key"],
    "properties": {"vendor_id": {}, "payment_terms": {}, "effective_from": {}, "idempotency_key": {}},
    "additionalProperties": False,
}


def catalog(*, agent=None, read=None, write=None, trust="medium"):
    tool = {"is_usable": True, "data_tier": 2, "idempotency_argument": "", "granted_to": frozenset({"ledger-ops"})}
    return Catalog(
        agents={
            "ledger-ops": AgentFacts(
                **{
                    "is_active": True,
                    "trust_level": trust,
                    "requested_tools": frozenset({"erp.getVendor", "erp.updateVendorTerms"}),
                    **(agent or {}),
                }
            )
        },
        tools={
            "erp.getVendor": ToolFacts(**{**tool, "effect": "read", "input_schema": READ_SCHEMA, **(read or {})}),
            "erp.updateVendorTerms": ToolFacts(
                **{
                    **tool,
                    "effect": "write",
                    "input_schema": WRITE_SCHEMA,
                    "idempotency_argument": "idempotency_key",
                    **(write or {}),
                }
            ),
        },
    )


def said(source=VENDOR_TERMS, **changes):
    return {error["path"]: error["message"] for error in problems(parse(source), catalog(**changes))}


def test_a_definition_whose_agents_and_tools_are_there_is_ready():
    assert said() == {}


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        ({"agent": {"is_active": False}}, "steps.assess.agent", "cannot start runs now"),
        ({"agent": {"requested_tools": frozenset({"erp.getVendor"})}}, "steps.update.tool", "does not request"),
        ({"write": {"granted_to": frozenset()}}, "steps.update.tool", "was not granted"),
        ({"write": {"is_usable": False}}, "steps.update.tool", "not reviewed"),
        ({"trust": "low"}, "steps.update.tool", "may not call"),
        ({"write": {"effect": "destructive"}}, "steps.update.tool", "may not call"),
        ({"write": {"effect": "destructive"}, "trust": "high"}, "steps.approve.risk", "critical risk"),
        ({"read": {"data_tier": 3}}, "steps.vendor.tool", "asks a person first"),
    ],
)
def test_what_would_stop_the_run_is_said_before_it_is_published(changes, path, says):
    assert says in said(**changes)[path]


@pytest.mark.parametrize(
    ("old", "new", "path", "says"),
    [
        ("erp.updateVendorTerms", "erp.nothing", "steps.update.tool", "not a tool of this workspace"),
        (
            "      payment_terms: ${steps.assess.output.payment_terms}\n",
            "",
            "steps.update.arguments",
            "'payment_terms'",
        ),
        ("      effective_from:", "      from_when:", "steps.update.arguments.from_when", "does not take"),
        ("      effective_from:", "      idempotency_key:", "steps.update.arguments.idempotency_key", "engine sets"),
        ("risk: high", "risk: medium", "steps.approve.risk", "is of high risk"),
    ],
)
def test_arguments_and_risk_are_held_against_the_tool(old, new, path, says):
    assert VENDOR_TERMS.count(old)
    assert says in said(VENDOR_TERMS.replace(old, new))[path]


def test_a_writing_call_needs_its_approval_step():
    """M094: without one the gateway would stop the run in the middle; publishing says it."""
    start = VENDOR_TERMS.index("  - name: approve")
    end = VENDOR_TERMS.index("  - name: update")
    source = (VENDOR_TERMS[:start] + VENDOR_TERMS[end:]).replace("then: approve", "then: update")
    assert "Put an approval step before 'update'" in said(source)["steps.update.tool"]
