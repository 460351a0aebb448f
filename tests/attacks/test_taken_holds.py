"""A superuser takes a legal hold away while what it covered is erased or expires, and puts it back (M114)."""

from datetime import UTC, datetime, timedelta

import pytest

from audit.attestation import RowAltered
from audit.models import AuditDetail
from audit.retention import services as retention
from audit.taxonomy import Event
from provenance.db import enter
from provenance.ids import uuid7_floor
from tests import databases, factories
from tests.audit import sealing
from tests.audit.old_months import LONG_AGO, expire, old_events, sweep
from tests.gateway.world import unguarded
from workspaces import erasure

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


# --- Months and people -----------------------------------------------------------------------------------------------


@pytest.fixture
def place(db):
    return factories.make_workspace()


@pytest.fixture
def admin(place):
    return factories.make_member(place, roles={"admin"})


def hold_an_old_object(place, admin, monkeypatch):
    old_events(monkeypatch, LONG_AGO, workspace_id=place.id, id="held")
    with enter(place.id):
        return retention.engage_hold(actor=admin, scope_kind="object", scope_id="held", reason="A lawsuit.")


@pytest.mark.parametrize("problem", TAKEN)
def test_no_month_leaves_the_log_while_a_hold_is_not_what_the_log_says(place, admin, as_role, monkeypatch, problem):
    hold = hold_an_old_object(place, admin, monkeypatch)
    with unguarded("audit_legalhold") as owner:
        owner.execute(TAKEN[problem])
    with pytest.raises(RowAltered, match=problem):
        expire(as_role)
    assert not factories.instance_events(Event.AUDIT_PARTITION_EXPIRED)
    (alarm,) = factories.instance_events(Event.AUDIT_ROW_ALTERED)
    with databases.admin() as owner:
        (facts,) = owner.execute(
            "SELECT convert_from(body, 'UTF8')::jsonb FROM audit.detail WHERE event_id = %s", [alarm.id]
        ).fetchone()
        assert owner.execute("SELECT count(*) FROM audit.event_2018_03").fetchone() == (3,)
    assert [(row["id"], row["problem"], row["workspace"]) for row in facts["rows"]] == [
        (str(hold.pk), problem, str(place.id))
    ]


def test_nor_while_there_is_one_that_nobody_engaged(place, admin, as_role, monkeypatch):
    hold_an_old_object(place, admin, monkeypatch)
    with unguarded("audit_legalhold") as owner:
        owner.execute("UPDATE audit_legalhold SET id = gen_random_uuid()")
    with pytest.raises(RowAltered, match=r"it is not there.*no signed event is about it|no signed.*not there"):
        expire(as_role)


def test_a_hold_of_somebody_without_events_in_it_and_one_that_was_released_keep_no_month(
    place, admin, as_role, monkeypatch
):
    hold = hold_an_old_object(place, admin, monkeypatch)
    other = factories.make_member(place, roles={"admin"})
    with enter(place.id):
        retention.ask_release(actor=admin, hold_id=hold.pk, reason="It is over.")
        retention.release_hold(actor=other, hold_id=hold.pk, reason="It is over.")
    elsewhere = factories.make_workspace()
    with enter(elsewhere.id):
        somebody = factories.make_member(elsewhere, roles={"admin"})
        retention.engage_hold(actor=somebody, scope_kind="workspace", reason="A lawsuit.")
    with unguarded("audit_legalhold") as owner:
        owner.execute("DELETE FROM audit_legalhold WHERE workspace_id = %s", [elsewhere.id])
    assert expire(as_role) == 3


def test_a_hold_whose_event_left_with_its_month_is_known_by_what_was_carried_on(place, admin, as_role, monkeypatch):
    hold_an_old_object(place, admin, monkeypatch)
    month = datetime.now(UTC)
    with databases.admin() as owner:
        owner.execute("INSERT INTO audit.carried SELECT * FROM audit.event WHERE action = 'legal_hold.engaged'")
    sealing.tamper("DELETE FROM audit.event WHERE action = 'legal_hold.engaged' AND id > %s", uuid7_floor(month))
    with unguarded("audit_legalhold") as owner:
        owner.execute("DELETE FROM audit_legalhold")
    with pytest.raises(RowAltered, match="it is not there"):
        expire(as_role)


@pytest.mark.parametrize("problem", TAKEN)
def test_nobody_is_erased_meanwhile(place, admin, problem, settings, tmp_path):
    settings.ERASURES_FILE = tmp_path / "erasures.jsonl"
    member = factories.make_member(place, roles={"viewer"})
    with enter(place.id):
        retention.engage_hold(actor=admin, scope_kind="workspace", reason="A lawsuit.")
    with unguarded("audit_legalhold") as owner:
        owner.execute(TAKEN[problem])
    with pytest.raises(RowAltered, match=problem), enter(place.id):
        erasure.erase_member(actor=admin, user_id=member.id, reason="They asked.")
    with enter(place.id):
        assert not factories.events(Event.MEMBER_ERASED)
