"""What people type into the search box of the log becomes filters that are shown, and what is not understood is said."""

import html
import re
from datetime import UTC, datetime

import pytest

from audit import selectors
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.db import enter
from tests import factories
from tests.browsing import browser

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Also on a machine that is busy the whole log is looked through."""
    monkeypatch.setattr(selectors, "PATIENCE_SECONDS", 60)


@pytest.fixture
def agent(workspace, admin):
    with enter(workspace.id):
        return factories.make_agent(admin)


def address(workspace, rest=""):
    return f"/w/{workspace.slug}/audit/{rest}"


def pills(page):
    return set(re.findall(r'class="pill"><b>(.*?)</b><span>(.*?)</span>', page))


@pytest.mark.parametrize(
    ("typed", "filter_"),
    [
        ("agent.created", "action=agent.created"),
        ("agent", "action=agent"),
        ("high", "risk=high"),
        ("Refused", "outcome=blocked"),
        ("outcome:refused", "outcome=blocked"),
        ("outcome: Done", "outcome=success"),
        ("outcome:failure", "outcome=failure"),
        ("who:System", "actor_type=system"),
        ("actor:usr_01m8nrz0z2f2mb6c3rf0n2td45", "actor_id=usr_01m8nrz0z2f2mb6c3rf0n2td45"),
        ("Object: 01a22b8f-83e2-78a9-b309-782d6b2d3685", "object_id=01a22b8f-83e2-78a9-b309-782d6b2d3685"),
        ("system", "actor_type=system"),
        ("01a22b8f-83e2-78a9-b309-782d6b2d3685", "object_id=01a22b8f-83e2-78a9-b309-782d6b2d3685"),
        ("apr_01m8nrz0z2f2mb6c3rf0n2td45", "object_id=apr_01m8nrz0z2f2mb6c3rf0n2td45"),
        ("agent suspended", "action=agent.suspended"),
        ("Run failed", "action=run.failed"),
        ("tool called", "action=mcp.tool_called"),
        ("2026-11-30", "since=2026-11-30T00%3A00&until=2026-12-01T00%3A00"),
        ("2026-12", "since=2026-12-01T00%3A00&until=2027-01-01T00%3A00"),
        ("last 7 days", "last=7d"),
        ("suspended", "action=agent.suspended"),
        ("Approved", "action=approved"),
        ("failed", "outcome=failure"),
        ("system tool called 2024-02-29", "actor_type=system&action=mcp.tool_called&since=2024-02-29T00%3A00"),
        ("agent refused 2024-02-29", "action=agent&outcome=blocked&since=2024-02-29T00%3A00&until=2024-03-01T00%3A00"),
        ("system object:01a22b8f-83e2-78a9-b309-782d6b2d3685", "actor_type=system&object_id=01a22b8f"),
    ],
)
def test_what_is_typed_becomes_a_filter_in_the_address(workspace, auditor, typed, filter_):
    answer = browser(auditor).get(address(workspace), {"add": typed, "risk": "low", "cursor": "x"})
    assert answer.status_code == 302
    path, _, query = answer["Location"].partition("?")
    assert path == address(workspace)
    assert filter_ in query
    assert "add=" not in query
    assert "cursor=" not in query
    assert "risk=" in query


@pytest.mark.parametrize(
    "typed", ["<b>Maya</b>", "AP-6TSCD", "actor:someone", "a\x00b", "%", "_", "2026-02-30", "nobody at all"]
)
def test_what_names_nothing_is_said_and_searches_nothing(workspace, auditor, agent, typed):
    answer = browser(auditor).get(address(workspace), {"add": typed})
    assert answer.status_code == 422
    assert "Nothing here is called" in answer.text
    assert "agent.created" not in answer.text
    assert "<b>Maya</b>" not in answer.text
    assert "Export" not in answer.text


def test_a_name_and_a_day_are_two_filters(workspace, auditor, agent):
    client = browser(auditor)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    page = client.get(address(workspace), {"add": f"{agent.slug} {today}", "last": "1h"}, follow=True).text
    assert f"<b>agent</b><span>{agent.slug}</span>" in page
    assert f"<b>since</b><span>{today} 00:00</span>" in page
    assert "<b>time</b>" not in page
    assert "agent.created" in page
    before = client.get(address(workspace), {"add": f"{agent.slug} 2020-01-01"}, follow=True)
    assert (before.status_code, "agent.created" in before.text) == (200, False)


def test_a_word_that_events_have_leads_to_them(workspace, auditor):
    answer = browser(auditor).get(address(workspace), {"add": "quarantine", "risk": "low"})
    (href,) = re.findall(r'href="\?([^"]*)">mcp\.tool_quarantined</a>', answer.text)
    assert html.unescape(href) == "risk=low&action=mcp.tool_quarantined"


def test_a_person_and_what_they_did_are_two_filters(workspace, auditor, agent):
    """`Maya approved`, in any order, and whatever it was that was approved."""
    maya = factories.make_member(workspace, roles={"approver"}, name="Maya Lindqvist")
    with enter(workspace.id):
        for who, event, name in (
            (maya, Event.APPROVAL_APPROVED, "of-maya-approved"),
            (maya, Event.APPROVAL_REJECTED, "of-maya-rejected"),
            (auditor, Event.APPROVAL_APPROVED, "of-another-approved"),
        ):
            record(actor=who, event=event, target=Target("approval", name))
    for typed in ("Maya approved", "approved maya lindqvist", "Lindqvist approved"):
        page = browser(auditor).get(address(workspace), {"add": typed}, follow=True).text
        assert pills(page) == {("member", "Maya Lindqvist"), ("event", "approved")}
        assert "of-maya-approved" in page
        assert "of-maya-rejected" not in page
        assert "of-another-approved" not in page


@pytest.mark.parametrize(
    ("typed", "rest"), [("agent nobody", "nobody"), ("agent run", "run"), ("high low high", "low high")]
)
def test_what_does_not_go_with_the_words_before_it_is_said_and_searches_nothing(workspace, auditor, agent, typed, rest):
    answer = browser(auditor).get(address(workspace), {"add": typed})
    assert answer.status_code == 422
    assert f"“{rest}” is not understood in “{typed}”" in answer.text
    assert "agent.created" not in answer.text
    assert "Export" not in answer.text


def test_which_words_are_not_understood_is_said(workspace, auditor):
    factories.make_member(workspace, roles={"approver"}, name="Maya Lindqvist")
    answer = browser(auditor).get(address(workspace), {"add": "Maya approve"})
    assert answer.status_code == 422
    assert "“approve” is not understood in “Maya approve”" in answer.text
    assert "Nothing was searched." in answer.text
    (href,) = re.findall(r'href="\?([^"]*)">approval\.approved</a>', answer.text)
    page = browser(auditor).get(address(workspace, f"?{html.unescape(href)}")).text
    assert pills(page) == {("member", "Maya Lindqvist"), ("event", "approval.approved")}
