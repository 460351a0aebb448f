"""Lost races, seen at COMMIT and before, with real transactions side by side."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection, connections

from audit.services import RowChange, record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import enter
from provenance.errors import StaleRevision
from tests.audit.sealing import WORKSPACE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE)]

SYSTEM = Actor.system("race", WORKSPACE)


def elsewhere(work):
    """Run it in another thread, and so in another connection and transaction."""

    def run():
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def change(model, row_id, **fields):
    with enter(WORKSPACE):
        row = model.objects.get(pk=row_id)
        for name, value in fields.items():
            setattr(row, name, value)
        row.save()
        record(actor=SYSTEM, event=Event.AGENT_UPDATED, target=row)


def test_a_stale_revision_is_a_conflict_where_commit_is(probe, row):
    """SQL of one's own that expected revision 2 while somebody else made it: refused by COMMIT itself, as 409."""
    with pytest.raises(StaleRevision) as refusal, enter(WORKSPACE):  # noqa: PT012  COMMIT is what raises
        expected = probe.objects.get(pk=row.pk).audit_rev + 1
        elsewhere(lambda: change(probe, row.pk, size=1))
        with connection.cursor() as cursor:
            cursor.execute("UPDATE probe SET size = 2 WHERE id = %s", [row.pk])
        told = RowChange(type="probe", id=str(row.pk), rev=expected, op="update", changed=["size"])
        record(actor=SYSTEM, event=Event.AGENT_UPDATED, target=told)
    assert refusal.value.status == 409
    assert "it is revision 3" in refusal.value.message
    with enter(WORKSPACE):
        assert probe.objects.values_list("size", "audit_rev").get() == (1, 2)


def test_a_refusal_at_commit_leaves_the_connection_usable(probe, row):
    with pytest.raises(Exception, match="unaudited update"), enter(WORKSPACE):
        probe.objects.update(size=5)
    with enter(WORKSPACE):
        assert probe.objects.get().size == 0


def test_of_many_at_once_each_wins_or_is_told_and_no_revision_is_missing(probe, row, events):
    start = Barrier(4)

    def compete(number):
        won = 0
        start.wait()
        for turn in range(10):
            try:
                change(probe, row.pk, size=number * 100 + turn)
                won += 1
            except StaleRevision:
                pass
        connections.close_all()
        return won

    with ThreadPoolExecutor(4) as pool:
        won = sum(pool.map(compete, range(4)))
    with enter(WORKSPACE):
        told = [event.rev for event in events() if event.object_id == str(row.pk)]
        assert told == sorted(told)
        assert probe.objects.get().audit_rev == won + 1 == len(told)
        assert set(told) == set(range(1, won + 2))
