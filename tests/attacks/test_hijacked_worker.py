"""A hijacked worker: it holds its database role and the key of run tokens, and says of a run what is not so."""

import pytest
from django.db import Error, connection

from approvals import selectors
from approvals import services as approvals
from approvals.digest import ActionFacts
from audit.taxonomy import Event
from gateway.contract import CallRequest, CallState
from provenance.db import enter
from provenance.ids import public_id, uuid7
from tests import factories
from tests.browsing import browser
from tests.fakes.mcp_server import text

CALL = {"vendor": "V-1", "terms": "NET60"}
KEY = "run:update:1"


def call_with(world, tool, arguments, **lies):
    """A call under a run token that the hijacked worker minted."""
    call_id = uuid7()
    request = CallRequest(call_id=call_id, call_key=f"key-{call_id}", tool=tool, arguments=arguments, approval_id=None)
    with world.http("ledger", **lies) as client:
        return client.post("/call", json=request.to_json()).json()


def ask(world, **changes):
    """A request for a write that the hijacked worker stores itself."""
    facts = world.facts("ledger", "erp.setTerms", KEY, **CALL)
    values = {
        "run_id": world.run.id,
        "risk": facts.risk,
        "payload": CALL,
        "payload_schema": facts.input_schema,
        "current": {},
        "evidence": [],
        "facts": ActionFacts.from_json(facts.facts),
        "tool_label": "erp.setTerms",
    }
    with enter(world.workspace.id):
        return factories.make_approval(world.workspace, **{**values, **changes})


def approved(world, request):
    approvals.decide(
        actor=world.approver, request_id=request.pk, verdict="approve", reason="Checked against the amendment."
    )
    return world.call("ledger", "erp.setTerms", key=KEY, approval_id=request.pk, **CALL)


def test_a_run_cannot_be_lent_to_an_agent_that_is_not_in_it(world, erp):
    """T04: a run of the research agent makes no call with the rights of the ledger agent."""
    world.add_agent("research", ["erp.getTerms"])
    world.start_run()
    world.pin_agents("research")
    response = world.call("ledger", "erp.getTerms", vendor="V-1")
    assert (response.state, response.rule) == (CallState.BLOCKED, "call.fenced")
    assert not erp.calls
    assert world.rule(Event.MCP_TOOL_BLOCKED) == "call.fenced"


@pytest.mark.parametrize("claim", ["agent_version_id", "workflow_version", "on_behalf_of", "environment"])
def test_a_token_that_lies_about_its_run_opens_nothing(world, erp, claim):
    """T04: version, definition, person and place are what web wrote when the run began."""
    lie = "staging" if claim == "environment" else uuid7() if claim.endswith("_id") else str(uuid7())
    if claim == "agent_version_id":
        # A version of this agent, but not the one that the run was started with.
        world.start_run()
        pinned = world.agents["ledger"].version
        world.agents["ledger"].version = uuid7()
        world.pin_agents()
        world.agents["ledger"].version, lie = pinned, pinned
    answer = call_with(world, "erp.getTerms", {"vendor": "V-1"}, **{claim: lie})
    assert (answer["state"], answer["rule"]) == ("blocked", "call.fenced")
    assert not erp.calls


def test_leaving_the_publisher_out_of_the_request_does_not_let_them_approve(world, erp):
    """T22: the gateway asks the run's own rows who counts as having asked."""
    request = ask(world, conflicted_user_ids=[])
    world.owner_does("UPDATE workflows_workflowversion SET published_by = %s", world.approver.id)
    response = approved(world, request)
    assert (response.state, response.rule) == (CallState.BLOCKED, "approval.conflicted")
    assert not erp.calls


def test_an_approval_asked_for_as_harmless_does_not_cover_a_call_that_is_not(world, erp):
    """T05: without this a call that needs two people would pass with one."""
    response = approved(world, ask(world, risk="low"))
    assert (response.state, response.rule) == (CallState.BLOCKED, "approval.understated")
    assert not erp.calls


def test_an_honest_request_is_used(world, erp):
    """The control: only what was forged above keeps these calls from happening."""
    assert approved(world, ask(world)).state is CallState.SUCCEEDED


def test_a_person_is_not_shown_another_tool_than_the_one_they_approve(world, erp):
    with pytest.raises(Error, match="is not the tool of the facts"):
        ask(world, tool_label="erp.getTerms")


# --- T25: evidence ----------------------------------------------------------------------------------------------------


def looked_up(world, erp):
    """The public id of a call in which the platform itself read the terms."""
    erp.reply = lambda _name, _arguments: text("", structuredContent={"terms": "NET30", "vendor": "V-1"})
    call_id = uuid7()
    assert world.call("ledger", "erp.getTerms", call_id=call_id, vendor="V-1").state is CallState.SUCCEEDED
    return public_id("call", call_id)


def claim(source="", value="NET30", tone="emerald", note="found by the platform in the answer of erp.getTerms"):
    """An item as a worker may write it: it says itself who found it."""
    return {
        "label": "Terms on file",
        "value": value,
        "tone": tone,
        "note": note,
        **({"source": source} if source else {}),
    }


def shown(world, request):
    """The evidence on the page and in the API, and the page itself."""
    with enter(world.workspace.id):
        found = selectors.request_detail(world.approver, request.pk)
    page = browser(world.approver).get(f"/w/{world.workspace.slug}/approvals/{request.public_id}/").text
    return found, page


def test_evidence_that_the_gateway_recorded_stays_what_the_platform_found(world, erp):
    """The control of the forgeries below."""
    call = looked_up(world, erp)
    found, page = shown(world, ask(world, evidence=[claim(f"erp.getTerms terms {call}")]))
    assert [(item["tone"], item["note"]) for item in found.evidence] == [
        ("emerald", "found by the platform in the answer of erp.getTerms")
    ]
    assert "See the answer" in page


@pytest.mark.parametrize(
    "forgery",
    [
        lambda _call: claim(),
        lambda call: claim(f"erp.getTerms terms {call}", value="NET90"),
        lambda call: claim(f"erp.getTerms vendor {call}"),
        lambda call: claim(f"erp.getTerms nowhere {call}"),
        lambda call: claim(f"docs.getContract terms {call}"),
        lambda _call: claim(f"erp.getTerms terms {public_id('call', uuid7())}"),
        lambda call: claim(f"erp.getTerms terms {call} "),
        lambda call: claim(f"erp.getTerms {call}"),
        lambda _call: claim("erp.getTerms terms"),
    ],
    ids=["no source", "value", "path", "no path", "tool", "call", "trailing", "pathless", "callless"],
)
def test_evidence_that_a_worker_made_up_is_shown_as_the_agents_claim(world, erp, forgery):
    """T25: the worker writes the row, so what it says of itself counts for nothing; the gateway's record does."""
    call = looked_up(world, erp)
    found, page = shown(world, ask(world, evidence=[forgery(call)]))
    (item,) = found.evidence
    assert item["tone"] == "slate"
    assert item["note"].startswith("claimed by the agent ledger-ops")
    assert "source" not in item
    assert found.evidence_counts == "1 fact"
    assert "See the answer" not in page
    assert "ev emerald" not in page


def test_evidence_from_another_run_or_a_refused_call_is_a_claim(world, erp):
    call = looked_up(world, erp)
    world.owner_does("UPDATE gateway_toolcall SET state = 'indeterminate'")
    found, _ = shown(world, ask(world, evidence=[claim(f"erp.getTerms terms {call}")]))
    assert found.evidence[0]["tone"] == "slate"
    world.owner_does("UPDATE gateway_toolcall SET state = 'succeeded', run_id = gen_random_uuid()")
    found, _ = shown(world, ask(world, evidence=[claim(f"erp.getTerms terms {call}")]))
    assert found.evidence[0]["tone"] == "slate"


@pytest.mark.parametrize("what", ["the answer", "the tool", "the run"])
def test_evidence_from_a_record_that_was_exchanged_past_the_platform_is_a_claim(world, erp, what):
    """Nobody signs the gateway's record: an answer counts as a signed event told it (T06)."""
    call = looked_up(world, erp)
    erp.reply = lambda _name, _arguments: text("", structuredContent={"terms": "NET90", "vendor": "V-2"})
    assert world.call("ledger", "erp.getTerms", vendor="V-2").state is CallState.SUCCEEDED
    world.owner_does(
        {
            "the answer": "UPDATE gateway_toolcall SET result_ref = (SELECT result_ref FROM gateway_toolcall ORDER BY id DESC LIMIT 1)",
            "the tool": "UPDATE gateway_toolcall SET tool_name = 'erp.other'",
            "the run": "UPDATE gateway_toolcall SET run_id = gen_random_uuid()",
        }[what]
    )
    tool = "erp.other" if what == "the tool" else "erp.getTerms"
    value = "NET90" if what == "the answer" else "NET30"
    found, _ = shown(world, ask(world, evidence=[claim(f"{tool} terms {call}", value=value)]))
    assert found.evidence[0]["tone"] == "slate"


def test_a_worker_cannot_write_the_record_that_evidence_is_held_against(world, erp, as_role):
    looked_up(world, erp)
    for statement in ("UPDATE gateway_toolcall SET result_ref = ''", "DELETE FROM gateway_toolcall"):
        with as_role("worker"), pytest.raises(Error), enter(world.workspace.id), connection.cursor() as cursor:
            cursor.execute(statement)


def test_what_speaks_against_the_request_keeps_its_tone_whoever_says_it(world, erp):
    """A claim may warn: only what supports needs a witness."""
    looked_up(world, erp)
    found, _ = shown(world, ask(world, evidence=[claim(tone="rose", note="The amendment says otherwise.")]))
    assert found.evidence[0]["tone"] == "rose"
    assert found.evidence[0]["note"] == "claimed by the agent ledger-ops: The amendment says otherwise."
    assert len(found.contradictions) == 1
