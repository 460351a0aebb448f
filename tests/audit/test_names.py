"""The log is found by what people call things: names lead to ids of rows that the reader may see, and to nothing else."""

import html
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents.services import suspend_agent
from apikeys.services import issue_key
from audit import names, selectors
from audit.selectors import EventFilters
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.api import Paging
from provenance.db import enter
from provenance.ids import uuid7, uuid7_time
from provenance.permissions import Permission
from streams.services import sinks
from streams.services.sinks import Settings
from tests import factories
from tests.audit.telling import fill_the_month
from tests.browsing import browser
from workspaces import erasure
from workspaces import services as workspaces
from workspaces.models import User


@pytest.fixture
def ledger(admin):
    return factories.make_agent(admin, slug="ledger-ops")


def found(actor, text, kind=""):
    return [(thing.kind, thing.name) for thing in names.find(actor, text, kind)]


def search(actor, about, **filters):
    """The events about these things, newest first."""
    wanted = EventFilters(about=[key for thing in about for key in thing.keys], **filters)
    return [row.event for row in selectors.search(actor=actor, filters=wanted, paging=Paging(limit=200))[0]]


# --- What a text names -----------------------------------------------------------------------------------------------


def test_each_kind_is_found_by_the_names_that_pages_show(admin, workspace, ledger):
    sinks.create_sink(actor=admin, name="siem", kind="syslog", wanted=Settings(address="tls://siem.example.com:6514"))
    issue_key(actor=admin, name="Back office", scopes=["runs:read"], expires_in_days=1)
    person = factories.make_member(workspace, roles={"editor"})
    for text, thing in (
        ("ledger-ops", ("agent", "ledger-ops")),
        ("LEDGER", ("agent", "ledger-ops")),
        ("siem", ("stream", "siem")),
        ("back office", ("key", "Back office")),
        (person.label, ("member", person.label)),
    ):
        assert thing in found(admin, text), text
    assert found(admin, "ledger", "member") == []


def test_a_whole_name_is_not_mixed_with_what_only_holds_it(admin, ledger):
    factories.make_agent(admin, slug="ledger-ops-eu")
    assert found(admin, "Ledger-Ops") == [("agent", "ledger-ops")]
    assert found(admin, "ledger-op") == [("agent", "ledger-ops"), ("agent", "ledger-ops-eu")]


def test_a_member_is_found_by_mail_address_until_they_are_erased(admin, workspace):
    person = factories.make_member(workspace, roles={"editor"})
    email = User.objects.get(pk=person.id).email
    assert found(admin, email) == [("member", person.label)]
    workspaces.remove_member(actor=admin, user_id=person.id, reason="Left.")
    assert found(admin, email) == [("member", person.label)]
    erasure.erase_member(actor=admin, user_id=person.id, reason="Asked for it.")
    assert found(admin, email) == []


def test_nobody_finds_what_they_may_not_see(admin, auditor, ledger, stranger, other_workspace):
    issue_key(actor=admin, name="Back office", scopes=["runs:read"], expires_in_days=1)
    blind = Actor.system("tests", admin.workspace_id, {Permission.AUDIT_READ})
    assert found(blind, "ledger") == found(blind, "back office") == []
    assert names.known(blind, [f"agent:{ledger.pk}"])[0].name == str(ledger.pk)
    with enter(other_workspace.id):
        assert found(stranger, "ledger-ops") == []
        assert names.known(stranger, [f"agent:{ledger.pk}"])[0].name == str(ledger.pk)


def test_a_part_of_the_platform_is_found_by_the_name_that_events_have(admin, workspace):
    record(actor=Actor.system("workflows.engine", workspace.id), event=Event.RUN_STARTED, target=Target("run", "1"))
    assert found(admin, "workflows.engine") == [("id", "workflows.engine")]
    assert found(admin, "workflows.eng") == []


@pytest.mark.parametrize("text", ["", " ", "a\0b", "\u202e", "x" * 5000])
def test_what_no_name_can_be_names_nothing(admin, ledger, text):
    assert found(admin, text) == []


# --- What is found by it ---------------------------------------------------------------------------------------------


def test_what_a_thing_did_and_what_was_done_to_it_are_one_search(admin, ledger, workspace):
    agent = Actor(kind=ActorKind.AGENT, id=str(ledger.pk), label="l", workspace_id=workspace.id)
    did = record(actor=agent, event=Event.MCP_TOOL_CALLED, target=Target("tool_call", "1"))
    suspend_agent(actor=admin, agent_id=ledger.pk, reason="Odd.")
    things = names.find(admin, "ledger-ops")
    events = search(admin, things)
    assert [event.action for event in events][:2] == ["agent.suspended", "mcp.tool_called"]
    assert did.id in [event.pk for event in events]
    assert "agent.created" in [event.action for event in events]
    assert [event.action for event in search(admin, things, outcome="failure")] == []


def test_whoever_does_something_to_themselves_is_counted_once(admin):
    me = names.Thing("member", admin.id, "me")
    before = len(search(admin, [me]))
    record(actor=admin, event=Event.USER_UPDATED, target=Target("user", admin.id))
    assert len(search(admin, [me])) == before + 1
    filters = EventFilters(about=[me.key])
    assert selectors.count(actor=admin, filters=filters, at_most=100).number == before + 1
    assert selectors.filtered(admin, filters).count() == before + 1


def test_pages_of_such_a_search_follow_one_another(admin, ledger):
    for number in range(7):
        record(actor=admin, event=Event.AGENT_UPDATED, target=Target("agent", str(ledger.pk)))
        record(actor=admin, event=Event.RUN_STARTED, target=Target("run", str(number)))
    filters = EventFilters(about=[f"agent:{ledger.pk}", f"member:{admin.id}"])
    whole = [row.event.pk for row in selectors.search(actor=admin, filters=filters, paging=Paging(limit=200))[0]]
    seen, before = [], None
    while True:
        rows, cursor = selectors.search(actor=admin, filters=filters, paging=Paging(limit=3, before=before))
        seen += [row.event.pk for row in rows]
        if cursor is None:
            break
        before = rows[-1].event.pk
    assert seen == whole == sorted(set(whole), reverse=True)


def test_such_a_search_reads_by_index_and_sorts_nothing_large(auditor):
    """Each half follows its own index; asked for what either finds Postgres would read all of it."""
    fill_the_month(auditor)
    # Of this month and all of it, because where few rows are any index will do.
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    filters = EventFilters(about=["agent:nobody", "tool:nothing"], since=month)
    with CaptureQueriesContext(connection) as captured:
        selectors.search(actor=auditor, filters=filters, paging=Paging())
    *_later, statement = [query["sql"] for query in captured if 'FROM "audit"."event"' in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}")
        plan = " ".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan" not in plan
    assert len(re.findall(r"Index Only Scan Backward using \w+(?:actor|object)_id_id_idx", plan)) == 4


def test_of_a_thing_no_month_is_read_that_was_over_before_it_was_made(auditor):
    made = uuid7()
    with CaptureQueriesContext(connection) as captured:
        selectors.search(actor=auditor, filters=EventFilters(about=[f"agent:{made}"]), paging=Paging())
    read = [query["sql"] for query in captured if 'FROM "audit"."event"' in query["sql"]]
    assert read
    with connection.cursor() as cursor:
        for statement in read:
            cursor.execute(f"EXPLAIN {statement}")
            plan = " ".join(line for (line,) in cursor.fetchall())
            around = {uuid7_time(made) + side * timedelta(minutes=15) for side in (-1, 1)}
            assert set(re.findall(r"event_(\d{4}_\d\d)_", plan)) <= {f"{moment:%Y_%m}" for moment in around}


# --- In the console --------------------------------------------------------------------------------------------------


@pytest.fixture
def open_log(db, monkeypatch):
    """A workspace that the doors bring into scope, with an agent, and its log as an auditor has it open."""
    # Also on a machine that is busy the whole log is looked through.
    monkeypatch.setattr(selectors, "PATIENCE_SECONDS", 60)
    workspace = factories.make_workspace()
    with enter(workspace.id):
        admin = factories.make_member(workspace, roles={"admin"})
        auditor = factories.make_member(workspace, roles={"auditor"})
        for slug in ("ledger-ops", "ledger-eu"):
            factories.make_agent(admin, slug=slug)
    client = browser(auditor)
    return lambda query: client.get(f"/w/{workspace.slug}/audit/", query, follow=True)


def pills(page):
    return re.findall(r'class="pill"><b>(.*?)</b><span>(.*?)</span>', page.text)


@pytest.mark.django_db(transaction=True)
def test_a_name_becomes_a_filter_that_says_what_was_understood(open_log):
    page = open_log({"add": "ledger-ops", "risk": "low"})
    assert pills(page) == [("risk", "low"), ("agent", "ledger-ops")]
    assert "agent.created" in page.text
    assert re.search(r"Export \d+ events", page.text)
    assert "workspace.created" not in page.text
    assert pills(open_log({"add": "agent: ledger-ops"})) == [("agent", "ledger-ops")]


@pytest.mark.django_db(transaction=True)
def test_of_several_things_any_is_found_and_each_can_be_left_out(open_log):
    page = open_log({"add": "ledger"})
    assert pills(page) == [("agent", "ledger-eu"), ("agent", "ledger-ops")]
    assert page.text.count(">or</span>") == 1
    assert "workspace.created" not in page.text
    rest = html.unescape(
        re.findall(r'<a href="\?([^"]*)"><span class="sr">Remove filter agent ledger-eu', page.text)[0]
    )
    one = open_log({name: values[0] for name, values in parse_qs(urlsplit(f"?{rest}").query).items()})
    assert pills(one) == [("agent", "ledger-ops")]


@pytest.mark.django_db(transaction=True)
def test_too_many_things_are_named_to_choose_from(open_log, monkeypatch):
    monkeypatch.setattr("audit.words.MOST_FOUND", 1)
    page = open_log({"add": "ledger"})
    assert page.status_code == 422
    assert "“ledger” names 2 things" in page.text
    (address,) = re.findall(r'href="\?([^"]*)"><span class="muted">agent</span> ledger-ops', page.text)
    assert pills(open_log({name: values[0] for name, values in parse_qs(html.unescape(address)).items()})) == [
        ("agent", "ledger-ops")
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "about", ["x", ":", "agent:", ",".join(f"agent:{n}" for n in range(9)), "agent:\0", "agent:" + "x" * 700]
)
def test_an_address_that_names_no_things_searches_nothing(open_log, about):
    assert open_log({"about": about}).status_code == 422


@pytest.mark.django_db(transaction=True)
def test_a_thing_that_is_gone_keeps_its_id_and_its_events(open_log):
    page = open_log({"about": "stream:01a22b8f-83e2-78a9-b309-782d6b2d3685"})
    assert pills(page) == [("stream", "01a22b8f-83e2-78a9-b309-782d6b2d3685")]
    assert "No events match" in page.text
