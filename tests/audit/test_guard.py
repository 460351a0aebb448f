"""No change commits without a signed event about exactly that change (T08, M042)."""

from uuid import UUID

import pytest
from django.db import DatabaseError, connection, transaction

from audit.governed import NotRecorded
from audit.services import RowChange, Target, change_rows, create_rows, record
from audit.taxonomy import Event
from provenance.errors import StaleRevision
from provenance.ids import uuid7
from provenance.postgres.refusals import Refusal
from tests.databases import refused_at_commit


def commit():
    """What COMMIT would do, inside the transaction of a test: run every deferred check now."""
    connection.check_constraints()


def refused(*, says):
    return refused_at_commit(says)


@pytest.fixture
def make(probe, workspace):
    def make(**fields):
        return probe(workspace_id=workspace.id, **{"name": "one"} | fields)

    return make


@pytest.fixture
def saved(make, admin):
    row = make()
    row.save()
    record(actor=admin, event=Event.AGENT_CREATED, target=row)
    commit()
    return row


def set_sql(row, assignment, parameters=()):
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE probe SET {assignment} WHERE id = %s", [*parameters, row.pk])


def changed_in_sql(row, **facts):
    return RowChange(**{"type": "probe", "id": str(row.pk), "rev": row.audit_rev + 1, "op": "update"} | facts)


class TestWithTheirEvents:
    def test_a_row_is_created_changed_and_removed(self, make, admin, events):
        row = make()
        row.save()
        record(actor=admin, event=Event.AGENT_CREATED, target=row)
        row.name, row.size = "two", 0
        row.save()
        record(actor=admin, event=Event.AGENT_UPDATED, target=row)
        row.delete()
        record(actor=admin, event=Event.AGENT_RETIRED, target=row)
        commit()
        assert [(event.op, event.rev, event.changed) for event in events() if event.object_type == "probe"] == [
            ("insert", 1, []),
            ("update", 2, ["name"]),
            ("delete", 3, []),
        ]

    def test_many_rows_are_created_and_changed_at_once(self, make, admin, probe):
        create_rows(actor=admin, event=Event.AGENT_CREATED, rows=[make(name=str(n)) for n in range(20)])
        count = change_rows(actor=admin, event=Event.AGENT_UPDATED, rows=probe.objects.all(), values={"size": 7})
        commit()
        assert count == 20
        assert set(probe.objects.values_list("size", "audit_rev")) == {(7, 2)}

    def test_a_change_in_sql_is_covered_by_what_returning_told(self, saved, admin):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE probe SET size = size + 1 WHERE id = %s RETURNING audit_rev", [saved.pk])
            (rev,) = cursor.fetchone()
        record(actor=admin, event=Event.AGENT_UPDATED, target=changed_in_sql(saved, rev=rev, changed=["size"]))
        commit()

    def test_a_change_inside_json_is_noticed(self, saved, admin, events):
        saved.facts["nested"] = {"list": [1, 2]}
        saved.save()
        record(actor=admin, event=Event.AGENT_UPDATED, target=saved)
        commit()
        assert events(Event.AGENT_UPDATED)[-1].changed == ["facts"]


class TestRefusedAtCommit:
    def test_save(self, make):
        make().save()
        with refused(
            says=r"unaudited insert of public\.probe: id .*, revision 1: no event .* Call audit\.services\.record"
        ):
            pass

    def test_update(self, saved, probe):
        probe.objects.update(size=1)
        with refused(says="unaudited update"):
            pass

    def test_bulk_create(self, make, probe):
        probe.objects.bulk_create([make(), make()])
        with refused(says="unaudited insert"):
            pass

    def test_bulk_update(self, saved, probe):
        saved.size = 5
        probe.objects.bulk_update([saved], ["size"])
        with refused(says="unaudited update"):
            pass

    def test_update_or_create(self, saved, probe):
        probe.objects.update_or_create(pk=saved.pk, defaults={"size": 9})
        with refused(says="unaudited update"):
            pass

    def test_delete(self, saved, probe):
        probe.objects.filter(pk=saved.pk).delete()
        with refused(says="unaudited delete"):
            pass

    def test_raw_sql(self, saved):
        set_sql(saved, "size = 2")
        with refused(says="unaudited update"):
            pass

    def test_cascade_of_the_database(self, saved, make, admin):
        child = make(parent_id=saved.pk)
        child.save()
        record(actor=admin, event=Event.AGENT_CREATED, target=child)
        saved.delete()
        record(actor=admin, event=Event.AGENT_RETIRED, target=saved)
        with refused(says=f"unaudited delete of public.probe: id {child.pk}"):
            pass

    def test_the_second_of_two_changes(self, saved, admin):
        saved.size = 1
        saved.save()
        record(actor=admin, event=Event.AGENT_UPDATED, target=saved)
        set_sql(saved, "size = 2")
        with refused(says="revision 3: .* revision 2"):
            pass

    def test_event_in_a_rolled_back_savepoint(self, saved, admin):
        saved.size = 1
        saved.save()
        with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012  rolled back
            record(actor=admin, event=Event.AGENT_UPDATED, target=saved)
            raise ZeroDivisionError
        with refused(says="no event of this transaction|nearest to it is about the insert"):
            pass

    def test_event_of_another_object(self, saved, make, admin):
        set_sql(saved, "size = 1")
        record(actor=admin, event=Event.AGENT_UPDATED, target=changed_in_sql(saved, id=str(uuid7()), changed=["size"]))
        with refused(says="no event of this transaction|nearest to it is about the insert"):
            pass

    def test_event_of_another_type_of_object(self, saved, admin):
        set_sql(saved, "size = 1")
        record(actor=admin, event=Event.AGENT_UPDATED, target=changed_in_sql(saved, type="agent", changed=["size"]))
        with refused(says="its event names the object type agent"):
            pass

    def test_event_of_another_operation(self, saved, admin):
        set_sql(saved, "size = 1")
        record(actor=admin, event=Event.AGENT_UPDATED, target=changed_in_sql(saved, op="delete", changed=["size"]))
        with refused(says="its event says delete"):
            pass

    def test_event_that_names_fewer_columns_than_changed(self, saved, admin):
        set_sql(saved, "size = 1, name = 'quietly'")
        record(actor=admin, event=Event.AGENT_UPDATED, target=changed_in_sql(saved, changed=["size"]))
        with refused(says="names the changed columns {size}; others changed too"):
            pass

    def test_event_that_may_not_cover_this_table(self, saved, admin):
        set_sql(saved, "size = 1")
        record(actor=admin, event=Event.RUN_STARTED, target=changed_in_sql(saved, changed=["size"]))
        with refused(says="run.started is not on the list .* agent.created, agent.updated"):
            pass

    def test_event_of_another_workspace(self, saved, admin, other_workspace, stranger):
        """T08: a change in A must not ride on an unrelated event of B."""
        from provenance.db import scope

        set_sql(saved, "size = 1")
        with scope(other_workspace.id):
            record(actor=stranger, event=Event.AGENT_UPDATED, target=changed_in_sql(saved, changed=["size"]))
        with refused(says="another workspace"):
            pass

    def test_event_of_an_earlier_revision(self, saved, admin):
        set_sql(saved, "size = 1")
        record(actor=admin, event=Event.AGENT_UPDATED, target=changed_in_sql(saved, rev=1, changed=["size"]))
        with pytest.raises(Refusal):
            commit()
        transaction.set_rollback(True)

    def test_mere_reading_covers_nothing(self, saved, admin):
        set_sql(saved, "size = 1")
        record(actor=admin, event=Event.AGENT_UPDATED, target=Target("probe", str(saved.pk)))
        with refused(says="only of reading"):
            pass


class TestRefusedAtOnce:
    @pytest.mark.parametrize(
        "assignment",
        ["audit_rev = 99", "id = gen_random_uuid()", "audit_salt = 'x'::bytea"],
    )
    def test_columns_of_the_guard(self, saved, assignment):
        with pytest.raises((Refusal, StaleRevision)), transaction.atomic():
            set_sql(saved, assignment)

    @pytest.mark.parametrize(
        "statement",
        [
            "TRUNCATE probe",
            "ALTER TABLE probe DISABLE TRIGGER ALL",
            "SET session_replication_role = replica",
            "COPY probe FROM STDIN",
            "CREATE TEMP TABLE event (xid xid8)",
            "CREATE TABLE public.mine (a int)",
            "SET ROLE prov_owner",
            "DROP POLICY tenant ON probe",
        ],
    )
    def test_ways_round_it(self, saved, statement):
        with pytest.raises(DatabaseError) as refusal, transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
        assert refusal.value.__cause__.sqlstate in {"42501", "0A000"}, refusal.value

    def test_an_instance_is_saved_twice_before_its_event(self, make):
        row = make()
        row.save()
        with pytest.raises(NotRecorded, match=r"probe .* unrecorded insert \(revision 1\)"):
            row.save()
        transaction.set_rollback(True)

    @pytest.mark.django_db(transaction=True)
    def test_an_event_outside_of_a_transaction(self, admin):
        with pytest.raises(RuntimeError, match="transaction"):
            record(actor=admin, event=Event.AGENT_UPDATED, target=Target("probe", "1"))


class TestLostRaces:
    def test_saving_what_somebody_else_changed_is_a_conflict(self, saved, admin, probe):
        mine, theirs = probe.objects.get(pk=saved.pk), probe.objects.get(pk=saved.pk)
        theirs.size = 1
        theirs.save()
        record(actor=admin, event=Event.AGENT_UPDATED, target=theirs)
        mine.size = 2
        with pytest.raises(StaleRevision) as refusal, transaction.atomic():
            mine.save()
        assert refusal.value.status == 409
        assert "changed by somebody else" in refusal.value.message
        commit()


def test_the_owner_is_refused_too(saved):
    from tests import databases

    before = databases.become("prov_migrate")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL ROLE prov_owner")
        set_sql(saved, "size = 1")
        with refused(says="unaudited update"), transaction.atomic():
            pass
    finally:
        databases.become(before)


def test_a_row_of_a_workspace_stays_in_it(saved, other_workspace):
    with pytest.raises(Exception, match="stays in the workspace"), transaction.atomic():
        set_sql(saved, "workspace_id = %s", [other_workspace.id])


def test_actor_and_object_of_different_workspaces_are_refused(saved, stranger):
    saved.size = 1
    saved.save()
    with pytest.raises(Exception, match="different workspaces"):
        record(actor=stranger, event=Event.AGENT_UPDATED, target=saved)
    transaction.set_rollback(True)


def test_a_row_keeps_its_salt_and_its_state_is_reproducible(saved, probe):
    """T06: whoever loads the row computes the commitment that the newest event signed."""
    again = probe.objects.get(pk=saved.pk)
    assert isinstance(again.pk, UUID)
    assert again.state() == saved.state()
