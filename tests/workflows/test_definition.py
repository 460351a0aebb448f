"""What a definition may say, and how it is told what is wrong with it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.errors import Invalid
from tests.workflows.samples import VENDOR_TERMS, transform, workflow
from workflows.definition import END, ApprovalStep, ConditionStep, load, parse, successors


def errors_of(source: Any) -> list[dict[str, str]]:
    with pytest.raises(Invalid) as refused:
        parse(source)
    return refused.value.data["errors"]


def test_a_definition_becomes_typed_steps_in_order():
    definition = parse(VENDOR_TERMS)
    assert [step.name for step in definition.steps] == ["vendor", "assess", "needed", "approve", "update", "outcome"]
    assert isinstance(definition.step("needed"), ConditionStep)
    assert successors(definition.step("needed")) == ("approve", END)
    assert successors(definition.step("outcome")) == (END,)
    approval = definition.authorization_of("update")
    assert isinstance(approval, ApprovalStep)
    assert (approval.risk, approval.sla_minutes, approval.editable) == ("high", 120, ("effective_from",))


def test_the_same_content_has_the_same_hash_however_it_is_written():
    assert parse(VENDOR_TERMS).content_hash == parse(parse(VENDOR_TERMS).source).content_hash


def test_a_stored_definition_loads_as_it_was_parsed():
    from provenance.canonical import canonical_json

    parsed = parse(VENDOR_TERMS)
    assert load(canonical_json(parsed.source).decode()).steps == parsed.steps


@pytest.mark.parametrize(
    ("old", "new", "path", "says"),
    [
        ("otherwise: end", "otherwise: nowhere", "steps.needed.otherwise", "which is not a step"),
        ("otherwise: end", "otherwise: vendor", "steps.needed", "vendor → assess → needed → vendor"),
        ("    sla_minutes: 120\n", "", "steps.approve.sla_minutes", "needed"),
        ("sla_minutes: 120", "sla_minutes: 0", "steps.approve.sla_minutes", "minimum of 1"),
        ("sla_minutes: 120", "sla_minutes: 10081", "steps.approve.sla_minutes", "maximum of 10080"),
        ("risk: high", "risk: huge", "steps.approve.risk", "low, medium, high, critical"),
        ("kind: approval", "kind: hope", "steps.approve.kind", "agent, tool, condition, transform, approval"),
        ("authorizes: update", "authorizes: nothing", "steps.approve.authorizes", "not a step"),
        ("authorizes: update", "authorizes: assess", "steps.approve.authorizes", "not a tool step"),
        ("authorizes: update", "authorizes: vendor", "steps.approve.authorizes", "does not come after"),
        ("otherwise: end", "otherwise: update", "steps.approve.authorizes", "can be reached without"),
        ("then: approve", "then: end", "steps.approve", "is never reached"),
        (
            "when: steps.assess.output.change_needed",
            "when: steps.assess.output. +",
            "steps.needed.when",
            "does not compile",
        ),
        ("when: steps.assess.output", "when: steps.outcome.output", "steps.needed.when", "does not run before it"),
        ("when: steps.assess.output", "when: steps.other.output", "steps.needed.when", "is not a step"),
        ("when: steps.assess.output.change_needed", "when: secrets.all", "steps.needed.when", "reads `secrets`"),
        ("when: steps.assess.output.change_needed", "when: fetch('x')", "steps.needed.when", "calls `fetch`"),
        ("${input.contract}", "${input.other}", "steps.assess.task", "`input` does not describe"),
        ("${input.contract}", "${input.contract", "steps.assess.task", "never closed"),
        ("title: Vendor terms", "titel: Vendor terms", "title", "needed"),
        ("name: outcome", "name: update", "steps.update", "Two steps are called"),
        ("name: outcome", "name: end", "steps.end.name", "not allowed"),
        ("name: outcome", "name: Out-come", "steps.Out-come.name", "does not match"),
        ("type: object, required: [change_needed]", "type: thing", "steps.assess.output", "not a usable JSON Schema"),
        (
            "type: object, required: [change_needed]",
            "$ref: 'https://example.com/s.json'",
            "steps.assess.output",
            "'https://example.com/s.json' is not present",
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_step_and_what_to_do(old: str, new: str, path: str, says: str):
    assert VENDOR_TERMS.count(old), "the sample changed"
    found = errors_of(VENDOR_TERMS.replace(old, new))
    assert any(error["path"] == path and says in error["message"] for error in found), found


def test_all_that_is_wrong_is_said_at_once():
    found = errors_of(workflow(transform("a", "${steps.b.output}"), transform("b", "${input.z}"), output="${nope}"))
    assert {error["path"] for error in found} == {"steps.a.output", "steps.b.output", "output"}


def test_an_approval_is_asked_about_values_that_are_known_when_it_is_asked():
    """T05: what a person decides about cannot depend on a step that runs after the decision."""
    steps = [
        {
            "name": "ask",
            "kind": "approval",
            "authorizes": "send",
            "risk": "high",
            "sla_minutes": 5,
            "title": "t",
            "rationale": "r",
        },
        transform("late", "value"),
        {"name": "send", "kind": "tool", "agent": "a", "tool": "erp.set", "arguments": {"v": "${steps.late.output}"}},
    ]
    assert errors_of(workflow(*steps)) == [
        {
            "path": "steps.send.arguments",
            "message": "`steps.late.output` in steps.send.arguments reads step 'late', which does not run before it.",
        }
    ]


def test_two_approvals_for_one_call_are_refused():
    ask = {"kind": "approval", "authorizes": "send", "risk": "high", "sla_minutes": 5, "title": "t", "rationale": "r"}
    send = {"name": "send", "kind": "tool", "agent": "a", "tool": "erp.set", "arguments": {}}
    found = errors_of(workflow({"name": "one", **ask}, {"name": "two", **ask}, send))
    assert "both authorize 'send'" in found[0]["message"]


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "end"]), min_size=4, max_size=4))
def test_a_definition_that_is_accepted_always_ends(targets: list[str]):
    """Whatever steps lead where: what is accepted has no cycle and no step that is never reached."""
    names = ["a", "b", "c", "d"]
    source = workflow(*(transform(name, next=target) for name, target in zip(names, targets, strict=True)))
    follows = dict(zip(names, targets, strict=True))
    path, name = [], "a"
    while name != "end" and name not in path:
        path.append(name)
        name = follows[name]
    try:
        parse(source)
    except Invalid:
        assert name in path or set(path) != set(names)
    else:
        assert name == "end"
        assert set(path) == set(names)
