"""Every table that a runtime role can write, times every verb: nothing commits without the event that says exactly it.

Tables, roles and verbs come from the catalog, so a table of tomorrow is attacked without anybody thinking of it (T08).
"""

import psycopg
import pytest

from provenance.ids import uuid7
from provenance.postgres.refusals import NOT_ACCEPTED
from provenance.roles import RUNTIME_ROLES
from tests import databases, factories
from tests.attacks.walls import SALT, governed_tables, siege

ROLES = ("web", "gateway", "worker")
REFUSED = {"PV001", "PV002", NOT_ACCEPTED}


def attempt(attack, role, workspace, write, event):
    """What COMMIT would answer: None when it would accept, else the SQLSTATE."""
    with attack.as_role(role):
        try:
            if event is not None:
                attack.enter(event.workspace_id or workspace)
                attack.store(event)
            attack.enter(workspace)
            write()
            attack.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.Error as refusal:
            return refusal.sqlstate
    return None


def writes(attack, wall, verb, columns, *, row_id, workspace, run_id):
    """The statement of one verb on one bare row."""
    if verb == "INSERT":
        values = {"id": row_id, "workspace_id": workspace, "audit_rev": 0, "audit_salt": SALT}
        if wall.of_run:
            values["run_id"] = run_id
        return lambda: attack.insert(wall.table, {name: value for name, value in values.items() if name in columns})
    if verb == "UPDATE":
        column = next(name for name in columns if name not in {"id", "workspace_id", "audit_rev", "audit_salt"})
        return lambda: attack.connection.execute(
            f'UPDATE {wall.table} SET "{column}" = DEFAULT WHERE id = %s', [row_id]
        )
    return lambda: attack.connection.execute(f"DELETE FROM {wall.table} WHERE id = %s", [row_id])


def store_before(role, wall, workspace, facts):
    """The very event that would do, committed by another transaction; gives its workspace something to find."""
    with siege() as attack, databases.login(role) as other, other.transaction():
        other.execute("SELECT set_config('app.workspace_id', %s, true)", [str(workspace or uuid7())])
        attack.connection = other
        attack.store(attack.sign(role, wall, workspace, **facts))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wall", governed_tables(), ids=lambda wall: wall.table)
def test_nothing_commits_without_its_event(wall):
    surprises, attacks = [], 0
    tenant, other_tenant, run_id = factories.make_workspace().id, factories.make_workspace().id, uuid7()
    workspace = None if wall.instance else tenant
    for role in ROLES:
        row_id, new_id = uuid7(), uuid7()
        with siege() as attack:
            possible = attack.writable_by(role, wall.table)
        told = {
            verb: {"id": str(new_id if verb == "INSERT" else row_id), "rev": 1 if verb == "INSERT" else 2}
            | {"op": verb.lower(), "run_id": run_id}
            for verb in possible
        }
        for facts in told.values():
            store_before(role, wall, workspace, facts)
        with siege() as attack:
            if possible:
                attack.strip(wall.table)
                attack.seed(wall.table, row_id, workspace, run_id)
            for verb, columns in possible.items():
                facts, rev = told[verb], told[verb]["rev"]
                subject = new_id if verb == "INSERT" else row_id
                write = writes(attack, wall, verb, columns, row_id=subject, workspace=tenant, run_id=run_id)
                wrong = {
                    "no event": None,
                    "another object": attack.sign(role, wall, workspace, **facts | {"id": str(uuid7())}),
                    "a later revision": attack.sign(role, wall, workspace, **facts | {"rev": rev + 1}),
                    "an earlier revision": attack.sign(role, wall, workspace, **facts | {"rev": rev - 1}),
                    "another operation": attack.sign(role, wall, workspace, **facts | {"op": "read"}),
                    "another type": attack.sign(role, wall, workspace, **facts | {"type": "other"}),
                    "another workspace": attack.sign(role, wall, other_tenant, **facts),
                }
                if wall.of_run:
                    wrong["another run"] = attack.sign(role, wall, workspace, **facts | {"run_id": uuid7()})
                answers = {name: attempt(attack, role, tenant, write, event) for name, event in wrong.items()}
                attacks += len(answers)
                surprises += [f"{role} {verb} {name}: {code}" for name, code in answers.items() if code not in REFUSED]
                # The control: with its event the same write would commit, so it was the event that was missing above.
                right = attack.sign(role, wall, workspace, **facts)
                if (code := attempt(attack, role, tenant, write, right)) is not None:
                    surprises.append(f"{role} {verb} with its event: {code}")
    assert not surprises
    assert attacks, f"no runtime role writes {wall.table}, so nothing was shown"


@pytest.mark.django_db(transaction=True)
def test_roles_without_a_process_of_this_kind_write_no_governed_table():
    with siege() as attack:
        for role in set(RUNTIME_ROLES) - set(ROLES):
            assert [wall.table for wall in governed_tables() if attack.writable_by(role, wall.table)] == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("role", RUNTIME_ROLES)
def test_no_role_truncates_or_disables_anything(role):
    """With a real sign-in, so that nothing of the test harness stands in between."""
    with databases.login(role) as attacker:
        for wall in governed_tables():
            for statement in (f"TRUNCATE {wall.table}", f"ALTER TABLE {wall.table} DISABLE TRIGGER ALL"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    attacker.execute(statement)
        for statement in (
            "SET session_replication_role = replica",
            "SET ROLE prov_owner",
            "CREATE TEMP TABLE t (a int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                attacker.execute(statement)
