"""Definitions that tests share."""

import copy
from typing import Any

VENDOR_TERMS = """
name: vendor-terms
title: Vendor terms update
environment: production
input:
  type: object
  required: [vendor_id, contract]
  additionalProperties: false
  properties:
    vendor_id: {type: string}
    contract: {type: string}
steps:
  - {name: vendor, kind: tool, agent: ledger-ops, tool: erp.getVendor, arguments: {vendor_id: "${input.vendor_id}"}}
  - name: assess
    kind: agent
    agent: ledger-ops
    task: Review vendor ${input.vendor_id} against contract ${input.contract}
    data: {vendor: "${steps.vendor.output}"}
    output: {type: object, required: [change_needed], properties: {change_needed: {type: boolean}}}
  - {name: needed, kind: condition, when: steps.assess.output.change_needed, then: approve, otherwise: end}
  - name: approve
    kind: approval
    authorizes: update
    risk: high
    sla_minutes: 120
    title: Change ${input.vendor_id}
    rationale: ${steps.assess.output.rationale}
    evidence: ${steps.assess.output.evidence}
    current: {payment_terms: "${steps.vendor.output.payment_terms}"}
    editable: [effective_from]
  - name: update
    kind: tool
    agent: ledger-ops
    tool: erp.updateVendorTerms
    arguments:
      vendor_id: ${input.vendor_id}
      payment_terms: ${steps.assess.output.payment_terms}
      effective_from: ${steps.assess.output.effective_from}
  - {name: outcome, kind: transform, output: {terms: "${steps.update.output.payment_terms}"}}
"""

# Runs without agents and tools, so that the engine can be watched alone.
ADDING = """
name: adding
title: Adding
environment: development
input:
  type: object
  required: [first, second]
  additionalProperties: false
  properties: {first: {type: integer}, second: {type: integer}}
steps:
  - {name: sum, kind: transform, output: {value: "${input.first + input.second}"}}
  - {name: large, kind: condition, when: steps.sum.output.value > 10, then: shout, otherwise: whisper}
  - {name: shout, kind: transform, output: "LARGE ${steps.sum.output.value}", next: end}
  - {name: whisper, kind: transform, output: "small ${steps.sum.output.value}"}
"""

CLOSED_INPUT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"a": {"type": "string"}},
}


def workflow(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A definition with these steps."""
    base = {"name": "sample", "title": "Sample", "environment": "development", "input": copy.deepcopy(CLOSED_INPUT)}
    return {**base, "steps": list(steps), **changes}


def transform(name: str, output: Any = "x", **more: Any) -> dict[str, Any]:
    """A transform step."""
    return {"name": name, "kind": "transform", "output": output, **more}
