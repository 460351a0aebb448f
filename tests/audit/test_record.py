"""What an event says, who may say it, and what the database does not accept (M042, T01)."""

import dataclasses
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
import pytest
from django.conf import settings
from django.db import DatabaseError, IntegrityError, ProgrammingError, connection, transaction

from audit.envelope import EventContext, build, storing
from audit.models import AuditDetail
from audit.services import Entry, ObjectFacts, Target, record, record_all, record_anonymous, record_denied
from audit.signing import KeyRing
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.ids import uuid7
from provenance.permissions import Permission
from provenance.postgres.refusals import EventNotAccepted
from provenance.risk import Risk

RUN = uuid7()


def signed_by(process, actor, workspace, **changes):
    return build(
        keys=KeyRing.from_settings(process),
        actor=actor,
        event=changes.pop("event", Event.RUN_STARTED),
        target=changes.pop("target", ObjectFacts(type="run", id=str(RUN))),
        workspace_id=workspace.id,
        detail={"input": "x"},
        **changes,
    )


def store(*events):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(*storing(events))


def refused(words):
    return pytest.raises(EventNotAccepted, match=words)


class TestContents:
    def test_personal_facts_stand_only_in_the_erasable_detail(self, admin, events):
        record(
            actor=dataclasses.replace(admin, label="Maya Lindqvist", ip="127.0.0.9"),
            event=Event.APPROVAL_APPROVED,
            target=Target("approval", "apr", label="Terms of V-10233"),
            reason="The amendment is signed",
            detail={"before": {"terms": "Net-30"}},
            context=EventContext(run_id=RUN, step="approve"),
        )
        (event,) = events(Event.APPROVAL_APPROVED)
        detail = AuditDetail.objects.get(pk=event.pk)
        assert detail.facts == {
            "actor_label": "Maya Lindqvist",
            "ip": "127.0.0.9",
            "object_label": "Terms of V-10233",
            "reason": "The amendment is signed",
            "before": {"terms": "Net-30"},
        }
        for secret in ("Maya", "127.0.0.9", "V-10233", "amendment", "Net-30"):
            assert secret not in event.body
        assert event.signed["context"] == {"run_id": str(RUN), "step": "approve"}
        assert event.run_id == RUN

    def test_the_body_commits_to_the_detail_with_its_salt(self, admin, events):
        record(actor=admin, event=Event.RUN_STARTED, target=Target("run", "1"), reason="why")
        (event,) = events(Event.RUN_STARTED)
        detail = AuditDetail.objects.get(pk=event.pk)
        committed = hmac.digest(bytes(detail.salt), bytes(detail.body), hashlib.sha256).hex()
        assert event.signed["detail"] == committed

    def test_the_mac_is_over_the_stored_bytes_under_the_workspaces_key(self, admin, workspace, events):
        record(actor=admin, event=Event.RUN_STARTED, target=Target("run", "1"))
        (event,) = events(Event.RUN_STARTED)
        key = KeyRing.from_settings("web").derived_keys(workspace.id)[event.kid]
        assert event.kid == "web-1"
        expected = hmac.digest(key, b"provenance-audit-v1\n" + event.body.encode(), hashlib.sha256)
        assert bytes(event.mac) == expected

    def test_nul_and_surrogates_are_replaced_and_the_body_says_so(self, admin, events):
        record(
            actor=admin,
            event=Event.MCP_TOOL_CALLED,
            target=Target("tool", "erp\0.get"),
            detail={"result": "a\0b\ud800", "ключ\0": 2**70},
        )
        (event,) = events(Event.MCP_TOOL_CALLED)
        assert event.signed["sanitized"] is True
        assert event.object_id == "erp\ufffd.get"
        facts = AuditDetail.objects.get(pk=event.pk).facts
        assert facts["result"] == "a\ufffdb\ufffd"
        assert facts["ключ\ufffd"] == str(2**70)

    def test_a_huge_result_is_clipped_and_a_deep_one_cut(self, admin, events):
        nested = []
        for _ in range(5000):
            nested = [nested]
        record(
            actor=admin,
            event=Event.MCP_TOOL_CALLED,
            target=Target("tool", "1"),
            detail={"result": "x" * 20_000_000, "nested": nested},
        )
        (event,) = events(Event.MCP_TOOL_CALLED)
        detail = AuditDetail.objects.get(pk=event.pk)
        assert len(detail.body) < 65_536
        assert detail.facts["clipped"]["size_bytes"] > 20_000_000

    def test_very_many_values_leave_only_the_labels(self, admin, events):
        record(
            actor=admin,
            event=Event.MCP_TOOL_CALLED,
            target=Target("tool", "1"),
            detail={str(n): n for n in range(20_000)},
        )
        (event,) = events(Event.MCP_TOOL_CALLED)
        facts = AuditDetail.objects.get(pk=event.pk).facts
        assert facts["actor_label"] == admin.label
        assert set(facts) == {"actor_label", "ip", "omitted"}

    def test_risk_is_raised_and_never_lowered(self, admin, events):
        target = Target("tool", "1")
        record(actor=admin, event=Event.MCP_TOOL_CALLED, target=target, risk=Risk.HIGH)
        record(actor=admin, event=Event.HALT_ENGAGED, target=target, risk=Risk.LOW)
        assert [event.risk for event in events(Event.MCP_TOOL_CALLED)] == [Risk.HIGH]
        assert [event.risk for event in events(Event.HALT_ENGAGED)] == [Risk.CRITICAL]

    def test_events_of_no_workspace_go_to_the_instance_log(self, workspace, events, instance_events):
        actor = Actor.system("door", None)
        record(actor=actor, event=Event.AUTH_LOGIN_FAILED, target=Target("user", "x"))
        assert not events(Event.AUTH_LOGIN_FAILED)
        assert instance_events(Event.AUTH_LOGIN_FAILED)[-1].workspace_id is None

    def test_several_events_are_one_statement(self, admin, round_trips, events):
        entries = [Entry(event=Event.RUN_STARTED, target=Target("run", str(n))) for n in range(50)]
        with round_trips() as sent:
            record_all(actor=admin, entries=entries)
            assert len(events(Event.RUN_STARTED)) == 50
        [query] = sent
        assert query.count("audit.store") == 1


class TestNotAccepted:
    def test_a_kid_of_another_process(self, admin, workspace, as_role):
        """T01: a worker cannot store a decision under web's key id, even if it had stolen the key."""
        forged = signed_by("web", admin, workspace, event=Event.APPROVAL_APPROVED)
        with as_role("worker"), refused("web-1 is not registered for prov_worker"):
            store(forged)

    def test_a_kid_that_nobody_has(self, admin, workspace):
        event = signed_by("web", admin, workspace)
        with refused("not registered"):
            store(dataclasses.replace(event, body=event.body.replace('"web-1"', '"web-9"')))

    @pytest.mark.parametrize("minutes", [-6, 6])
    def test_a_clock_that_is_wrong(self, admin, workspace, monkeypatch, minutes):
        wrong = datetime.now(UTC) + timedelta(minutes=minutes)
        event = signed_by("web", admin, workspace, now=wrong)
        with refused("more than 5 minutes from the clock of the database"):
            store(event)
        monkeypatch.setattr("audit.envelope.uuid7", lambda: _uuid7_at(wrong))
        with refused("the time in its id is more than 5 minutes"):
            store(signed_by("web", admin, workspace))

    @pytest.mark.parametrize("minutes", [-4, 4])
    def test_a_clock_that_is_nearly_right_is_accepted(self, admin, workspace, monkeypatch, minutes):
        nearly = datetime.now(UTC) + timedelta(minutes=minutes)
        monkeypatch.setattr("audit.envelope.uuid7", lambda: _uuid7_at(nearly))
        store(signed_by("web", admin, workspace, now=nearly))

    def test_a_replay(self, admin, workspace):
        event = signed_by("web", admin, workspace)
        store(event)
        with pytest.raises(IntegrityError):
            store(event)

    def test_another_workspace(self, admin, other_workspace):
        with refused("or has not entered it"):
            store(signed_by("web", admin, other_workspace))

    def test_a_body_of_more_than_8_kib(self, admin, workspace):
        event = signed_by("web", admin, workspace)
        body = orjson.loads(event.body) | {"on_behalf_of": "x" * 8192}
        with pytest.raises(IntegrityError):
            store(dataclasses.replace(event, body=orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()))

    @pytest.mark.parametrize("table", ["event", "detail"])
    @pytest.mark.parametrize("role", ["web", "gateway", "worker", "sealer", "retention", "audit_read"])
    def test_what_did_not_come_through_the_door(self, as_role, role, table):
        """Columns are taken from the signed body, so none can say anything else."""
        with as_role(role), connection.cursor() as cursor, pytest.raises(ProgrammingError, match="permission denied"):
            cursor.execute(f"INSERT INTO audit.{table} DEFAULT VALUES")

    def test_a_body_whose_detail_is_not_there_and_a_detail_of_which_no_body_tells(self, admin, workspace):
        event = signed_by("web", admin, workspace)
        untold = event.body.replace(event.detail.commitment(), "null").replace('"null"', "null")
        for alone in (dataclasses.replace(event, detail=None), dataclasses.replace(event, body=untold)):
            with refused("its detail did not come with it"):
                store(alone)

    @pytest.mark.parametrize("changed", ["'name'", '["na\\nme"]', '["na[me"]', '"name"', "{}", "[1]", "null"])
    def test_a_list_of_changes_that_no_columns_could_be(self, admin, workspace, changed):
        event = signed_by("web", admin, workspace, target=ObjectFacts(type="agent", id="x", rev=2, op="update"))
        body = event.body.replace('"changed":[]', f'"changed":{changed}')
        assert body != event.body
        with pytest.raises(DatabaseError):
            store(dataclasses.replace(event, body=body))


class TestNeverChanged:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE audit.event SET risk = 'low'",
            "DELETE FROM audit.event",
            "TRUNCATE audit.event",
            "UPDATE audit.detail SET body = NULL",
            "DELETE FROM audit.detail",
            "UPDATE audit.key SET db_role = 'prov_worker'",
            "INSERT INTO audit.key (kid, purpose, alg, db_role) VALUES ('web-2', 'event', 'HMAC-SHA256', 'prov_worker')",
            "SELECT audit.ensure_partitions()",
        ],
    )
    def test_by_the_web_role(self, workspace, statement):
        with pytest.raises(Exception, match="permission denied"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE audit.event SET risk = 'low'",
            "DELETE FROM audit.event",
            "TRUNCATE audit.event",
            "UPDATE audit.detail SET body = 'other'",
            "UPDATE audit.detail SET media_type = 'x', salt = NULL, body = NULL, erased_at = now()",
            "DELETE FROM audit.detail",
            "TRUNCATE audit.detail",
        ],
    )
    def test_by_the_owner_either(self, admin, statement):
        from tests import databases

        record(actor=admin, event=Event.RUN_STARTED, target=Target("run", "1"))
        before = databases.become("prov_migrate")
        try:
            with pytest.raises(Exception, match="written once"), transaction.atomic(), connection.cursor() as cursor:  # noqa: PT012  as the owner
                cursor.execute("SET LOCAL ROLE prov_owner")
                cursor.execute(statement)
        finally:
            databases.become(before)

    def test_partitions_cannot_be_reached(self, workspace):
        partition = f"audit.event_{datetime.now(UTC):%Y_%m}"
        for statement in (f"SELECT 1 FROM {partition}", f"INSERT INTO {partition} SELECT * FROM audit.event"):
            with (
                pytest.raises(Exception, match="permission denied"),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute(statement)


class TestRefusals:
    def test_a_denial_is_recorded_with_the_missing_permission(self, admin, events):
        record_denied(actor=admin, permission=Permission.AGENTS_WRITE, target=Target("route", "agents:edit"))
        (event,) = events(Event.AUTHZ_DENIED)
        assert (event.outcome, event.risk) == ("blocked", "high")
        assert AuditDetail.objects.get(pk=event.pk).facts["missing_permission"] == "agents:write"

    @pytest.mark.django_db
    def test_a_flood_of_strangers_becomes_a_handful_of_events(self, instance_events):
        """T26: the 1st, 10th, 100th, … refusal of a minute is an event, and its gap counts the others."""
        before = len(instance_events(Event.AUTH_LOGIN_FAILED))
        for _ in range(100):
            record_anonymous(event=Event.AUTH_LOGIN_FAILED, source="192.0.2.7", reason="wrong password")
        told = instance_events(Event.AUTH_LOGIN_FAILED)[before:]
        # A minute may turn during the test, which starts a count of its own.
        assert len(told) <= 6
        assert sum(event.signed["gap"] + 1 for event in told) == 100
        assert "192.0.2.7" not in "".join(event.body for event in told)

    @pytest.mark.django_db
    def test_what_a_past_minute_did_not_tell_is_told_with_the_next_refusal(self, instance_events):
        before = len(instance_events(Event.AUTH_LOGIN_FAILED))
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO audit.refusal VALUES ('192.0.2.8', date_trunc('minute', now()) - interval '5 minutes', "
                "'auth.login_failed', 7, 1)"
            )
        record_anonymous(event=Event.AUTH_LOGIN_FAILED, source="192.0.2.9")
        told = instance_events(Event.AUTH_LOGIN_FAILED)[before:]
        assert sorted(event.signed["gap"] for event in told) == [0, 5]


def test_the_taxonomys_page_is_the_one_in_the_documents():
    from audit.reference import event_reference

    page = settings.BASE_DIR / "docs" / "event-reference.md"
    assert page.read_text("utf-8") == event_reference(), "Run `./manage.py event_reference`."


def test_a_signed_body_is_canonical(admin, workspace):
    event = signed_by("web", admin, workspace)
    body = json.loads(event.body)
    assert json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False) == event.body


def _uuid7_at(moment):
    value = int(moment.timestamp() * 1000) << 80 | 0x7 << 76 | 0b10 << 62
    return UUID(int=value | uuid7().int & ((1 << 62) - 1))
