"""A superuser drops a governed table or makes it unreadable: a reconciliation says so, and goes on with the others."""

import json
from contextlib import contextmanager

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from audit.taxonomy import Event
from provenance.db import enter
from tests import databases, factories
from tests.gateway.world import unguarded

pytestmark = pytest.mark.django_db(transaction=True)

MEMBERS = "workspaces_membership"
UNREADABLE = {
    "no table": (
        f"ALTER TABLE {MEMBERS} RENAME TO elsewhere; CREATE VIEW {MEMBERS} AS SELECT * FROM elsewhere",
        f"DROP VIEW {MEMBERS}; ALTER TABLE elsewhere RENAME TO {MEMBERS}",
        "is none any more: something else has its name",
    ),
    "not readable": (
        f"ALTER TABLE {MEMBERS} OWNER TO CURRENT_USER; REVOKE ALL ON {MEMBERS} FROM prov_owner",
        f"ALTER TABLE {MEMBERS} OWNER TO prov_owner",
        "cannot be read by who owns it",
    ),
    "no id": (
        f"ALTER TABLE {MEMBERS} RENAME id TO other",
        f"ALTER TABLE {MEMBERS} RENAME other TO id",
        "has no column id any more",
    ),
}


@contextmanager
def done(statement, undo):
    with databases.admin() as administrator:
        administrator.execute(statement)
        try:
            yield
        finally:
            administrator.execute(undo)


@pytest.fixture
def place(transactional_db):
    made = factories.make_workspace()
    factories.make_member(made, roles={"admin"})
    return made


@pytest.fixture
def reconcile(settings, capsys):
    """The command's report and exit code."""
    settings.MIGRATOR_DATABASE_URL = databases.role_url("migrate")

    def run():
        with pytest.raises(SystemExit) as ended:
            call_command("reconcile", "--json")
        return json.loads(capsys.readouterr().out), ended.value.code

    return run


def told():
    """What the log of the instance was told."""
    with transaction.atomic():
        (event,) = factories.instance_events(Event.AUDIT_VERIFICATION_FAILED)
    return event


def test_a_table_that_is_gone_is_an_alarm_with_every_row_that_it_had(place, reconcile):
    with unguarded("workspaces_workspace") as administrator:
        administrator.execute("UPDATE workspaces_workspace SET name = 'Mine'")
    with done(f"ALTER TABLE {MEMBERS} RENAME TO elsewhere", f"ALTER TABLE elsewhere RENAME TO {MEMBERS}"):
        report, code = reconcile()
    assert code == 1
    (problem,) = report["problems"]
    assert problem.startswith(f"The table {MEMBERS} is gone. Find out who was at work")
    assert {(found["table"], found["problem"]) for found in report["findings"]} == {
        (MEMBERS, "it is not there: it was deleted after revision 1"),
        ("workspaces_workspace", "its columns are not those that were signed with revision 1"),
    }
    assert told().outcome == "failure"
    with enter(place.id):
        assert factories.events(Event.AUDIT_ROW_ALTERED)


@pytest.mark.parametrize(("statement", "undo", "words"), UNREADABLE.values(), ids=list(UNREADABLE))
def test_a_table_that_cannot_be_read_is_an_alarm_and_stops_no_other(place, reconcile, statement, undo, words):
    with done(statement, undo):
        report, code = reconcile()
    assert (code, report["altered"]) == (1, 0)
    (problem,) = report["problems"]
    assert problem.startswith(f"The table {MEMBERS} {words}. ")
    assert report["rows"] == 5
    assert told()


@pytest.mark.parametrize("table", [MEMBERS, "audit.event"])
def test_a_table_that_may_hide_rows_from_its_owner_is_compared_with_nothing(place, settings, table):
    """A row that was slipped in would be hidden, or the newest event of one that was set back."""
    settings.MIGRATOR_DATABASE_URL = databases.role_url("migrate")
    hides = f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY; CREATE POLICY own ON {table} TO prov_owner USING (true)"
    shows = f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY; DROP POLICY own ON {table}"
    with done(hides, shows), pytest.raises(CommandError, match="would be affected by row-level security") as refused:
        call_command("reconcile")
    assert refused.value.returncode == 2


def test_what_cannot_be_told_to_the_log_is_said_all_the_same(place, reconcile):
    gone = "; ".join(f"ALTER TABLE {name} RENAME TO gone_{name}" for name in ("workspaces_workspace", MEMBERS))
    back = "; ".join(f"ALTER TABLE gone_{name} RENAME TO {name}" for name in ("workspaces_workspace", MEMBERS))
    with done(gone, back):
        report, code = reconcile()
    assert code == 1
    assert [problem.split(".")[0] for problem in report["problems"]] == [
        f"The table {MEMBERS} is gone",
        "The table workspaces_workspace is gone",
        'The log was not told: relation "public',
    ]
