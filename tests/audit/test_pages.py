"""The log in the console: what is found is what is shown and exported, and proofs say only what was checked."""

import html
import io
import json
import re
import zipfile
from uuid import UUID

import pytest

from audit import selectors
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.db import enter
from provenance.ids import public_id, uuid7
from provenance.templatetags.console import days_in_words
from tests import factories
from tests.audit import sealing
from tests.browsing import browser

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Also on a machine that is busy the whole log is looked through; that a page says how far is in `test_search`."""
    monkeypatch.setattr(selectors, "PATIENCE_SECONDS", 60)


@pytest.fixture
def agent(workspace, admin):
    with enter(workspace.id):
        return factories.make_agent(admin)


@pytest.fixture
def logged(workspace, events):
    """The events of the workspace."""

    def read(event=None):
        with enter(workspace.id):
            return events(event)

    return read


def address(workspace, rest=""):
    return f"/w/{workspace.slug}/audit/{rest}"


def test_list_shows_events_and_filters_by_type(workspace, auditor, agent):
    client = browser(auditor)
    assert "agent.created" in client.get(address(workspace)).text
    assert "agent.created" in client.get(address(workspace, "?action=agent")).text
    found = client.get(address(workspace, "?action=run.failed"))
    assert "No events match" in found.text
    assert "Remove filter event" in found.text
    assert re.search(r"Looked for\s+event\s*<b[^>]*>run\.failed</b>\s*in the log of this workspace", found.text)
    assert "log of the instance" not in found.text


@pytest.mark.parametrize("action", ["auth", "auth.login_failed", "user"])
def test_what_is_in_the_log_of_the_instance_alone_is_said_to_be_there(workspace, auditor, action):
    found = browser(auditor).get(address(workspace, f"?action={action}"))
    assert "No events match" in found.text
    assert "./manage.py audit_export instance FILE.zip" in found.text


def test_a_mistyped_event_is_an_error_and_neither_found_nor_exported(workspace, auditor, agent):
    answer = browser(auditor).get(address(workspace, "?action=agent.craeted"))
    assert answer.status_code == 422
    assert "There is no event &#x27;agent.craeted&#x27;" in answer.text
    assert "Nothing was searched" in answer.text
    assert "agent.created" not in answer.text
    assert "Export" not in answer.text


def test_event_page_says_what_was_checked_and_what_was_not(workspace, auditor, agent, logged):
    event = logged(Event.AGENT_CREATED)[0]
    page = browser(auditor).get(address(workspace, f"{public_id('evt', event.pk)}/")).text
    assert "Contents match" in page
    assert "Signature is valid" in page
    assert "Signed, not sealed yet" in page


def test_outcomes_are_asked_for_in_the_words_of_the_table(workspace, auditor, agent):
    page = browser(auditor).get(address(workspace, "?outcome=blocked")).text
    assert '<option value="blocked" selected>Refused</option>' in page
    assert "<b>outcome</b><span>Refused</span>" in page


def test_an_event_leads_to_what_it_is_about(workspace, auditor, logged):
    with enter(workspace.id):
        approval = factories.make_approval(workspace)
    event = logged(Event.APPROVAL_REQUESTED)[0]
    page = browser(auditor).get(address(workspace, f"{public_id('evt', event.pk)}/")).text
    assert f'href="/w/{workspace.slug}/approvals/{approval.public_id}/"' in page


def test_ids_and_words_that_pages_show_find_what_they_show(workspace, admin, auditor, agent):
    client = browser(auditor)

    def found(query):
        return "No events match" not in client.get(address(workspace, f"?action=agent.created&{query}")).text

    assert found(f"object_id={agent.pk}")
    assert found(f"object_id={public_id('agt', agent.pk)}")
    assert not found(f"object_id={public_id('agt', workspace.pk)}")
    assert found(f"actor_id={public_id('usr', UUID(admin.id))}")
    assert not found(f"actor_id={public_id('usr', agent.pk)}")
    with enter(workspace.pk):
        record(actor=admin, event=Event.MCP_TOOL_CALLED, target=Target("tool_call", "c1"))
    assert "mcp.tool_called" in client.get(address(workspace, "?object_type=Tool%20call")).text


def test_an_event_is_found_by_its_id_and_by_its_index_in_the_log(workspace, auditor, agent, logged):
    client, ids = browser(auditor), [event.public_id for event in logged()]
    sealing.seal()

    def leads_to(text):
        return client.get(address(workspace, f"?add={text}")).headers.get("Location", "")

    assert leads_to(ids[0]).endswith(f"/audit/{ids[0]}/")
    assert {leads_to(index).split("/")[-2] for index in range(len(ids))} == set(ids)
    assert "/audit/evt_" not in leads_to("99999") + leads_to(public_id("evt", workspace.pk))


def test_exports_are_found_by_the_id_of_their_page(workspace, auditor, agent):
    """And so are the events of anything else that has one."""
    client = browser(auditor)
    asked = client.post(address(workspace, "exports/ask"), {"recipient": ""})
    named = asked["Location"].rstrip("/").rpartition("/")[2]
    assert "audit.<wbr>export_<wbr>requested" in client.get(address(workspace, f"?object_id={named}")).text


@pytest.mark.parametrize("field", ["actor_id", "object_id", "run"])
def test_a_short_name_is_an_error_that_says_what_to_write(workspace, auditor, agent, field):
    answer = browser(auditor).get(address(workspace, f"?{field}=R-TQ8J0"))
    assert answer.status_code == 422
    assert "Use the whole id, from the address of its page." in answer.text
    assert "agent.created" not in answer.text


def test_times_in_the_wrong_order_are_an_error(workspace, auditor, agent):
    client = browser(auditor)
    assert client.get(address(workspace, "?since=2026-02-02T00:00&until=2026-02-02T00:00")).status_code == 200
    answer = client.get(address(workspace, "?since=2026-02-02T00:00&until=2026-02-01T00:00"))
    assert answer.status_code == 422
    assert "This is before Since." in answer.text


def test_the_fields_are_folded_until_one_is_wrong(workspace, auditor, agent):
    folded, unfolded = '<details class="raw more-filters">', '<details class="raw more-filters" open>'
    client = browser(auditor)
    assert folded in client.get(address(workspace, "?action=agent")).text
    assert unfolded in client.get(address(workspace, "?run=nonsense")).text


def test_an_event_opens_beside_the_others_at_an_address_of_its_own(workspace, auditor, agent, logged):
    event = logged(Event.AGENT_CREATED)[0]
    page = browser(auditor).get(address(workspace, f"?action=agent&at={public_id('evt', event.pk)}")).text
    assert '<aside class="card ev-detail" id="event"' in page
    assert page.count('aria-current="true"') == 1
    assert "Contents match" in page


def test_the_line_shows_what_is_sealed_and_what_is_not(workspace, auditor, admin, logged):
    client = browser(auditor)
    assert "Signed, not sealed yet" in client.get(address(workspace)).text
    with enter(workspace.id):
        record(actor=admin, event=Event.RUN_STARTED, target=Target("run", "1"))
    sealing.seal()
    with enter(workspace.id):
        record(actor=admin, event=Event.RUN_FAILED, target=Target("run", "1"))
    page = client.get(address(workspace)).text
    newest = sealing.checkpoints(workspace.id)[-1]
    assert "Sealed up to" in page
    assert f"Checkpoint {newest.size}" in page
    assert page.count('class="lk open"') == 1
    assert page.count('class="lk sealed"') == newest.size
    assert 'class="lk gap"' not in page
    # The checkpoint stands on the line above the newest event that is in it.
    assert page.index("run.failed") < page.index(f"Checkpoint {newest.size}") < page.index("run.started")


def test_the_proof_file_is_of_the_checkpoint_that_the_page_names_however_the_log_grows(
    workspace, auditor, admin, agent, logged
):
    event = public_id("evt", logged(Event.AGENT_CREATED)[0].pk)
    sealing.seal()
    size = sealing.checkpoints(workspace.id)[-1].size
    with enter(workspace.id):
        record(actor=admin, event=Event.RUN_STARTED, target=Target("run", "1"))
    sealing.seal()
    client = browser(auditor)
    assert f"Inside checkpoint {size}" in client.get(address(workspace, f"{event}/")).text
    proof = client.get(address(workspace, f"{event}/proof")).text
    assert proof.split("\n\n")[1].splitlines()[1] == str(size)


def test_exports_say_what_of_the_log_they_hold_and_who_asked(workspace, auditor, agent):
    client = browser(auditor)
    about = f"about=agent:{agent.pk}&"
    asked = client.post(address(workspace, f"exports/ask?{about}action=agent&risk=high"), {"recipient": "Audit & Co"})
    for page in (client.get(address(workspace, "exports/")).text, client.get(asked["Location"]).text):
        words = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
        assert "agent ledger-ops , event agent , risk high or worse" in words
        assert auditor.label in words
        assert "Audit &amp; Co" in words
    client.post(address(workspace, "exports/ask"), {"recipient": ""})
    assert "everything" in client.get(address(workspace, "exports/")).text


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (1, "1 day"),
        (30, "30 days"),
        (365, "1 year"),
        (366, "1 year"),
        (400, "400 days"),
        (2557, "7 years"),
        (36525, "100 years"),
    ],
)
def test_days_read_as_years_where_they_are(days, words):
    assert days_in_words(days) == words


def test_each_checkpoint_stands_once_on_the_line(workspace, auditor, admin):
    with enter(workspace.id):
        for number in range(20):
            record(actor=admin, event=Event.RUN_STARTED, target=Target("run", str(number)))
    sealing.seal()
    assert browser(auditor).get(address(workspace)).text.count('<b class="strong">Checkpoint ') == 1


def test_an_event_that_the_sealed_log_does_not_hold_breaks_the_line(workspace, auditor, admin, logged):
    sealing.seal()
    event = logged()[0]
    sealing.tamper("DELETE FROM audit.leaf WHERE event_id = %s", event.pk)
    sealing.tamper("UPDATE audit.checkpoint SET at = at + interval '1 hour'")
    page = browser(auditor).get(address(workspace)).text
    assert page.count('class="lk gap"') == 1
    assert "1 event on this page is not in the log" in page


def test_new_events_wait_behind_a_line_that_says_how_many(workspace, auditor, admin, logged):
    client = browser(auditor)
    page = client.get(address(workspace, "?action=run")).text
    (asked,) = re.findall(r'hx-get="([^"]*)"', page)
    asked = html.unescape(asked)
    quiet = client.get(asked)
    assert quiet.status_code == 200
    assert "new event" not in quiet.text
    assert client.get(asked, headers={"If-None-Match": quiet["ETag"]}).status_code == 304
    with enter(workspace.id):
        record(actor=admin, event=Event.RUN_STARTED, target=Target("run", "1"))
        record(actor=admin, event=Event.AGENT_SUSPENDED, target=Target("agent", "1"))
    told = client.get(asked, headers={"If-None-Match": quiet["ETag"]})
    assert re.search(r"1 new event\b", told.text)
    assert f'href="{address(workspace)}?action=run"' in told.text
    # Off by the address, so it is off without JavaScript too; and an older page follows nothing.
    assert "hx-get" not in client.get(address(workspace, "?live=off")).text


def test_ones_own_reading_is_no_news(workspace, auditor, logged):
    client = browser(auditor)
    page = client.get(address(workspace)).text
    (asked,) = re.findall(r'hx-get="([^"]*)"', page)
    assert len(logged(Event.AUDIT_VIEWED)) == 1
    assert "new event" not in client.get(html.unescape(asked)).text


def test_a_search_that_ran_out_of_time_says_how_far_it_looked(workspace, auditor, agent, monkeypatch):
    monkeypatch.setattr(selectors, "PATIENCE_SECONDS", 0)
    page = browser(auditor).get(address(workspace, "?actor_id=nobody")).text
    assert "There may be events before." in page
    assert "Search further back" in page
    assert "No events match" not in page


def test_the_last_hours_are_a_filter_like_others(workspace, auditor, agent):
    page = browser(auditor).get(address(workspace, "?last=24h")).text
    assert "<b>time</b><span>last 24 hours</span>" in page
    assert "agent.created" in page


def test_a_member_and_an_agent_have_a_timeline(workspace, auditor, admin, agent):
    client = browser(auditor)
    with enter(workspace.id):
        record(
            actor=factories.agent_actor(workspace, on_behalf_of=admin.id),
            event=Event.POLICY_VIOLATION,
            target=Target("agent", str(agent.pk)),
            outcome="blocked",
            reason="It asked for a secret.",
        )
    of_agent = client.get(address(workspace, f"of/agent/{agent.pk}/")).text
    assert of_agent.index("It asked for a secret.") < of_agent.index("agent.created")
    assert "agent.created" in client.get(address(workspace, f"of/user/{admin.id}/")).text
    for nowhere in ("of/agent/nobody/", f"of/secret/{agent.pk}/"):
        assert client.get(address(workspace, nowhere)).status_code == 404


def test_members_and_agents_lead_to_what_they_did(workspace, auditor, viewer, agent, logged):
    """Also those who did nothing yet. Who may not read the log is not led there."""
    client, base = browser(auditor), f"/w/{workspace.slug}/"
    for page, kind, subject in (("members/", "user", auditor.id), (f"agents/{agent.slug}/", "agent", agent.pk)):
        link = address(workspace, f"of/{kind}/{subject}/")
        assert f'href="{link}"' in client.get(f"{base}{page}").text
        assert client.get(link).status_code == 200
        others = browser(viewer).get(f"{base}{page}")
        assert (others.status_code, f'href="{link}"' in others.text) == (200, False)
    newcomer = factories.make_member(workspace, roles={"viewer"})
    assert newcomer.id not in {event.actor_id for event in logged()}
    assert (
        "The log holds nothing that this member did here."
        in client.get(address(workspace, f"of/user/{newcomer.id}/")).text
    )
    assert client.get(address(workspace, f"of/agent/{uuid7()}/")).status_code == 404


def test_a_timeline_is_found_by_a_name_too(workspace, auditor, agent):
    page = browser(auditor).get(address(workspace, f"of/agent/{agent.slug}/"))
    assert (page.status_code, "agent.created" in page.text) == (200, True)


def test_the_person_an_event_was_done_for_is_named(workspace, auditor, admin, agent, logged):
    with enter(workspace.id):
        record(
            actor=factories.agent_actor(workspace, on_behalf_of=admin.id),
            event=Event.POLICY_VIOLATION,
            target=Target("agent", str(agent.pk)),
            outcome="blocked",
            reason="A reference to a secret stood in the arguments.",
        )
    event = logged(Event.POLICY_VIOLATION)[0]
    page = browser(auditor).get(address(workspace, f"{public_id('evt', event.pk)}/")).text
    assert f"<dt>For</dt><dd>{admin.label}</dd>" in page


def test_export_holds_exactly_what_the_screen_found(workspace, auditor, agent, logged):
    client = browser(auditor)
    page = client.get(address(workspace, "?object_type=agent")).text
    expected = [str(event.pk) for event in logged() if event.object_type == "agent"]
    assert f"Export {len(expected)} event" in page
    sealing.seal()
    answer = client.post(address(workspace, "export?object_type=agent"))
    bundle = zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))
    exported = [json.loads(json.loads(line)["body"])["id"] for line in bundle.read("events.jsonl").splitlines()]
    assert exported == expected
    assert len(logged(Event.AUDIT_EXPORTED)) == 1


def test_nothing_found_is_not_offered_for_export(workspace, auditor, agent):
    client = browser(auditor)
    assert "exports/ask" in client.get(address(workspace)).text
    empty = client.get(address(workspace, "?action=run.failed")).text
    assert "exports/ask" not in empty
    for rest in ("exports/", "evidence/", "retention/"):
        assert f'class="btn quiet" href="{address(workspace, rest)}"' in empty


def test_export_is_no_get(workspace, auditor, logged):
    assert browser(auditor).get(address(workspace, "export")).status_code == 405
    assert not logged(Event.AUDIT_EXPORTED)


@pytest.mark.parametrize("roles", [{"viewer"}, {"approver"}])
def test_others_may_not_read_the_log(workspace, roles):
    member = factories.make_member(workspace, roles=roles)
    refused = browser(member).get(address(workspace))
    assert refused.status_code == 403
    assert "<code>audit:read</code>: Admin, Auditor." in refused.text


def test_an_event_of_another_workspace_is_not_found(workspace, other_workspace, agent, logged):
    event = logged(Event.AGENT_CREATED)[0]
    stranger = factories.make_member(other_workspace, roles={"auditor"})
    where = f"{public_id('evt', event.pk)}/"
    assert browser(stranger).get(address(other_workspace, where)).status_code == 404
    assert browser(stranger).get(address(workspace, where)).status_code == 404
