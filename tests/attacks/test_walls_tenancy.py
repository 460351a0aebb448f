"""With workspace B in scope no role sees a row of A, in any table, view or partition; with none in scope it is an error.

Tables and roles come from the catalog (T09-T11).
"""

import psycopg
import pytest

from audit.taxonomy import Event
from provenance.ids import uuid7
from provenance.roles import RUNTIME_ROLES
from tests import databases
from tests.attacks.walls import Wall, siege

# What a role may read although it belongs to no workspace, and why that shows nobody's data.
SHARED = {
    "public.django_migrations": "names of migrations",
    "public.django_content_type": "names of models",
    "public.auth_permission": "names of permissions, unused",
    "public.django_session": "of the browser that holds the key, which no row shows; web only",
    "public.account_emailaddress": "addresses of people, who belong to no workspace; web only, empty",
    "public.workspaces_user": "people belong to no workspace; web only (T07)",
    "public.workflows_leader": "which worker sweeps",
    "audit.key": "names of keys, no key",
    "audit.teller": "which process tells of which kind of change",
    "audit.leaf": "hashes, which say nothing of what they are of; the sealer only",
    "audit.tile": "hashes; the sealer only",
    "audit.sealer": "who seals; the sealer only",
    "audit.expired": "names of months that left the log",
    "audit.status": "how the sealer and its places are, of no workspace",
    "audit.timeline": "on which timelines calls may start (T27)",
    "audit.refusal": "counts of refused strangers; of the two doors, web and gateway",
}

READABLE = """
SELECT format('%%I.%%I', nspname, relname), relispartition,
       EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'workspace_id' AND NOT attisdropped)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname IN ('public', 'audit') AND relkind IN ('r', 'p', 'v', 'm', 'f')
  AND has_any_column_privilege(%s, pg_class.oid, 'SELECT')
ORDER BY 1
"""


def sqlstate(attack, statement):
    try:
        with attack.connection.transaction():
            attack.connection.execute(statement)
    except psycopg.Error as refusal:
        return refusal.sqlstate
    return None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("role", RUNTIME_ROLES)
def test_a_scope_shows_its_own_rows_and_no_others(role):
    with siege() as attack:
        ours, theirs = attack.home(), attack.home()
        readable = attack.rows(READABLE, RUNTIME_ROLES[role])
        assert [name for name, is_partition, _ in readable if is_partition] == []
        shared = {name for name, _, has_workspace in readable if not has_workspace}
        assert shared <= set(SHARED), "a table without workspace_id became readable"
        # The sealer works for every log at once, and reads nothing else of any workspace.
        everybodys = {"audit.event", "audit.carried", "audit.log", "audit.checkpoint"} if role == "sealer" else set()
        tenant_tables = [name for name, _, has_workspace in readable if has_workspace and name not in everybodys]
        assert role != "sealer" or not tenant_tables
        for table in tenant_tables:
            if table.startswith("audit."):
                continue
            attack.strip(table)
            for workspace in (ours, theirs) if table != "public.workspaces_workspace" else ():
                attack.seed(table, uuid7(), workspace)
        _log_something(attack, ours, theirs)
        with attack.as_role(role):
            attack.enter(ours)
            for table in tenant_tables:
                assert attack.rows(f"SELECT count(*) FROM {table}") == [(1,)], table
            attack.enter(None)
            for table in tenant_tables:
                assert sqlstate(attack, f"SELECT count(*) FROM {table}") == "PV003", table


def _log_something(attack, *workspaces):
    """One event with its detail in each workspace, under web's key id."""
    wall = Wall("", "run", (Event.RUN_STARTED,), instance=False)
    for workspace in workspaces:
        attack.connection.execute("SAVEPOINT log")
        attack.connection.execute("SET LOCAL SESSION AUTHORIZATION prov_web")
        attack.enter(workspace)
        attack.store(attack.sign("web", wall, workspace, id="1"))
        attack.connection.execute("SET LOCAL SESSION AUTHORIZATION prov_sealer")
        attack.connection.execute(
            "INSERT INTO audit.log (workspace_id, origin) VALUES (%s, %s)", [workspace, str(workspace)]
        )
        attack.connection.execute(
            "INSERT INTO audit.checkpoint (log_id, workspace_id, size, note, frontier)"
            " SELECT id, workspace_id, 1, 'x', 'x' FROM audit.log WHERE origin = %s",
            [str(workspace)],
        )
        attack.connection.execute("SET LOCAL SESSION AUTHORIZATION DEFAULT")
        # As if the month of the event had left the log.
        attack.connection.execute(
            "INSERT INTO audit.carried SELECT * FROM audit.event WHERE workspace_id = %s", [workspace]
        )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("role", ["web", "gateway", "worker"])
def test_nobody_writes_into_another_workspace(role):
    ours, theirs = uuid7(), uuid7()
    with siege() as attack:
        for table, _is_partition, has_workspace in attack.rows(READABLE, RUNTIME_ROLES[role]):
            verbs = attack.writable_by(role, table) if has_workspace and not table.startswith("audit.") else {}
            if not verbs:
                continue
            attack.strip(table)
            attack.seed(table, uuid7(), theirs)
            with attack.as_role(role):
                attack.enter(ours)
                if "INSERT" in verbs:
                    values = {"workspace_id": theirs} | {name: uuid7() for name in attack.keys(table)}
                    known = {name: value for name, value in values.items() if name in verbs["INSERT"]}
                    with pytest.raises(psycopg.Error) as refusal, attack.connection.transaction():
                        attack.insert(table, known)
                    assert refusal.value.sqlstate == "42501", table
                if "UPDATE" in verbs:
                    changed = attack.connection.execute(f'UPDATE {table} SET "{verbs["UPDATE"][-1]}" = DEFAULT')
                    assert changed.rowcount == 0, table
                if "DELETE" in verbs:
                    assert attack.connection.execute(f"DELETE FROM {table}").rowcount == 0, table


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("role", RUNTIME_ROLES)
def test_no_month_is_reached_past_its_table(role):
    """Row security stands on the tables alone: a month may be neither read nor written by its own name."""
    with databases.login(role) as attacker:
        months = attacker.execute(
            "SELECT format('%I.%I', relnamespace::regnamespace, relname) FROM pg_class WHERE relispartition AND relkind = 'r'"
        ).fetchall()
        assert {name.rsplit("_", 2)[0] for (name,) in months} == {
            *("audit.event", "audit.detail"),
            *(
                "public.workflows_step",
                "public.workflows_call",
                "public.workflows_message",
                "public.workflows_budgethold",
            ),
        }
        for (month,) in months:
            key = "event_id" if month.startswith("audit.detail") else "id"
            for statement in (
                f"SELECT {key} FROM {month}",
                f"INSERT INTO {month} ({key}) VALUES (gen_random_uuid())",
                f"UPDATE {month} SET {key} = gen_random_uuid()",
                f"DELETE FROM {month}",
                f"TRUNCATE {month}",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    attacker.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_the_instance_log_is_read_by_its_reader_alone():
    with siege() as attack:
        wall = Wall("", "user", (Event.AUTH_LOGIN_FAILED,), instance=True)
        with attack.as_role("web"):
            attack.store(attack.sign("web", wall, None, id="1"))
            attack.enter(uuid7())
            assert attack.rows("SELECT count(*) FROM audit.event") == [(0,)]
            attack.connection.execute("SET LOCAL SESSION AUTHORIZATION prov_audit_read")
            assert attack.rows("SELECT count(*) >= 1 FROM audit.event WHERE workspace_id IS NULL") == [(True,)]
        for role in ("gateway", "worker"):
            with attack.as_role(role):
                attack.enter(uuid7())
                with pytest.raises(psycopg.Error, match="tells no such thing to the log of the instance"):
                    attack.store(attack.sign(role, wall, None, id="1"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("role", ["web", "gateway", "worker"])
def test_copy_into_the_log_or_a_tenants_table_is_impossible(role):
    with databases.login(role) as attacker:
        for table in ("audit.event", "workflows_run"):
            with pytest.raises(psycopg.Error) as refusal, attacker.cursor().copy(f"COPY {table} FROM STDIN"):
                pass
            assert refusal.value.sqlstate in {"0A000", "42501"}
