"""The log is searched for a tool or an agent: its calls and the decisions on them are found, which have ids of their own."""

from dataclasses import replace

import pytest

from audit import belongings, finding, names, selectors
from audit.selectors import EventFilters
from audit.services import Target, record
from audit.taxonomy import Event
from gateway.contract import CallState
from provenance.api import Paging
from provenance.db import enter
from provenance.ids import public_id
from tests.browsing import browser
from tests.gateway.approving import approve, asked

GIVEN = "agent.tool_granted"
WHOLE_CALL = ["approval.approved", "approval.consumed", "approval.requested", "mcp.tool_called", "mcp.tool_requested"]


@pytest.fixture(autouse=True, params=["few", "many"])
def _rows(request, monkeypatch):
    """What is found is the same whether the rows are looked up or, being too many, the events are asked."""
    if request.param == "many":
        monkeypatch.setattr(belongings, "MANY", 0)
        monkeypatch.setattr(finding, "AT_ONCE", 2)


def found(world, name, **filters):
    """Which events a search for a name finds."""
    with enter(world.workspace.id):
        (thing,) = names.find(world.admin, name)
        wanted = EventFilters(about=thing.keys, **filters)
        rows, _ = selectors.search(actor=world.admin, filters=wanted, paging=Paging(limit=200))
        counted = selectors.count(actor=world.admin, filters=wanted, at_most=1000)
        assert counted.number == len(rows) == selectors.filtered(world.admin, wanted).count()
        return [row.event for row in rows]


@pytest.fixture
def changed(world, erp):
    """A call that a person approved."""
    request = asked(world, vendor="V-1", terms="NET60")
    approve(world, request.pk)
    call = {"key": "run:update:1", "approval_id": request.pk, "vendor": "V-1", "terms": "NET60"}
    assert world.call("ledger", "erp.setTerms", **call).state is CallState.SUCCEEDED
    return request


@pytest.mark.parametrize("name", ["erp.setTerms", "ledger"])
def test_a_tool_or_an_agent_leads_to_who_let_it_act(world, changed, name):
    events = found(world, name)
    assert {event.action for event in events} >= {GIVEN, *WHOLE_CALL}
    (decided,) = [event for event in events if event.action == "approval.approved"]
    assert (decided.actor_id, decided.object_id) == (world.approver.id, str(changed.pk))
    assert [event.pk for event in events] == sorted({event.pk for event in events}, reverse=True)
    assert [event.action for event in found(world, name, actions=["approval.approved"])] == ["approval.approved"]


def test_the_event_of_a_call_leads_to_who_let_it_happen(world, changed):
    """On its page stand the version of the agent, how the call ended, and the approval with what the log says of it."""
    (called,) = [event for event in found(world, "erp.setTerms") if event.action == "mcp.tool_called"]
    client, base = browser(world.admin), f"/w/{world.workspace.slug}"
    page = client.get(f"{base}/audit/{called.public_id}/").text
    assert f'href="{base}/approvals/{public_id("apr", changed.pk)}/"' in page
    assert "<dt>Agent version</dt><dd>ledger v1</dd>" in page
    for about, told in ((changed.pk, "approval.approved"), (called.object_id, "mcp.tool_requested")):
        link = f"{base}/audit/?object_id={about}"
        assert f'href="{link}"' in page
        assert told in client.get(link).text.replace("<wbr>", "")


def test_another_tool_leads_to_none_of_it(world, changed):
    events = found(world, "erp.getTerms")
    assert GIVEN in {event.action for event in events}
    assert {event.action for event in events}.isdisjoint(WHOLE_CALL)


def test_an_event_of_a_call_without_an_id_is_none_of_it_and_breaks_nothing(world, changed):
    before = found(world, "erp.setTerms")
    with enter(world.workspace.id):
        record(actor=world.admin, event=Event.MCP_TOOL_CALLED, target=Target("tool_call", "erp.setTerms"))
    assert [event.pk for event in found(world, "erp.setTerms")] == [event.pk for event in before]


def test_a_search_that_stopped_for_lack_of_time_goes_on_where_it_stopped(world, changed):
    whole = [event.pk for event in found(world, "erp.setTerms")]
    seen, paging = [], Paging(limit=3)
    with enter(world.workspace.id):
        (tool,) = names.find(world.admin, "erp.setTerms")
        wanted = EventFilters(about=tool.keys)
        for _ in range(200):
            rows, cursor = selectors.search(actor=world.admin, filters=wanted, paging=paging, patience_seconds=0)
            seen += [row.event.pk for row in rows]
            if cursor is None:
                break
            paging = replace(Paging.of_cursor(cursor), limit=3)
    assert cursor is None
    assert seen == whole


def test_the_count_beside_a_page_is_the_count_of_all(world, changed, monkeypatch):
    # Also on a machine that is busy.
    monkeypatch.setattr(selectors, "PATIENCE_SECONDS", 60)
    with enter(world.workspace.id):
        (agent,) = names.find(world.admin, "ledger")
        wanted = EventFilters(about=agent.keys)
        number = selectors.filtered(world.admin, wanted).count()
        for limit in (1, number - 1, number, number + 1):
            _, _, count = selectors.search_and_count(
                actor=world.admin, filters=wanted, paging=Paging(limit=limit), at_most=1000
            )
            assert count == selectors.Count(number, is_more=False)
