"""Every governed row against the log: what a database administrator touched is named, and nothing else (goal 15)."""

import json

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from audit.attestation import LoadedRow, difference
from audit.judging import StoredEvent
from audit.services import record
from audit.taxonomy import Event
from audit.verifying.reconcile import governed_tables, reconcile
from provenance.db import enter
from tests import databases, factories
from tests.audit.sealing import all_keys
from tests.gateway.world import on_another_timeline, unguarded
from workspaces import services as people
from workspaces.models import User

pytestmark = pytest.mark.django_db(transaction=True)

MEMBERS = "workspaces_membership"
PROVIDERS = "agents_modelprovider"


@pytest.fixture
def tenant(transactional_db):
    class Tenant:
        workspace = factories.make_workspace()
        admin = factories.make_member(workspace, roles={"admin"})
        viewer = factories.make_member(workspace, roles={"viewer"})

    with enter(Tenant.workspace.id):
        people.change_roles(actor=Tenant.admin, user_id=Tenant.viewer.id, roles=["viewer", "auditor"])
    return Tenant


def found(**options):
    """What a reconciliation finds: table and problem of each row."""
    with databases.admin() as owner:
        owner.execute("SET ROLE prov_owner")
        report = reconcile(owner, all_keys(), **options)
    return [(table, altered.problem) for table, altered in report.findings], report


def administrator(statement, *parameters):
    with unguarded(*(table.name for table in governed_tables()), "audit.event") as owner:
        assert owner.execute(statement, parameters).rowcount


def test_what_services_wrote_is_what_the_log_says(tenant):
    problems, report = found()
    assert problems == []
    # Two accounts, a workspace with three environments, two members.
    assert (report.rows, report.altered, report.by_revision) == (8, 0, 0)


VIEWER = "user_id = (SELECT id FROM workspaces_user ORDER BY id DESC LIMIT 1)"
ATTACKS = [
    (
        f"UPDATE workspaces_membership SET roles = '{{admin}}' WHERE {VIEWER}",
        MEMBERS,
        "its columns are not those that were signed with revision 2",
    ),
    (
        f"UPDATE workspaces_membership SET roles = '{{viewer}}', audit_rev = 1 WHERE {VIEWER}",
        MEMBERS,
        "it is at revision 1 and the log at 2: it was put back",
    ),
    (
        f"UPDATE workspaces_membership SET audit_rev = 3 WHERE {VIEWER}",
        MEMBERS,
        "it is at revision 3 and the log at 2: a change has no event",
    ),
    *(
        (
            f"UPDATE workspaces_membership SET removed_at = '{moment}' WHERE {VIEWER}",
            MEMBERS,
            "its columns are not those that were signed with revision 2",
        )
        for moment in ("infinity", "0044-03-15 12:00 BC")
    ),
    (f"DELETE FROM workspaces_membership WHERE {VIEWER}", MEMBERS, "it is not there: it was deleted after revision 2"),
    (
        (
            "INSERT INTO workspaces_membership SELECT gen_random_uuid(), audit_rev, audit_salt, workspace_id,"
            " gen_random_uuid(), '{admin}', created_at, removed_at FROM workspaces_membership LIMIT 1"
        ),
        MEMBERS,
        "no signed event is about it: it was added",
    ),
    (
        f"UPDATE workspaces_membership SET workspace_id = gen_random_uuid() WHERE {VIEWER}",
        MEMBERS,
        "its newest event is of another workspace",
    ),
    (
        "UPDATE audit.event SET body = replace(body, 'success', 'failure') WHERE action = 'member.role_changed'",
        MEMBERS,
        "its newest event is not genuine: the signature does not hold",
    ),
    (
        (
            "UPDATE workspaces_user SET password = (SELECT password FROM workspaces_user ORDER BY id LIMIT 1)"
            " WHERE id = (SELECT id FROM workspaces_user ORDER BY id DESC LIMIT 1)"
        ),
        "workspaces_user",
        "its columns are not those that were signed with revision 1",
    ),
    (
        "UPDATE workspaces_workspace SET name = 'Mine'",
        "workspaces_workspace",
        "its columns are not those that were signed with revision 1",
    ),
]


@pytest.mark.parametrize(
    ("statement", "table", "problem"), ATTACKS, ids=[problem[:50] + table[-4:] for _s, table, problem in ATTACKS]
)
def test_each_row_that_an_administrator_touched_is_named(tenant, statement, table, problem):
    columns = "id, audit_rev, audit_salt, workspace_id, user_id, roles, created_at, removed_at"
    administrator(
        statement.replace("INTO workspaces_membership SELECT", f"INTO workspaces_membership ({columns}) SELECT")
    )
    problems, report = found()
    assert problems == [(table, problem)]
    assert report.altered == 1


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("audit_salt", None, "its columns are not those that were signed with revision 1"),
        ("audit_rev", None, "it is at revision 0 and the log at 1: it was put back"),
        ("capabilities", "1.5", "its columns are not those that were signed with revision 1"),
        ("capabilities", "9" * 5000, "its columns are not those that were signed with revision 1"),
        ("capabilities", f"[{'9' * 400}]", "its columns are not those that were signed with revision 1"),
        ("capabilities", "[" * 300 + "]" * 300, "its columns are not those that were signed with revision 1"),
        ("capabilities", "[" * 700 + "]" * 700, "its columns are not those that were signed with revision 1"),
        ("capabilities", "[" * 9000 + "]" * 9000, "its columns are not those that were signed with revision 1"),
        ("capabilities", json.dumps("{}"), "its columns are not those that were signed with revision 1"),
    ],
)
def test_a_row_that_no_service_could_have_written_hides_no_other(tenant, column, value, problem):
    with enter(tenant.workspace.id):
        factories.make_provider(tenant.admin)
    with databases.admin() as owner:
        owner.execute(f"ALTER TABLE {PROVIDERS} ALTER audit_salt DROP NOT NULL, ALTER audit_rev DROP NOT NULL")
    try:
        administrator("UPDATE workspaces_workspace SET name = 'Mine'")
        administrator(f"UPDATE {PROVIDERS} SET {column} = %s", value)
        problems, _report = found()
    finally:
        administrator(f"DELETE FROM {PROVIDERS}")
        with databases.admin() as owner:
            owner.execute(f"ALTER TABLE {PROVIDERS} ALTER audit_salt SET NOT NULL, ALTER audit_rev SET NOT NULL")
    changed = ("workspaces_workspace", "its columns are not those that were signed with revision 1")
    assert problems == [(PROVIDERS, problem), changed]


@pytest.mark.parametrize(
    ("change", "back", "problem"),
    [
        ("RENAME audit_salt TO salt", "RENAME salt TO audit_salt", "its columns are not those"),
        ("RENAME audit_rev TO rev", "RENAME rev TO audit_rev", "it is at revision 0 and the log at 1"),
        ("ALTER audit_rev TYPE text", "ALTER audit_rev TYPE bigint USING audit_rev::bigint", "it is at revision 0 and"),
    ],
)
def test_nor_does_a_table_without_what_its_guard_keeps_there(tenant, change, back, problem):
    with enter(tenant.workspace.id):
        factories.make_provider(tenant.admin)
    with databases.admin() as owner:
        owner.execute(f"ALTER TABLE {PROVIDERS} {change}")
        try:
            problems, _report = found()
        finally:
            owner.execute(f"ALTER TABLE {PROVIDERS} {back}")
    ((table, words),) = problems
    assert table == PROVIDERS
    assert words.startswith(problem)


def test_an_event_about_nothing_stops_no_reconciliation(tenant):
    with databases.admin() as owner:
        owner.execute("ALTER TABLE audit.event ALTER object_id DROP NOT NULL")
        try:
            administrator("UPDATE audit.event SET object_id = NULL WHERE action = 'workspace.created'")
            problems, _report = found()
        finally:
            administrator("DELETE FROM audit.event WHERE object_id IS NULL")
            owner.execute("ALTER TABLE audit.event ALTER object_id SET NOT NULL")
    assert problems == [("workspaces_workspace", "no signed event is about it: it was added")]


def test_a_row_of_which_a_column_could_not_be_loaded_is_not_the_one_that_was_signed():
    """Whoever owns the table can take a column away, and a model then leaves it to be loaded later."""
    newest = StoredEvent(**(dict.fromkeys(StoredEvent._fields) | {"rev": 1, "op": "update"}))
    row = LoadedRow("membership", "1", None, rev=1, state=None)
    assert difference(row, newest, "ab" * 32) == "its columns are not those that were signed with revision 1"
    assert difference(row, newest, None) == ""


def test_the_first_and_the_last_row_of_the_order_are_no_exception(tenant):
    administrator("DELETE FROM workspaces_environment")
    administrator("DELETE FROM workspaces_workspace")
    problems, _report = found()
    assert [table for table, _problem in problems] == ["workspaces_environment"] * 3 + ["workspaces_workspace"]


def test_a_row_that_was_deleted_by_a_service_is_not_missed(tenant):
    """The log says that it is gone, and it is gone; put back past the log it is found."""
    from secrets_vault.models import SecretBinding
    from secrets_vault.services import Binding, create_secret

    with enter(tenant.workspace.id):
        create_secret(
            actor=tenant.admin,
            name="s",
            value="v" * 20,
            bindings=[Binding("https://a.example.com", "header:X")],
            access="read",
        )
        binding = SecretBinding.objects.get()
        copy = {field.column: getattr(binding, field.attname) for field in SecretBinding._meta.concrete_fields}
        binding.delete()
        record(actor=tenant.admin, event=Event.SECRET_UNBOUND, target=binding)
    assert found()[0] == []
    names = ", ".join(copy)
    administrator(
        f"INSERT INTO secrets_vault_secretbinding ({names}) VALUES ({', '.join(['%s'] * len(copy))})", *copy.values()
    )
    assert found()[0] == [("secrets_vault_secretbinding", "it was deleted with revision 2")]


def test_a_change_that_commits_meanwhile_is_no_false_alarm(tenant):
    def meanwhile(_table, _rows):
        with transaction.atomic():
            user = User.objects.get(pk=tenant.viewer.id)
            user.theme = "light" if user.theme == "dark" else "dark"
            user.save(update_fields=["theme"])
            record(actor=factories.host(), event=Event.USER_UPDATED, target=user)

    assert found(progress=meanwhile)[0] == []


def test_a_table_alone_is_compared_alone(tenant):
    administrator("UPDATE workspaces_workspace SET name = 'Mine'")
    only = [table for table in governed_tables() if table.name == MEMBERS]
    problems, report = found(tables=only)
    assert (problems, report.rows) == ([], 2)


# --- The command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(settings, capsys):
    """Run the command as the set-up role would; its output and exit code."""
    settings.MIGRATOR_DATABASE_URL = databases.role_url("migrate")

    def run(*arguments):
        try:
            call_command("reconcile", *arguments)
        except SystemExit as ended:
            return capsys.readouterr().out, ended.code
        return capsys.readouterr().out, 0

    return run


def test_the_command_names_the_rows_ends_with_1_and_tells_the_log(tenant, command):
    output, code = command()
    assert (output.splitlines()[-1], code) == ("Every row is what the log says.", 0)
    administrator(f"UPDATE workspaces_membership SET roles = '{{admin}}' WHERE {VIEWER}")
    output, code = command()
    assert code == 1
    assert "workspaces_membership" in output.splitlines()[0]
    assert output.splitlines()[-1] == "1 differ from the log."
    with enter(tenant.workspace.id):
        (event,) = factories.events(Event.AUDIT_ROW_ALTERED)
    assert (event.risk, event.object_type, event.outcome) == ("critical", "membership", "failure")


def test_the_report_as_json_has_counts_and_findings(tenant, command):
    administrator("UPDATE workspaces_workspace SET name = 'Mine'")
    output, code = command("--json", "--table", "workspaces_workspace")
    report = json.loads(output)
    assert (code, report["rows"], report["altered"]) == (1, 1, 1)
    assert report["findings"] == [
        {
            "table": "workspaces_workspace",
            "workspace": str(tenant.workspace.id),
            "type": "workspace",
            "id": str(tenant.workspace.id),
            "revision": 1,
            "problem": "its columns are not those that were signed with revision 1",
        }
    ]


def test_what_cannot_be_compared_is_no_success(command, settings):
    with pytest.raises(CommandError, match="no governed table") as refused:
        call_command("reconcile", "--table", "audit_event")
    assert refused.value.returncode == 2
    settings.MIGRATOR_DATABASE_URL = databases.role_url("migrate", "nowhere")
    with pytest.raises(CommandError, match=r"Nothing was compared: .* Start it: \./manage\.py up") as refused:
        call_command("reconcile")
    assert refused.value.returncode == 2


@pytest.mark.parametrize("more", [["--reason", " "], ["--reason", "Looked.", "--table", MEMBERS]])
def test_a_timeline_is_reconciled_as_a_whole_and_for_a_reason(command, more):
    with on_another_timeline():
        with pytest.raises(CommandError, match="Give a reason") as refused:
            call_command("reconcile", *more)
        assert refused.value.returncode == 2
        output, code = command("--json")
        assert (code, json.loads(output)["timeline"]["reconciled"]) == (0, False)


def test_the_reason_for_a_timeline_that_is_reconciled_is_not_kept(command):
    output, code = command("--reason", "Looked.")
    assert (code, "is reconciled already" in output) == (0, True)
    with transaction.atomic():
        assert not factories.instance_events(Event.AUDIT_TIMELINE_RECONCILED)


def test_no_process_that_serves_may_see_what_it_sees(tenant):
    with psycopg.connect(databases.role_url("web")) as web, pytest.raises(psycopg.errors.InsufficientPrivilege):
        web.execute("SET ROLE prov_owner")
