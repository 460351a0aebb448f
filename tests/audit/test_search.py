"""Finding events again, seeing what can be proved about one, and the same over REST (C25)."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit import one_event, selectors
from audit.months import month_floors
from audit.selectors import EventFilters
from audit.services import EventContext, Target, record
from audit.taxonomy import Event
from provenance.api import Paging, cursor_after
from provenance.errors import NotFound, PermissionDenied
from provenance.ids import uuid7
from provenance.risk import Risk
from tests import databases
from tests.audit.telling import fill_the_month

RUN = uuid7()


@pytest.fixture
def logged(admin, editor):
    """Five events of two people, three of them in a run."""
    inside = EventContext(run_id=RUN)
    return [
        record(actor=admin, event=Event.RUN_STARTED, target=Target("run", str(RUN), label="R-1"), context=inside),
        record(actor=editor, event=Event.MCP_TOOL_CALLED, target=Target("tool", "erp.get"), context=inside),
        record(actor=editor, event=Event.RUN_FAILED, target=Target("run", str(RUN)), context=inside, outcome="failure"),
        record(actor=admin, event=Event.AGENT_SUSPENDED, target=Target("agent", "a1"), reason="odd"),
        record(actor=editor, event=Event.AGENT_UPDATED, target=Target("agent", "a1")),
    ]


def found(auditor, logged, **filters):
    """The places in `logged` that the filters find, newest first."""
    rows, _cursor = selectors.search(actor=auditor, filters=EventFilters(**filters), paging=Paging(limit=200))
    places = {event.id: place for place, event in enumerate(logged)}
    return [places[row.event.pk] for row in rows if row.event.pk in places]


def test_each_filter_finds_what_it_says(auditor, logged, admin, editor):
    now = datetime.now(UTC)
    assert found(auditor, logged) == [4, 3, 2, 1, 0]
    assert found(auditor, logged, actions=["run"]) == [2, 0]
    assert found(auditor, logged, actions=["run.failed", "agent"]) == [4, 3, 2]
    assert found(auditor, logged, actor_id=editor.id) == [4, 2, 1]
    assert found(auditor, logged, object_type="agent", object_id="a1") == [4, 3]
    assert found(auditor, logged, run_id=RUN) == [2, 1, 0]
    assert found(auditor, logged, risk=Risk.HIGH) == [3, 2]
    assert found(auditor, logged, outcome="failure") == [2]
    assert found(auditor, logged, since=now + timedelta(minutes=1)) == []
    assert found(auditor, logged, until=now - timedelta(minutes=1)) == []


def test_pages_follow_one_another_without_gap_or_overlap(auditor, logged):
    seen, paging = [], Paging(limit=2)
    for _ in range(50):
        rows, cursor = selectors.search(actor=auditor, filters=EventFilters(), paging=paging)
        seen += [row.event.pk for row in rows]
        if cursor is None:
            break
        paging = Paging(limit=2, before=rows[-1].event.pk)
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen, reverse=True)
    assert {event.id for event in logged} <= set(seen)


def test_a_page_costs_the_same_with_five_events_and_with_fifty(auditor, logged, admin):
    costs = []
    for expected in (5, 50):
        with CaptureQueriesContext(connection) as captured:
            selectors.search(actor=auditor, filters=EventFilters(), paging=Paging(limit=expected))
        for number in range(60):
            record(actor=admin, event=Event.RUN_STARTED, target=Target("run", str(number)))
        costs.append(len(captured))
    # The clock, the months, this month's events, their details and their places in the log; of two months at the edge of one.
    assert costs[0] == costs[1] <= 6


def test_a_rare_event_is_looked_for_month_by_month_until_the_patience_is_over(auditor, logged):
    """Without a patience the whole log is searched; with none left, the page says by its cursor where it stopped."""
    rare = EventFilters(actor_id="nobody")
    assert selectors.search(actor=auditor, filters=rare, paging=Paging()) == ([], None)
    rows, cursor = selectors.search(actor=auditor, filters=rare, paging=Paging(), patience_seconds=0)
    assert rows == []
    (before,) = [floor for floor in month_floors() if cursor_after(floor) == cursor]
    assert month_floors().index(before) < len(month_floors()) - 1
    # The next page begins there, and at the end there is no other.
    while cursor:
        paging = Paging(before=before)
        rows, cursor = selectors.search(actor=auditor, filters=rare, paging=paging, patience_seconds=0)
        assert rows == []
        before = next((floor for floor in month_floors() if cursor_after(floor) == cursor), None)


def test_only_the_months_of_the_range_are_read(auditor, logged):
    """Goal 13: whatever the filters, no other partition stands in the statement's plan."""
    now = datetime.now(UTC)
    filters = EventFilters(since=now - timedelta(minutes=5), until=now + timedelta(minutes=5), outcome="success")
    with CaptureQueriesContext(connection) as captured:
        selectors.search(actor=auditor, filters=filters, paging=Paging())
    searched = [query["sql"] for query in captured if 'FROM "audit"."event"' in query["sql"]]
    plan = ""
    with connection.cursor() as cursor:
        for statement in searched:
            cursor.execute(f"EXPLAIN {statement}")
            plan += " ".join(line for (line,) in cursor.fetchall())
    assert searched
    assert set(re.findall(r"event_(\d{4}_\d\d)_", plan)) <= {f"{now:%Y_%m}", f"{now + timedelta(minutes=5):%Y_%m}"}
    assert "Seq Scan" not in plan


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        # In order of the ids either does.
        ({}, "(?:workspace_id_id_idx|pkey)"),
        ({"actor_id": "someone"}, "workspace_id_actor_id_id_idx"),
        ({"actions": ["secret.rotated"]}, "workspace_id_action_id_idx"),
        ({"object_id": "a1"}, "workspace_id_object_id_id_idx"),
        ({"run_id": RUN}, "run_id_id_idx"),
        ({"outcome": "failure"}, "workspace_id_outcome_id_idx"),
    ],
)
def test_each_filter_has_an_index_that_holds_under_row_security(auditor, filters, index):
    """T14: the operators are leakproof, so the condition is one of the index and no filter after it."""
    now = datetime.now(UTC)
    # Of this month, because a month without rows is read by any index.
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    wanted = EventFilters(**filters, since=month, until=now + timedelta(milliseconds=1))
    statement, parameters = selectors.filtered(auditor, wanted).order_by("-pk")[:51].query.sql_with_params()
    fill_the_month(auditor)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}", parameters)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert re.search(rf"Index Scan.* event_\d+_\d+_{index}", plan)
    assert not re.search(r"Filter: .*(actor_id|action|object_id|outcome|run_id) =", plan)


def test_counting_says_whether_there_may_be_more(auditor, logged):
    filters = EventFilters(object_id="a1")
    assert selectors.count(actor=auditor, filters=filters, at_most=10) == selectors.Count(2, is_more=False)
    assert selectors.count(actor=auditor, filters=filters, at_most=2) == selectors.Count(2, is_more=False)
    assert selectors.count(actor=auditor, filters=filters, at_most=1) == selectors.Count(1, is_more=True)
    assert selectors.count(actor=auditor, filters=filters, at_most=10, patience_seconds=0).is_more


def test_a_run_that_names_no_time_is_not_found_and_breaks_nothing(auditor, logged):
    for number in (0, 2**128 - 1):
        filters = EventFilters(run_id=UUID(int=number))
        assert selectors.search(actor=auditor, filters=filters, paging=Paging()) == ([], None)


def test_labels_come_from_the_erasable_detail_and_ids_stay(auditor, logged, admin):
    row = one_event.event_detail(actor=auditor, event_id=logged[0].id).row
    assert (row.actor_label, row.object_label) == (admin.label, "R-1")
    erase(logged[0].id)
    detail = one_event.event_detail(actor=auditor, event_id=logged[0].id)
    assert (detail.row.actor_label, detail.row.object_label) == (admin.id, str(RUN))
    assert detail.proof.detail_erased
    assert detail.proof.detail_matches is None
    assert detail.proof.signature_valid


def erase(event_id):
    """What retention will do by its own function: body and salt go, the event stays."""
    before = databases.become("prov_migrate")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL ROLE prov_owner")
            cursor.execute(
                "UPDATE audit.detail SET body = NULL, salt = NULL, erased_at = now() WHERE event_id = %s", [event_id]
            )
            cursor.execute("RESET ROLE")
    finally:
        databases.become(before)


def test_an_event_tells_what_can_be_proved(auditor, logged):
    proof = one_event.event_detail(actor=auditor, event_id=logged[3].id).proof
    assert (proof.signature_valid, proof.contents_match, proof.detail_matches) == (True, True, True)


def test_a_runs_timeline_is_for_whoever_may_see_the_run(viewer, logged):
    assert [row.event.pk for row in selectors.run_timeline(actor=viewer, run_id=RUN)] == [e.id for e in logged[:3]]


def test_the_log_itself_is_not_for_viewers(viewer, logged):
    with pytest.raises(PermissionDenied, match="audit:read"):
        selectors.search(actor=viewer, filters=EventFilters(), paging=Paging())
    with pytest.raises(PermissionDenied):
        one_event.event_detail(actor=viewer, event_id=logged[0].id)


def test_another_workspaces_event_is_not_found(stranger, other_workspace, logged):
    from provenance.db import scope

    with scope(other_workspace.id), pytest.raises(NotFound):
        one_event.event_detail(actor=stranger, event_id=logged[0].id)
