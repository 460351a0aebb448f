"""How long things are kept: classes of detail, holds, what is due, and months after seven years (M114, M125, goal 12)."""

import hashlib
import hmac
import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from audit import envelope, one_event, partitions
from audit.envelope import EventContext, storing
from audit.errors import EventExpired, HoldEngaged, HoldNotEngaged, NeedsSecondPerson
from audit.loading import attested
from audit.merkle import root_of_inclusion
from audit.models import AuditDetail, LegalHold
from audit.retention import services as retention
from audit.retention.classes import LONGEST_DAYS, RetentionClass, class_of
from audit.services import Target, record
from audit.taxonomy import Event
from audit.tree import django_tree
from provenance.actor import Actor
from provenance.db import enter
from provenance.errors import Invalid, NotFound, PermissionDenied
from provenance.ids import public_id, short_id, uuid7
from tests import databases, factories, racing
from tests.audit import sealing
from tests.audit.old_months import LONG_AGO, expire, old_events, sweep
from tests.gateway.world import unguarded
from workspaces.models import Membership

_WAITS_FOR_DETAILS = (
    "SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = 'audit.detail'::regclass"
)

# --- Classes and settings ----------------------------------------------------------------------------------------------


def test_every_type_of_event_has_a_class_before_anything_is_logged():
    assert class_of(Event.MODEL_CALLED) is RetentionClass.PROMPTS
    assert class_of(Event.AGENT_PROMPT_VIEWED) is RetentionClass.PROMPTS
    assert class_of(Event.MCP_TOOL_CALLED) is RetentionClass.TOOLS
    assert class_of(Event.AUTH_LOGIN_SUCCEEDED) is RetentionClass.ACCESS
    assert class_of(Event.AGENT_TRUST_LEVEL_RAISED) is RetentionClass.DIFFS
    assert class_of(Event.LEGAL_HOLD_ENGAGED) is RetentionClass.STANDARD
    assert all(item.floor_days <= item.days for item in RetentionClass)


@pytest.mark.django_db
def test_a_detail_is_stored_under_the_class_of_its_event(workspace, admin):
    record(actor=admin, event=Event.MODEL_CALLED, target=Target("model", "m"), detail={"prompt": "p"})
    assert AuditDetail.objects.order_by("pk").last().retention_class == "prompts"


@pytest.mark.django_db
def test_a_setting_counts_and_is_a_critical_event(workspace, admin, events):
    retention.set_retention(actor=admin, retention_class="prompts", days=30, reason="Less is better.")
    retention.set_retention(actor=admin, retention_class="prompts", days=45, reason="A little more.")
    kept = {item.retention_class: (item.days, item.is_usual) for item in retention.kept(admin)}
    assert (kept["prompts"], kept["tools"]) == ((45, False), (365, True))
    changed = events(Event.RETENTION_CHANGED)
    assert [event.risk for event in changed] == ["critical", "critical"]
    assert AuditDetail.objects.get(pk=changed[1].pk).facts["before"] == 30


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "days"), [("prompts", 29), ("diffs", 364), ("standard", 40_000), ("other", 90)])
def test_no_setting_goes_below_the_floor_of_its_class(workspace, admin, name, days):
    with pytest.raises(Invalid):
        retention.set_retention(actor=admin, retention_class=name, days=days, reason="Less.")


@pytest.mark.django_db
def test_whoever_may_not_change_it_does_not(workspace, admin, editor, stranger):
    with pytest.raises(PermissionDenied):
        retention.set_retention(actor=editor, retention_class="prompts", days=60, reason="r")
    with pytest.raises(PermissionDenied):
        retention.set_retention(actor=factories.system_of(workspace), retention_class="prompts", days=60, reason="r")
    retention.set_retention(actor=admin, retention_class="prompts", days=60, reason="r")
    with enter(stranger.workspace_id):
        assert {item.days for item in retention.kept(stranger) if item.retention_class == "prompts"} == {90}


# --- Legal holds -------------------------------------------------------------------------------------------------------


@pytest.fixture
def second(workspace):
    return factories.make_member(workspace, roles={"admin"})


@pytest.mark.django_db
def test_a_hold_is_released_by_two_people(workspace, admin, second, events):
    hold = retention.engage_hold(actor=admin, scope_kind="workspace", reason="A lawsuit.")
    with pytest.raises(NeedsSecondPerson):
        retention.release_hold(actor=admin, hold_id=hold.pk, reason="It is over.")
    retention.ask_release(actor=admin, hold_id=hold.pk, reason="It is over.")
    with pytest.raises(NeedsSecondPerson):
        retention.release_hold(actor=admin, hold_id=hold.pk, reason="It is over.")
    assert retention.release_hold(actor=second, hold_id=hold.pk, reason="I agree.").released_at
    with pytest.raises(HoldNotEngaged):
        retention.release_hold(actor=second, hold_id=hold.pk, reason="Again.")
    names = ["legal_hold.engaged", "legal_hold.release_asked", "legal_hold.released"]
    assert [event.action for event in events() if event.action in names] == names


@pytest.mark.django_db
def test_the_database_too_wants_two_people(workspace, admin):
    hold = retention.engage_hold(actor=admin, scope_kind="workspace", reason="A lawsuit.")
    hold.release_asked_by = hold.released_by = admin.id
    hold.released_at = datetime.now(UTC)
    with pytest.raises(DatabaseError, match="audit_hold_released_by_two"), transaction.atomic():
        hold.save()


@pytest.mark.django_db
def test_who_may_hold_and_what(workspace, admin, viewer, stranger):
    known = factories.events()[0].object_id
    hold = retention.engage_hold(actor=admin, scope_kind="object", scope_id=known, reason="r")
    assert hold.scope_id == known
    with pytest.raises(HoldEngaged):
        retention.engage_hold(actor=admin, scope_kind="object", scope_id=known, reason="r")
    with pytest.raises(Invalid):
        retention.engage_hold(actor=admin, scope_kind="galaxy", scope_id="x", reason="r")
    with pytest.raises(PermissionDenied):
        retention.engage_hold(actor=viewer, scope_kind="workspace", reason="r")
    with pytest.raises(PermissionDenied):
        retention.ask_release(actor=factories.system_of(workspace), hold_id=hold.pk, reason="r")
    with pytest.raises(NotFound), enter(stranger.workspace_id):
        retention.ask_release(actor=stranger, hold_id=hold.pk, reason="r")


@pytest.mark.django_db
def test_a_hold_takes_ids_as_people_see_them_and_is_refused_when_it_covers_nothing(workspace, admin):
    """Somebody relies on a hold: one that silently held nothing would be found out only when it is too late."""
    run_id = uuid7()
    context = EventContext(run_id=run_id)
    record(actor=admin, event=Event.RUN_STARTED, target=Target("run", str(run_id)), context=context)
    hold = retention.engage_hold(actor=admin, scope_kind="run", scope_id=public_id("run", run_id), reason="r")
    assert hold.scope_id == str(run_id)
    hold = retention.engage_hold(actor=admin, scope_kind="object", scope_id=public_id("run", run_id), reason="r")
    assert hold.scope_id == str(run_id)
    for kind, nothing in (("run", short_id("R", run_id)), ("run", str(uuid7())), ("object", "AP-6TSCD"), ("run", "")):
        with pytest.raises(Invalid) as refusal:
            retention.engage_hold(actor=admin, scope_kind=kind, scope_id=nothing, reason="r")
        assert "whole id" in refusal.value.data["errors"][0]["message"]


@pytest.mark.django_db(transaction=True)
def test_two_who_engage_the_same_hold_at_once_make_one():
    place = factories.make_workspace()
    person = factories.make_member(place, roles={"admin"})

    def engage():
        return retention.engage_hold(actor=person, scope_kind="workspace", reason="r")

    racing.at_once(place.id, engage, engage)
    with enter(place.id):
        assert LegalHold.objects.count() == 1


# --- Details whose time is over ----------------------------------------------------------------------------------------


@pytest.fixture
def place(transactional_db):
    made = factories.make_workspace()
    made.admin = factories.make_member(made, roles={"admin"})
    made.second = factories.make_member(made, roles={"admin"})
    sealing.seal()
    return made


def bodies(place, made):
    with enter(place.id):
        details = AuditDetail.objects.in_bulk([event.id for event in made])
    return [details[event.id].body is not None and details[event.id].salt is not None for event in made]


@pytest.mark.usefixtures("drop_months")
def test_what_is_due_is_erased_with_an_event_that_names_it(place, as_role, monkeypatch):
    now = datetime.now(UTC)
    due = old_events(monkeypatch, now - timedelta(days=100), workspace_id=place.id)
    young = old_events(monkeypatch, now - timedelta(days=80), workspace_id=place.id)
    other = old_events(monkeypatch, now - timedelta(days=100), workspace_id=place.id, event=Event.MCP_TOOL_CALLED)
    sweep(as_role)
    assert (bodies(place, due), bodies(place, young), bodies(place, other)) == ([False] * 3, [True] * 3, [True] * 3)
    with enter(place.id):
        (told,) = factories.events(Event.AUDIT_DETAIL_ERASED)
        facts = AuditDetail.objects.get(pk=told.pk).facts
        assert (facts["class"], facts["events"]) == ("prompts", [str(event.id) for event in due])
        auditor = factories.actor_of(place, place.admin.id, {"auditor"})
        shown = one_event.event_detail(actor=auditor, event_id=due[0].id)
        assert (shown.proof.signature_valid, shown.proof.contents_match, shown.proof.detail_erased) == (
            True,
            True,
            True,
        )
    sweep(as_role)
    with enter(place.id):
        assert len(factories.events(Event.AUDIT_DETAIL_ERASED)) == 1


@pytest.mark.usefixtures("drop_months")
def test_after_erasure_unlimited_guesses_at_a_six_digit_body_learn_nothing(place, as_role, monkeypatch):
    """Goal 12: with the salt gone, each of the million bodies is as likely as any other."""
    (made,) = old_events(monkeypatch, datetime.now(UTC) - timedelta(days=100), workspace_id=place.id, count=1)
    sweep(as_role)
    ((body, salt, stored),) = sealing.rows(
        "SELECT detail.body, detail.salt, event.body FROM audit.detail JOIN audit.event ON event.id = event_id"
        " WHERE event_id = %s", made.id,
    )  # fmt: skip
    assert (body, salt) == (None, None)
    commitment = made.detail.commitment()
    assert commitment in stored
    everything = sealing.rows("SELECT row_to_json(event)::text || COALESCE(row_to_json(detail)::text, '') FROM audit.event"
                              " LEFT JOIN audit.detail ON event_id = id")  # fmt: skip
    assert not any(made.detail.salt.hex() in text for (text,) in everything)
    # Whoever guesses the body must also guess 32 random bytes; without them no guess is confirmed, the right one included.
    guesses = (b'{"pin":"%06d"}' % number for number in range(0, 1_000_000, 997))
    tried = {hmac.digest(b"", guess, hashlib.sha256).hex() for guess in itertools.chain(guesses, [made.detail.body])}
    assert commitment not in tried


@pytest.mark.usefixtures("drop_months")
@pytest.mark.parametrize("kind", ["workspace", "run", "object"])
def test_nothing_under_a_hold_is_erased(place, as_role, monkeypatch, kind):
    run_id = uuid7()
    held = old_events(
        monkeypatch, datetime.now(UTC) - timedelta(days=100), workspace_id=place.id, run_id=run_id, id="held"
    )
    free = old_events(monkeypatch, datetime.now(UTC) - timedelta(days=100), workspace_id=place.id)
    scope_id = {"workspace": "", "run": str(run_id), "object": "held"}[kind]
    with enter(place.id):
        hold = retention.engage_hold(actor=place.admin, scope_kind=kind, scope_id=scope_id, reason="A lawsuit.")
    sweep(as_role)
    assert bodies(place, held) == [True] * 3
    assert bodies(place, free) == [kind == "workspace"] * 3
    with enter(place.id):
        retention.ask_release(actor=place.admin, hold_id=hold.pk, reason="It is over.")
        retention.release_hold(actor=place.second, hold_id=hold.pk, reason="I agree.")
    sweep(as_role)
    assert bodies(place, held) == [False] * 3


def erase_as_worker(place, made, *, has_event):
    event = envelope.build(
        keys=sealing.all_keys("worker"),
        actor=Actor.system("x", place.id),
        event=Event.AUDIT_DETAIL_ERASED,
        target=envelope.ObjectFacts(type="retention_class", id="prompts"),
        workspace_id=place.id,
    )
    with databases.login("worker") as worker, worker.transaction():
        worker.execute(f"SET LOCAL app.workspace_id = '{place.id}'")
        if has_event:
            worker.execute(*storing([event]))
        worker.execute("SELECT audit.erase_details(%s)", [[one.id for one in made]])


@pytest.mark.usefixtures("drop_months")
def test_a_hijacked_worker_erases_nothing_that_is_not_due_and_nothing_in_silence(place, monkeypatch):
    """M113: the limits stand in the function, not in the sweep."""
    now = datetime.now(UTC)
    young = old_events(monkeypatch, now - timedelta(days=80), workspace_id=place.id)
    due = old_events(monkeypatch, now - timedelta(days=100), workspace_id=place.id)
    for made, has_event, says in ((young, True, "are not due"), (due, False, "no event audit.detail_erased")):
        with pytest.raises(psycopg.DatabaseError, match=says):
            erase_as_worker(place, made, has_event=has_event)
    assert bodies(place, young + due) == [True] * 6


@pytest.mark.usefixtures("drop_months")
def test_a_setting_below_the_floor_that_an_administrator_wrote_counts_for_nothing(place, as_role, monkeypatch):
    made = old_events(monkeypatch, datetime.now(UTC) - timedelta(days=20), workspace_id=place.id)
    with enter(place.id):
        retention.set_retention(actor=place.admin, retention_class="prompts", days=30, reason="r")
    with unguarded("audit_retentionsetting") as owner:
        owner.execute("UPDATE audit_retentionsetting SET days = 1")
    sweep(as_role)
    assert bodies(place, made) == [True] * 3


@pytest.mark.usefixtures("drop_months")
def test_what_is_kept_for_a_hundred_years_is_not_due_at_once(place, as_role, monkeypatch):
    """Its end lies before the time that ids begin with."""
    made = old_events(monkeypatch, datetime.now(UTC) - timedelta(days=100), workspace_id=place.id)
    with enter(place.id):
        retention.set_retention(actor=place.admin, retention_class="prompts", days=LONGEST_DAYS, reason="A lawsuit.")
    sweep(as_role)
    assert bodies(place, made) == [True] * 3


# --- Months ------------------------------------------------------------------------------------------------------------


def proof_of(place, event):
    """The root that the event's leaf leads to, and the one that the newest checkpoint has."""
    with enter(place.id):
        tree = django_tree()
        position = tree.position(event.id)
        checkpoint = tree.newest_checkpoint(position.log_id).checkpoint
        (leaf,) = tree.leaves(position.log_id, position.index, position.index + 1)
        path = tree.inclusion(position.log_id, position.index, checkpoint.size)
        return root_of_inclusion(leaf, position.index, checkpoint.size, path), checkpoint.root


@pytest.mark.usefixtures("drop_months")
def test_a_month_leaves_after_seven_years_and_every_proof_goes_on_holding(place, as_role, monkeypatch):
    made = old_events(monkeypatch, LONG_AGO, workspace_id=place.id)
    before = sealing.checkpoints(place.id)
    assert expire(as_role) == 3
    with enter(place.id):
        assert not {event.id for event in made} & {event.pk for event in factories.events()}
        with pytest.raises(EventExpired):
            one_event.event_detail(actor=place.admin, event_id=made[0].id)
        with pytest.raises(NotFound) as never:
            one_event.event_detail(actor=place.admin, event_id=uuid7())
        assert never.type is NotFound
    (told,) = factories.instance_events(Event.AUDIT_PARTITION_EXPIRED)
    assert (told.risk, told.object_id, told.kid) == ("critical", "event_2018_03", "retention-1")
    ((text,),) = sealing.rows("SELECT convert_from(body, 'UTF8') FROM audit.detail WHERE event_id = %s", told.pk)
    assert '"events":3' in text
    assert '"root":"' in text
    old_events(monkeypatch, datetime.now(UTC), workspace_id=place.id)
    assert sealing.checkpoints(place.id)[: len(before)] == before
    found, wanted = proof_of(place, made[0])
    assert found == wanted
    assert not sealing.rows("SELECT FROM audit.event WHERE action = 'audit.verification_failed'")


@pytest.mark.usefixtures("drop_months")
def test_the_lock_of_a_month_that_leaves_is_short(place, as_role, monkeypatch):
    """Goal 12: whoever cannot get it in time changes nothing."""
    old_events(monkeypatch, LONG_AGO, workspace_id=place.id)
    with databases.login("web") as writer, writer.transaction():
        writer.execute(f"SET LOCAL app.workspace_id = '{place.id}'")
        writer.execute("SELECT count(*) FROM audit.event")
        with pytest.raises(DatabaseError, match="lock timeout"):
            expire(as_role)
    assert expire(as_role) == 3


@pytest.mark.usefixtures("drop_months")
def test_a_month_leaves_beside_whoever_reads_details_before_their_events(place, as_role, monkeypatch):
    """It never keeps one table while it waits for the other, so nobody is the victim of a deadlock."""
    old_events(monkeypatch, LONG_AGO, workspace_id=place.id)

    def leave():
        try:
            return expire(as_role)
        finally:
            connection.close()

    with databases.admin() as reader, ThreadPoolExecutor(1) as pool:
        with reader.transaction():
            reader.execute("SELECT count(*) FROM audit.detail")
            leaving = pool.submit(leave)
            while not sealing.rows(_WAITS_FOR_DETAILS):
                assert not leaving.done()
            reader.execute("SELECT count(*) FROM audit.event")
        assert leaving.result(60) == 3


@pytest.mark.usefixtures("drop_months")
def test_a_month_stays_when_it_is_young_held_or_not_sealed(place, as_role, monkeypatch):
    now = datetime.now(UTC)
    young = now.replace(year=now.year - 7, day=15) + timedelta(days=31)
    old_events(monkeypatch, young, workspace_id=place.id)
    with pytest.raises(DatabaseError, match="events are kept for 7 years"):
        expire(as_role, f"event_{young:%Y_%m}")
    run_id = uuid7()
    old_events(monkeypatch, LONG_AGO, workspace_id=place.id, run_id=run_id)
    with enter(place.id):
        retention.engage_hold(actor=place.admin, scope_kind="run", scope_id=str(run_id), reason="A lawsuit.")
    with pytest.raises(DatabaseError, match="under legal hold"):
        expire(as_role)
    for nonsense in ("event_2018_04", "event_9999_01", "leaf", "event_2018_03; DROP TABLE audit.leaf"):
        with pytest.raises(DatabaseError, match="is no month of the log"):
            expire(as_role, nonsense)
    assert not factories.instance_events(Event.AUDIT_PARTITION_EXPIRED)


@pytest.mark.usefixtures("drop_months")
def test_a_month_with_an_event_that_is_not_sealed_stays(place, as_role, monkeypatch):
    (made,) = old_events(monkeypatch, LONG_AGO, workspace_id=place.id, count=1)
    sealing.tamper("DELETE FROM audit.leaf WHERE event_id = %s", made.id)
    with pytest.raises(DatabaseError, match="1 events of it are not sealed"):
        expire(as_role)


@pytest.mark.usefixtures("drop_months")
def test_no_process_that_serves_lets_a_month_go_and_the_job_does_not_in_silence(place, monkeypatch):
    old_events(monkeypatch, LONG_AGO, workspace_id=place.id)
    for role, says in (
        ("web", "permission denied"),
        ("worker", "permission denied"),
        ("retention", "no event of this transaction"),
    ):
        with databases.login(role) as connected, pytest.raises(psycopg.DatabaseError, match=says):
            connected.execute("SELECT audit.expire_partition('event_2018_03')")
    with databases.login("retention") as job, pytest.raises(psycopg.DatabaseError, match="permission denied"):
        job.execute("SELECT body FROM audit.event")


@pytest.mark.usefixtures("drop_months")
def test_a_row_whose_last_change_left_with_its_month_still_grants(place, as_role, monkeypatch):
    """T06 after seven years: the newest event about a row that lives on is carried, and stays the only one that counts."""
    with enter(place.id):
        member = Membership.objects.get(user_id=place.second.id)
    where = "row.id = %(id)s"
    moved = old_events(
        monkeypatch, LONG_AGO, workspace_id=place.id, count=1, event=Event.MEMBER_ADDED, type="membership",
        id=str(member.pk), rev=member.audit_rev, op="insert", state=member.state(),
    )  # fmt: skip
    sealing.tamper("DELETE FROM audit.event WHERE object_id = %s AND id <> %s", str(member.pk), moved[0].id)
    expire(as_role)
    with enter(place.id):
        assert attested(Membership, where, {"id": member.pk}) == member


def test_a_month_that_cannot_be_made_is_an_alarm(transactional_db, as_role, monkeypatch):
    now = datetime.now(UTC)
    following = (now.replace(day=1) + timedelta(days=32)).strftime("%Y_%m")
    with databases.admin() as owner:
        owner.execute(f"ALTER TABLE audit.event_{following} RENAME TO hidden")
        owner.execute("ALTER FUNCTION audit.ensure_partitions() RENAME TO hidden")
    partitions._ensured.cache_clear()
    partitions._tell_missing.cache_clear()
    try:
        for _ in range(2):
            with as_role("worker"), pytest.raises(DatabaseError):
                partitions.keep_ahead(now)
    finally:
        with databases.admin() as owner:
            owner.execute("ALTER FUNCTION audit.hidden() RENAME TO ensure_partitions")
            owner.execute(f"ALTER TABLE audit.hidden RENAME TO event_{following}")
    (alarm,) = factories.instance_events(Event.AUDIT_PARTITION_MISSING)
    assert (alarm.risk, alarm.object_id) == ("critical", f"event_{following}")


def test_the_command_says_when_no_month_is_old_enough(as_role, capsys):
    with as_role("retention"):
        call_command("expire")
    assert "No month of the log is over 7 years old" in capsys.readouterr().out
