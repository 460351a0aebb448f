"""Erasing a person: what is personal is gone, what was done stays proved, and a restore does not bring it back (M124, T28)."""

import json
from uuid import UUID

import psycopg
import pytest
from django.db import connection

from apikeys import services as keys
from audit import labels, one_event, selectors
from audit.merkle import root_of_inclusion
from audit.models import AuditDetail
from audit.retention import services as retention
from audit.selectors import EventFilters
from audit.services import Target, record
from audit.taxonomy import Event
from audit.tree import django_tree
from provenance.api import Paging
from provenance.db import enter
from provenance.errors import NotFound, PermissionDenied
from provenance.ids import public_id, uuid7
from provenance.postgres.refusals import UnauditedChange
from provenance.readiness import problems
from tests import databases, factories, racing
from tests.audit import sealing
from tests.browsing import browser, program
from tests.gateway.world import unguarded
from workspaces import erasure_journal, services
from workspaces.erasure import erase_member, missing, replay
from workspaces.erasure_journal import Erasure, JournalBroken
from workspaces.errors import ErasureNotKept, LastAdministrator, OwnRoles, UnderLegalHold
from workspaces.models import Membership, User
from workspaces.selectors import user_names

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "Wilhelmina Ashgrove"


@pytest.fixture(autouse=True)
def journal(settings, tmp_path):
    settings.ERASURES_FILE = tmp_path / "erasures.jsonl"
    return settings.ERASURES_FILE


@pytest.fixture
def place(transactional_db):
    """A workspace with two administrators and a person who was invited, joined and did something."""
    made = factories.make_workspace()
    made.admin = factories.make_member(made, roles={"admin"})
    with enter(made.id):
        _invitation, token = services.invite(actor=made.admin, email="w.ashgrove@example.com", roles=["viewer"])
    user = services.accept_invitation(
        token=token, user=None, name=NAME, password=factories.PASSWORD, ip="198.51.100.77", request_id="r"
    )
    made.person = factories.actor_of(made, user.pk, {"viewer"}, label=NAME)
    with enter(made.id):
        for number in range(3):
            record(
                actor=made.person, event=Event.AGENT_PROMPT_VIEWED, target=Target("agent", "a"), detail={"n": number}
            )
        record(
            actor=made.admin,
            event=Event.AGENT_UPDATED,
            target=Target("agent", "a"),
            reason="For w.ashgrove@example.com",
        )
        record(actor=made.admin, event=Event.AGENT_UPDATED, target=Target("agent", "b"), reason="For somebody else")
    sealing.seal()
    return made


def erase(place, **changes):
    with enter(place.id):
        return erase_member(
            **{"actor": place.admin, "user_id": place.person.id, "reason": "They asked for it.", **changes}
        )


def everything():
    """Every row of every table as text, past every wall."""
    with databases.admin() as owner:
        tables = owner.execute(
            "SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
            " WHERE nspname IN ('public', 'audit') AND relkind IN ('r', 'p') AND NOT relispartition"
        ).fetchall()
        found = [owner.execute(f"SELECT t::text FROM {table} AS t").fetchall() for (table,) in tables]
        found.append(
            owner.execute("SELECT convert_from(body, 'UTF8') FROM audit.detail WHERE body IS NOT NULL").fetchall()
        )
    return "\n".join(text for rows in found for (text,) in rows)


def proofs(place):
    """Every event of the workspace with what can be proved of it, and whether its leaf leads to the checkpoint's root."""
    auditor = factories.actor_of(place, place.admin.id, {"auditor"})
    with enter(place.id):
        tree = django_tree()
        found = {}
        for event in factories.events():
            position = tree.position(event.id)
            if position is None:
                continue
            checkpoint = tree.newest_checkpoint(position.log_id).checkpoint
            path = tree.inclusion(position.log_id, position.index, checkpoint.size)
            root = root_of_inclusion(sealing.leaf_of(event.id), position.index, checkpoint.size, path)
            shown = one_event.event_detail(actor=auditor, event_id=event.id).proof
            found[event.id] = (root == checkpoint.root, shown.signature_valid, shown.contents_match)
    return found


def test_what_is_personal_is_gone_from_every_table_and_every_proof_holds(place):
    before = proofs(place)
    assert before
    for personal in (NAME, "w.ashgrove@example.com", "198.51.100.77"):
        assert personal in everything()
    erase(place)
    for personal in (NAME, "w.ashgrove", "198.51.100.77"):
        assert personal not in everything()
    assert "For somebody else" in everything()
    sealing.seal()
    after = proofs(place)
    assert set(before) < set(after)
    assert set(after.values()) == {(True, True, True)}
    assert not sealing.rows("SELECT FROM audit.event WHERE action = 'audit.verification_failed'")
    with enter(place.id):
        (told,) = [event for event in factories.events(Event.MEMBER_ERASED) if event.object_type == "membership"]
        assert (told.risk, told.actor_id) == ("critical", place.admin.id)
        assert user_names([place.person.id]) == {}


def test_who_wrote_of_an_erased_person_is_named_as_before(place):
    """A detail goes as a whole, with the label of a colleague who named the address in it."""
    erase(place)
    auditor = factories.actor_of(place, place.admin.id, {"auditor", "admin"})
    with enter(place.id):
        rows, _ = selectors.search(
            actor=auditor, filters=EventFilters(actions=["agent.updated"]), paging=Paging(limit=200)
        )
        shown = labels.with_names(auditor, rows)
    about_them, about_somebody_else = sorted(shown, key=lambda row: row.reason)
    assert (about_them.facts, about_somebody_else.reason) == ({}, "For somebody else")
    assert {row.actor_name for row in shown} == {place.admin.label}


def test_an_erased_person_signs_in_nowhere_and_comes_back_by_no_way(place):
    client = browser(place.person)
    erase(place)
    assert client.get(f"/w/{place.slug}/members/").status_code in {302, 404}
    assert not User.objects.get(pk=place.person.id).has_usable_password()
    with pytest.raises(NotFound), enter(place.id):
        services.add_member(actor=place.admin, user_id=place.person.id, roles=["viewer"])


def test_asking_again_changes_nothing_and_is_no_second_event(place, journal):
    first = erase(place)
    again = erase(place)
    assert (again.erased_at, again.audit_rev) == (first.erased_at, first.audit_rev)
    with enter(place.id):
        assert len([event for event in factories.events(Event.MEMBER_ERASED) if event.object_type == "membership"]) == 1
    assert len(journal.read_text().splitlines()) == 1


def test_two_who_erase_at_once_erase_once(place):
    def work():
        return erase_member(actor=place.admin, user_id=place.person.id, reason="r")

    results = racing.at_once(place.id, work, work)
    assert all(isinstance(result, Membership) for result in results), results
    with enter(place.id):
        assert len([event for event in factories.events(Event.MEMBER_ERASED) if event.object_type == "membership"]) == 1


def test_who_may_not_erase_does_not(place):
    editor = factories.make_member(place, roles={"editor"})
    stranger = factories.make_member(factories.make_workspace(), roles={"admin"})
    with pytest.raises(PermissionDenied):
        erase(place, actor=editor)
    with pytest.raises(OwnRoles):
        erase(place, user_id=place.admin.id)
    with pytest.raises(NotFound), enter(stranger.workspace_id):
        erase_member(actor=stranger, user_id=place.person.id, reason="r")
    other = factories.make_member(place, roles={"admin"})
    with enter(place.id):
        services.remove_member(actor=other, user_id=place.admin.id, reason="r")
    with pytest.raises(LastAdministrator):
        erase(place, actor=place.admin, user_id=other.id)
    assert NAME in everything()


def test_under_a_legal_hold_nothing_is_erased(place, journal):
    with enter(place.id):
        retention.engage_hold(actor=place.admin, scope_kind="object", scope_id="a", reason="A lawsuit.")
    with pytest.raises(UnderLegalHold):
        erase(place)
    assert NAME in everything()
    assert not journal.exists()


def test_who_belongs_to_two_workspaces_keeps_the_account_in_the_other(place):
    other = factories.make_workspace()
    with enter(other.id):
        services.add_member(actor=factories.system_of(other), user_id=place.person.id, roles=["viewer"])
        record(actor=factories.actor_of(other, place.person.id, {"viewer"}, label=NAME), event=Event.AGENT_PROMPT_VIEWED,
               target=Target("agent", "z"))  # fmt: skip
    erase(place)
    with enter(place.id):
        assert user_names([place.person.id]) == {}
        texts = [str(detail.facts) for detail in AuditDetail.objects.all()]
        assert not [text for text in texts if NAME in text]
    with enter(other.id):
        assert list(user_names([place.person.id]).values()) == [NAME]
        assert [detail for detail in AuditDetail.objects.all() if NAME in str(detail.facts)]


def test_nobody_erases_past_the_service(place):
    """The function wants the event that tells of it, and only web may call it."""
    for role, says in (("web", "no event member.erased"), ("worker", "permission denied")):
        with pytest.raises(psycopg.Error, match=says):
            erase_as(role, place)


def erase_as(role, place):
    with databases.login(role) as connected, connected.transaction():
        connected.execute(f"SET LOCAL app.workspace_id = '{place.id}'")
        connected.execute("SELECT audit.erase_person(%s, '{}', 'x', false)", [place.person.id])


# --- REST and the page -------------------------------------------------------------------------------------------------


def address(place):
    return f"/api/v1/members/{public_id('usr', UUID(place.person.id))}/erase"


def key_of(place, owner, scopes):
    with enter(place.id):
        return program(keys.issue_key(actor=owner, name="k", scopes=scopes)[1])


def test_an_administrators_key_erases_who_was_removed(place):
    client = key_of(place, place.admin, ["gateway:write"])
    body = {"reason": "They asked for it."}
    refused = client.post(address(place), body, content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (409, "member_active")
    with enter(place.id):
        services.remove_member(actor=place.admin, user_id=place.person.id, reason="They left.")
    first = client.post(address(place), body, content_type="application/json")
    again = client.post(address(place), body, content_type="application/json")
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert NAME not in everything()


def test_a_weaker_key_does_not(place):
    lowered = factories.make_member(place, roles={"admin"})
    clients = [
        (key_of(place, place.admin, ["audit:read"]), "gateway:write"),
        (key_of(place, lowered, ["gateway:write"]), "members:write"),
    ]
    with enter(place.id):
        services.change_roles(actor=place.admin, user_id=lowered.id, roles=["editor"])
    for client, missing_scope in clients:
        answer = client.post(address(place), {"reason": "r"}, content_type="application/json")
        assert (answer.status_code, answer.json()["missing_scope"]) == (403, missing_scope)
    assert NAME in everything()


def test_a_person_removes_and_erases_on_the_page(place):
    client = browser(place.admin)
    page = client.get(f"/w/{place.slug}/members/").content.decode()
    assert "Removed members" not in page
    with enter(place.id):
        services.remove_member(actor=place.admin, user_id=place.person.id, reason="They left.")
    assert "Erase for good" in client.get(f"/w/{place.slug}/members/").content.decode()
    path = address(place).removeprefix("/api/v1")
    assert client.post(f"/w/{place.slug}{path}", {"reason": "They asked."}).status_code == 302
    assert NAME not in everything()


# --- A restore ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def restored(place):
    """The database of before the erasure, while the journal has it: what restoring an older dump leaves."""
    tables = ("workspaces_user", "workspaces_membership", "workspaces_invitation", "audit.detail", "audit.event")
    with databases.admin() as owner:
        for table in tables:
            owner.execute(f"CREATE TABLE IF NOT EXISTS public.old_{table.split('.')[-1]} AS SELECT * FROM {table}")
    erase(place)
    with unguarded(*tables) as owner:
        for table in tables:
            owner.execute(f"DELETE FROM {table}")
            owner.execute(f"INSERT INTO {table} SELECT * FROM public.old_{table.split('.')[-1]}")
    with databases.admin() as owner:
        for table in tables:
            owner.execute(f"DROP TABLE public.old_{table.split('.')[-1]}")
    assert NAME in everything()
    return place


def test_a_restored_database_serves_nobody_before_the_erasures_are_replayed(restored):
    assert missing() == [Erasure(restored.id, User.objects.get(name=NAME).pk)]
    assert [problem for problem in problems() if "people who were erased are in this database again" in problem]
    assert replay() == 1
    for personal in (NAME, "w.ashgrove", "198.51.100.77"):
        assert personal not in everything()
    assert problems() == []
    assert replay() == 0


def test_a_database_from_before_the_person_joined_has_nothing_to_erase(place, journal):
    erase(place)
    with unguarded("workspaces_membership") as owner:
        owner.execute("DELETE FROM workspaces_membership WHERE erased_at IS NOT NULL")
    assert missing() == []


def test_what_cannot_be_noted_outside_is_not_erased(place, settings, tmp_path):
    settings.ERASURES_FILE = tmp_path / "not there" / "erasures.jsonl"
    with pytest.raises(ErasureNotKept):
        erase(place)
    assert NAME in everything()


def test_a_line_that_was_half_written_belongs_to_nothing_and_a_broken_one_stops_the_start(place, journal):
    erase(place)
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[:20])
    assert len(erasure_journal.read(journal)) == 1
    assert problems() == []
    journal.write_bytes(b"{}\n" + whole)
    with pytest.raises(JournalBroken, match="Line 1"):
        erasure_journal.read(journal)
    assert [problem for problem in problems() if "It cannot be said who was erased" in problem]


def test_the_journal_holds_ids_and_nothing_personal(place, journal):
    erase(place)
    assert set(json.loads(journal.read_text())) == {"v", "workspace", "user", "at"}
    assert journal.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("needle", ['"', "", "@northwind.example", "a b@c.example"])
def test_a_hijacked_web_empties_no_more_than_one_person_that_it_tells_of(place, needle):
    """With an event of its own making and any person, object or piece of text it could empty a whole log otherwise."""
    before = everything()
    events = [place.admin.id, str(place.id)]
    for person, objects, text in (
        (uuid7(), [], "somebody@example.com"),
        (place.person.id, events, "somebody@example.com"),
        (place.person.id, [], needle),
    ):
        with pytest.raises(UnauditedChange, match="only what is personal"):
            empty(place, person, objects, text)
    assert everything() == before


def empty(place, person, objects, text):
    with enter(place.id), connection.cursor() as cursor:
        membership = Membership.objects.for_workspace(place.id).get(user_id=place.person.id)
        target = Target("membership", str(membership.pk) if person == place.person.id else str(uuid7()))
        record(actor=place.admin, event=Event.MEMBER_ERASED, target=target)
        cursor.execute("SELECT audit.erase_person(%s, %s, %s, false)", [person, objects, text.encode()])
