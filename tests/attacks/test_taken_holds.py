"""A superuser takes a legal hold away while a sweep erases what it covered, and puts it back (M114)."""

from datetime import UTC, datetime, timedelta

import pytest

from audit.models import AuditDetail
from audit.retention import services as retention
from audit.taxonomy import Event
from provenance.db import enter
from tests import databases, factories
from tests.audit.old_months import old_events, sweep
from tests.gateway.world import unguarded

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("drop_months")]

TAKEN = {
    "it is not there": "DELETE FROM audit_legalhold",
    "its columns are not those that were signed with revision 1": "UPDATE audit_legalhold SET scope_id = 'another'",
    "it is at revision 2 and the log at 1: a change has no event": "UPDATE audit_legalhold SET released_at = now(), released_by = 'b',"
    " release_asked_by = 'a', release_asked_at = now(), audit_rev = 2",
}


def is_kept(events):
    """Whether all of their details are still there."""
    with databases.admin() as owner:
        kept = "SELECT bool_and(body IS NOT NULL) FROM audit.detail WHERE event_id = ANY (%s)"
        return owner.execute(kept, [[event.id for event in events]]).fetchone() == (True,)


@pytest.mark.parametrize("problem", TAKEN)
def test_nothing_is_erased_while_a_hold_is_not_what_the_log_says(as_role, monkeypatch, problem):
    place = factories.make_workspace()
    admin = factories.make_member(place, roles={"admin"})
    old = old_events(monkeypatch, datetime.now(UTC) - timedelta(days=100), workspace_id=place.id, id="held")
    with enter(place.id):
        hold = retention.engage_hold(actor=admin, scope_kind="object", scope_id="held", reason="A lawsuit.")
    with unguarded("audit_legalhold") as owner:
        owner.execute(TAKEN[problem])
    sweep(as_role)
    assert is_kept(old)
    with enter(place.id):
        (event,) = factories.events(Event.AUDIT_ROW_ALTERED)
        facts = AuditDetail.objects.get(event_id=event.id).facts
    assert [(row["type"], row["id"], row["problem"]) for row in facts["rows"]] == [
        ("legal_hold", str(hold.pk), problem)
    ]


def test_nor_while_a_time_is_shorter_than_was_signed(as_role, monkeypatch):
    place = factories.make_workspace()
    admin = factories.make_member(place, roles={"admin"})
    old = old_events(monkeypatch, datetime.now(UTC) - timedelta(days=100), workspace_id=place.id)
    with enter(place.id):
        retention.set_retention(actor=admin, retention_class="prompts", days=400, reason="We keep more.")
    with unguarded("audit_retentionsetting") as owner:
        owner.execute("UPDATE audit_retentionsetting SET days = 30")
    sweep(as_role)
    assert is_kept(old)
    with unguarded("audit_retentionsetting") as owner:
        owner.execute("DELETE FROM audit_retentionsetting")
    sweep(as_role)
    assert is_kept(old)
