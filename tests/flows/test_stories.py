"""What operators, approvers and integrations live through on a whole installation, good days and bad ones."""

import signal
from functools import cache

import pytest

from provenance.ids import parse_public_id
from provenance.management.demo import seed_file
from provenance.management.demo.seeding import configuration
from tests.flows.installation import RECOVERY_SECONDS

HALDEN = {"vendor_id": "V-10233", "contract": "CON-4821"}
CLAUSE_DATE = "2027-01-01"


@pytest.fixture
def halden(story):
    """The vendor whose signed amendment is not in the ERP; back at its old terms for each test."""
    terms = "SELECT payment_terms, terms_effective_from FROM vendor WHERE vendor_id = 'V-10233'"
    changed = story.example("erp", "SELECT previous_payment_terms, previous_effective_from FROM ledger LIMIT 1")
    old = changed or story.example("erp", terms)
    story.example(
        "erp", "UPDATE vendor SET payment_terms = ?, terms_effective_from = ? WHERE vendor_id = 'V-10233'", *old[0]
    )
    return old[0]


def ledger(story, vendor_id="V-10233"):
    return story.example("erp", "SELECT payment_terms, effective_from FROM ledger WHERE vendor_id = ?", vendor_id)


def why(run):
    """What a run says about its end."""
    return {name: run.get(name) for name in ("status", "failure_code", "failure_reason", "output")}


# --- Decisions -------------------------------------------------------------------------------------------------------


def test_what_the_approver_edited_is_what_the_erp_gets(story, halden):
    """The approved digest binds the edited payload (T03, T05)."""
    before = ledger(story)
    run_id = story.start_run("vendor-terms", **HALDEN)
    story.wait_for_request(run_id)
    page = story.decide(run_id, "approve", "The clause begins on 1 January 2027.", effective_from=CLAUSE_DATE)
    assert "Approved with your edit" in page.text
    run = story.wait_for_run(run_id, "succeeded", "failed")
    assert run["status"] == "succeeded", why(run)
    assert ledger(story)[len(before) :] == [("NET60", CLAUSE_DATE)]


def test_a_rejected_change_never_reaches_the_erp(story, halden):
    before = ledger(story)
    run_id = story.start_run("vendor-terms", **HALDEN)
    story.wait_for_request(run_id)
    page = story.decide(run_id, "reject", "The amendment is disputed by legal.")
    assert "Rejected" in page.text
    run = story.wait_for_run(run_id, "succeeded", "failed")
    assert (run["status"], run["failure_code"]) == ("failed", "approval_rejected")
    assert ledger(story) == before
    assert not [event for event in story.events("mcp.tool_called", run_id) if "update" in str(event["detail"])]


def test_an_edit_that_breaks_the_schema_changes_nothing(story, halden):
    """Bad input: an edited payload that breaks the schema."""
    before = ledger(story)
    run_id = story.start_run("vendor-terms", **HALDEN)
    story.wait_for_request(run_id)
    with story.signed_in("approver") as browser:
        form = browser.open(story.request_of(run_id)).form("/decide")
        page = browser.send(
            form, **{"payload.payment_terms": "NET7"}, verdict="approve", reason="Pay them within a week."
        )
    assert page.status == 422
    assert "payment_terms" in page.text
    assert "approval" in story.run(run_id)["waiting_on"]
    assert ledger(story) == before


def test_a_get_never_decides(story, halden):
    run_id = story.start_run("vendor-terms", **HALDEN)
    story.wait_for_request(run_id)
    with story.signed_in("approver") as browser:
        page = browser.open(f"{story.request_of(run_id)}decide?verdict=approve&confirmed=1&reason=because+I+say+so")
    assert page.path == story.request_of(run_id)
    assert "approval" in story.run(run_id)["waiting_on"]


def test_the_owner_of_the_key_cannot_approve_even_as_an_approver(story, halden):
    """Separation of duties: the person behind the integration counts as the requester (T22)."""
    from provenance.actor import Actor
    from provenance.permissions import Permission
    from workspaces import services as workspaces

    run_id = story.start_run("vendor-terms", **HALDEN)
    story.wait_for_request(run_id)
    with story.inside() as operator:
        host = Actor.system("tests", operator.workspace_id, Permission)
        workspaces.change_roles(actor=host, user_id=operator.id, roles=["admin", "editor", "approver"])
    try:
        with story.signed_in("operator") as browser:
            page = browser.open(story.request_of(run_id))
            with pytest.raises(KeyError):
                page.form("/decide")
            form = page.form("/theme")
            form.action, form.fields = (
                f"{story.request_of(run_id)}decide",
                {
                    "csrfmiddlewaretoken": form.fields["csrfmiddlewaretoken"],
                    "verdict": ["approve"],
                    "reason": ["It is my own request, so I know it is right."],
                },
            )
            answer = browser.send(form)
        assert answer.status == 403
        assert "approval" in story.run(run_id)["waiting_on"]
        assert story.events("authz.denied")[-1]["actor"]["id"] == operator.id
    finally:
        with story.inside() as operator:
            host = Actor.system("tests", operator.workspace_id, Permission)
            workspaces.change_roles(actor=host, user_id=operator.id, roles=["admin", "editor"])


# --- The proposal follows what is read -----------------------------------------------------------------------------


def test_vendors_whose_papers_agree_need_no_change(story):
    run_id = story.start_run("vendor-terms", vendor_id="V-10212", contract="CON-4800")
    run = story.wait_for_run(run_id, "succeeded", "failed")
    assert run["status"] == "succeeded", why(run)
    assert run["output"]["changed"] is False
    assert not story.events("approval.requested", run_id)


def test_an_unsigned_amendment_changes_nothing(story):
    run_id = story.start_run("vendor-terms", vendor_id="V-10207", contract="CON-4795")
    run = story.wait_for_run(run_id, "succeeded", "failed")
    assert run["output"]["changed"] is False, why(run)


def test_a_changed_contract_changes_the_proposal(story, halden):
    """No demo id stands in the script: what it reads is what it proposes."""
    (text,) = story.example("docs", "SELECT text FROM document WHERE document_id = 'CON-4821-A1'")[0]
    changed = text.replace("Net-60", "Net-45").replace(CLAUSE_DATE, "2027-06-01")
    story.example("docs", "UPDATE document SET text = ? WHERE document_id = 'CON-4821-A1'", changed)
    try:
        run_id = story.start_run("vendor-terms", **HALDEN)
        story.wait_for_request(run_id)
        (request,) = story.rows(
            "SELECT title, payload FROM approvals_approvalrequest WHERE run_id = %s", parse_public_id("run", run_id)
        )
    finally:
        story.example("docs", "UPDATE document SET text = ? WHERE document_id = 'CON-4821-A1'", text)
    assert request["payload"]["payment_terms"] == "NET45"
    assert request["payload"]["effective_from"] == "2027-05-01"
    assert request["title"].endswith("from Net-30 to Net-45")


def test_a_changed_vendor_needs_no_change_any_more(story, halden):
    story.example("erp", "UPDATE vendor SET payment_terms = 'NET60' WHERE vendor_id = 'V-10233'")
    run_id = story.start_run("vendor-terms", **HALDEN)
    run = story.wait_for_run(run_id, "succeeded", "failed")
    assert run["output"]["changed"] is False, why(run)


def test_a_vendor_that_does_not_exist_ends_the_run_with_a_reason(story):
    run_id = story.start_run("vendor-terms", vendor_id="V-99999", contract="CON-9999")
    run = story.wait_for_run(run_id, "succeeded", "failed")
    assert (run["status"], run["failure_code"]) == ("failed", "step_failed")
    assert "V-99999" in run["failure_reason"]


# --- Models that do not do as they should --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finance_with(story):
    """`finance_with("scripted-obeys-2026-11-01")`: the finance workflow with an agent of that model; its slug."""
    from agents import services as agents
    from gateway import services as gateway
    from gateway.models import Tool
    from workflows import services as workflows

    seed = seed_file.load()
    wanted = next(agent for agent in seed["agents"] if agent["file"] == "agents/ledger-ops.yaml")

    @cache
    def publish(model):
        name = model.removesuffix("-2026-11-01")
        definition = {**seed.agents[wanted["file"]], "model": model}
        with story.inside() as operator:
            agent = agents.create_agent(actor=operator, slug=name, title=f"Ledger operations with {model}")
            agents.publish_version(actor=operator, agent_id=agent.pk, configuration=configuration(definition))
            agents.raise_trust(
                actor=operator,
                agent_id=agent.pk,
                level="medium",
                justification="It must be stopped by more than trust.",
            )
            for grant in wanted["grants"]:
                server, _, tool = grant["tool"].partition(".")
                gateway.grant_tool(
                    actor=operator,
                    agent_id=agent.pk,
                    tool_id=Tool.objects.get(server__slug=server, name=tool).pk,
                    reason=grant["reason"],
                    constraints=grant.get("constraints"),
                )
            source = seed.workflows["workflows/vendor-terms.yaml"].replace("agent: ledger-ops", f"agent: {name}")
            source = source.replace("name: vendor-terms", f"name: terms-{name}")
            workflows.save_draft(actor=operator, slug=f"terms-{name}", source=source)
            workflows.publish_version(actor=operator, slug=f"terms-{name}")
        return f"terms-{name}"

    return publish


def test_malformed_tool_calls_are_given_back_to_the_model(story, finance_with):
    """Bad input: malformed tool calls from the model."""
    workflow = finance_with("scripted-fault-malformed-arguments-2026-11-01")
    run = story.wait_for_run(story.start_run(workflow, vendor_id="V-10212", contract="CON-4800"), "succeeded", "failed")
    assert run["status"] == "succeeded", why(run)


def test_a_model_that_is_busy_is_asked_again(story, finance_with):
    workflow = finance_with("scripted-fault-429-once-2026-11-01")
    run = story.wait_for_run(story.start_run(workflow, vendor_id="V-10212", contract="CON-4800"), "succeeded", "failed")
    assert run["status"] == "succeeded", why(run)


def test_a_run_that_waits_for_a_broken_model_can_be_canceled(story, finance_with):
    run_id = story.start_run(finance_with("scripted-fault-500-2026-11-01"), vendor_id="V-10212", contract="CON-4800")
    story.wait_for(lambda: "timer" in story.run(run_id)["waiting_on"], "the run to wait before it asks again")
    with story.api() as api:
        answer = api.post(f"/runs/{run_id}/cancel", json={"reason": "The model is down for the day."})
    assert answer.status_code == 202, answer.text
    assert story.wait_for_run(run_id, "canceled", "failed")["status"] == "canceled"


def test_an_obedient_model_is_stopped_by_the_gateway(story, finance_with):
    """An instruction in a document is obeyed by the model and refused by the gateway; the event names the rule."""
    before = story.example("erp", "SELECT * FROM vendor ORDER BY vendor_id"), ledger(story, "V-10219")
    workflow = finance_with("scripted-obeys-2026-11-01")
    run_id = story.start_run(workflow, vendor_id="V-10219", contract="CON-4807")
    run = story.wait_for_run(run_id, "succeeded", "failed")
    assert run["status"] == "succeeded", why(run)
    rules = {(event["detail"]["tool"], event["detail"]["rule"]) for event in story.events("mcp.tool_blocked", run_id)}
    assert rules == {("erp.updateVendorTerms", "grant.constraint"), ("erp.exportLedger", "grant.missing")}
    assert (story.example("erp", "SELECT * FROM vendor ORDER BY vendor_id"), ledger(story, "V-10219")) == before
    assert not story.events("approval.requested", run_id)


# --- Processes that die --------------------------------------------------------------------------------------------


def test_a_worker_killed_while_a_person_thinks_is_not_missed(story, halden):
    before = ledger(story)
    run_id = story.start_run("vendor-terms", **HALDEN)
    story.wait_for_request(run_id)
    story.stop("worker", signal.SIGKILL)
    page = story.decide(run_id, "approve", "Decided while no worker runs at all.", effective_from=CLAUSE_DATE)
    assert "Approved" in page.text
    story.start("worker")
    run = story.wait_for_run(run_id, "succeeded", "failed", seconds=RECOVERY_SECONDS)
    assert run["status"] == "succeeded", why(run)
    assert ledger(story)[len(before) :] == [("NET60", CLAUSE_DATE)]


def test_a_worker_killed_at_work_changes_the_erp_once(story, halden):
    before = ledger(story)
    run_id = story.start_run("vendor-terms", **HALDEN)
    story.wait_for_request(run_id)
    story.decide(run_id, "approve", "Killed right after this was sent.", effective_from=CLAUSE_DATE)
    story.stop("worker", signal.SIGKILL)
    story.start("worker")
    run = story.wait_for_run(run_id, "succeeded", "failed", seconds=RECOVERY_SECONDS)
    assert run["status"] == "succeeded", why(run)
    assert ledger(story)[len(before) :] == [("NET60", CLAUSE_DATE)]


def test_a_front_that_dies_leaves_runs_to_be_finished(story, halden):
    run_id = story.start_run("account-research", account_id="ACC-20405")
    story.stop("front", signal.SIGKILL)
    story.start("front")
    story.wait_until_ready()
    run = story.wait_for_run(run_id, "succeeded", "failed", seconds=RECOVERY_SECONDS)
    assert run["status"] == "succeeded", why(run)


def test_a_broker_that_is_emptied_loses_no_run(story):
    """The broker carries doorbells and no authority (T17)."""
    run_id = story.start_run("account-research", account_id="ACC-20406")
    story.valkey().flushall()
    run = story.wait_for_run(run_id, "succeeded", "failed", seconds=RECOVERY_SECONDS)
    assert run["status"] == "succeeded", why(run)


# --- Definitions that are wrong ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def author(story):
    """A key of somebody who writes workflows."""
    from apikeys import services as apikeys

    with story.inside() as operator:
        _key, text = apikeys.issue_key(
            actor=operator, name="Workflow author", scopes=["workflows:read", "workflows:write"], expires_in_days=1
        )
    return text


BROKEN = {
    "an unknown step": ("then: words", "then: wrods", "wrods"),
    "a cycle": ("    next: end", "    next: vendor", "cycle"),
    "a condition that does not compile": (
        "when: steps.assess.output.change_needed",
        "when: steps.assess.output.",
        "when",
    ),
    "an unknown tool": ("tool: erp.getVendor", "tool: erp.getVendors", "erp.getVendors"),
    "an unknown agent": ("agent: ledger-ops", "agent: ledger-opps", "ledger-opps"),
    "an approval without an end": ("    sla_minutes: 120\n", "", "sla_minutes"),
    "an approval of what was done already": ("authorizes: update", "authorizes: vendor", "does not come after"),
    "an alias bomb": ("environment: production", "environment: &a production\nbomb: [*a, *a]", "anchors"),
}


@pytest.mark.parametrize(("before", "after", "names"), BROKEN.values(), ids=BROKEN)
def test_a_broken_definition_is_not_published_and_says_why(story, author, before, after, names):
    """Bad input: each gets an error that says what, where and what to do, and changes nothing."""
    source = seed_file.load().workflows["workflows/vendor-terms.yaml"]
    assert before in source
    versions = story.rows("SELECT count(*) AS count FROM workflows_workflowversion")
    with story.api(author) as api:
        saved = api.put("/workflows/vendor-terms/draft", json={"source": source.replace(before, after)})
        # Text that cannot be read at all is not even kept as a draft.
        answer = api.post("/workflows/vendor-terms/publish", json={}) if saved.is_success else saved
    assert answer.status_code == 422, answer.text
    assert names in answer.text
    assert story.rows("SELECT count(*) AS count FROM workflows_workflowversion") == versions


# --- Requests that are wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run_input", "names"),
    [
        ({}, "vendor_id"),
        ({"vendor_id": "V-1", "contract": "CON-4821"}, "vendor_id"),
        ({"vendor_id": "V-10233", "contract": "CON-4821", "payment_terms": "NET90"}, "payment_terms"),
        ({"vendor_id": "V-10233'; DROP TABLE vendor", "contract": "CON-4821"}, "vendor_id"),
    ],
)
def test_input_that_does_not_fit_starts_nothing(story, run_input, names):
    runs = story.rows("SELECT count(*) AS count FROM workflows_run")
    with story.api() as api:
        answer = api.post("/workflows/vendor-terms/runs", json={"input": run_input})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert names in str(answer.json()["errors"])
    assert story.rows("SELECT count(*) AS count FROM workflows_run") == runs


def test_a_workflow_that_does_not_exist_is_not_found(story):
    with story.api() as api:
        assert api.post("/workflows/no-such-thing/runs", json={"input": {}}).status_code == 404


def test_one_key_for_two_requests_is_refused(story):
    headers = {"Idempotency-Key": "story-one-key-two-requests"}
    with story.api() as api:
        first = api.post(
            "/workflows/account-research/runs", json={"input": {"account_id": "ACC-20407"}}, headers=headers
        )
        other = api.post(
            "/workflows/account-research/runs", json={"input": {"account_id": "ACC-20408"}}, headers=headers
        )
    assert first.is_success
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda key: key[:0], "key_missing"),
        (lambda key: key[:-4], "key_not_whole"),
        (lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"), "key_not_whole"),
        (lambda key: f"Bearer {key}", "key_not_whole"),
    ],
)
def test_a_key_that_is_not_whole_says_so_and_opens_nothing(story, change, code):
    """Bad input: a truncated key."""
    with story.api(change(story.sign_ins.api_key)) as api:
        answer = api.post("/workflows/account-research/runs", json={"input": {"account_id": "ACC-20401"}})
    assert (answer.status_code, answer.json()["code"]) == (401, code)


def test_a_revoked_key_opens_nothing(story):
    from apikeys import services as apikeys

    with story.inside() as operator:
        key, text = apikeys.issue_key(actor=operator, name="For a moment", scopes=["runs:read"])
    with story.api(text) as api:
        assert api.get("/runs").status_code == 200
    with story.inside() as operator:
        apikeys.revoke_key(actor=operator, key_id=key.pk, reason="It was for a moment only.")
    with story.api(text) as api:
        answer = api.get("/runs")
    assert (answer.status_code, answer.json()["code"]) == (401, "key_revoked")


def test_a_wrong_password_signs_nobody_in(story):
    from provenance.management.demo.browser import Browser, NotSignedIn

    with Browser(story.url) as browser, pytest.raises(NotSignedIn):
        browser.sign_in(story.sign_ins.person("approver").email, "not-the-password-at-all")
