"""The walls around every table: governed or exempt for a reason, keys that stay inside a workspace, one type per table."""

import pytest
from django.apps import apps
from django.db import connection, models

from audit.governed import Governed, GovernedInstance
from provenance.db import TenantForeignKey
from provenance.exempt import EXEMPT
from provenance.readiness import problems
from tests.attacks.walls import governed_tables

# Unique over all workspaces on purpose, because each is looked up before the workspace is known.
GLOBALLY_UNIQUE = {
    "workspaces_workspace": "the slug stands in addresses",
    "workspaces_invitation": "the digest of a random token",
    "apikeys_apikey": "the prefix of a key",
}


def rows(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


@pytest.mark.django_db
def test_this_database_would_serve():
    assert problems() == []


@pytest.mark.django_db
def test_every_table_is_governed_or_exempt_for_a_reason(capsys):
    tables = {name for (name,) in rows("""
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    """)}  # fmt: skip
    governed = {wall.table for wall in governed_tables()}
    assert tables == governed | set(EXEMPT)
    assert not governed & set(EXEMPT)
    with capsys.disabled():
        print("\nNot governed, and why:")  # noqa: T201  this list is for the reader of the tests
        for table, reason in sorted(EXEMPT.items()):
            print(f"  {table}: {reason}")  # noqa: T201  the same
    assert all(len(reason) > 20 for reason in EXEMPT.values())


@pytest.mark.django_db
def test_every_governed_model_has_its_guard_and_its_own_type():
    walls = {wall.table: wall for wall in governed_tables()}
    for model in apps.get_models():
        if issubclass(model, Governed | GovernedInstance):
            wall = walls[model._meta.db_table]
            assert (wall.object_type, wall.instance) == (model.object_type(), issubclass(model, GovernedInstance))
    types = [wall.object_type for wall in walls.values()]
    assert len(set(types)) == len(types), "two tables share a type of object: an event of one could cover the other"


@pytest.mark.django_db
def test_no_key_between_tenants_leaves_its_workspace():
    """T10: a plain foreign key lets B attach a row to A's despite row security."""
    found = rows("""
        SELECT conrelid::regclass::text, conname, confrelid::regclass::text,
               (SELECT attname FROM pg_attribute WHERE attrelid = conrelid AND attnum = conkey[1]),
               (SELECT attname FROM pg_attribute WHERE attrelid = confrelid AND attnum = confkey[1]),
               EXISTS (SELECT FROM pg_attribute WHERE attrelid = conrelid AND attname = 'workspace_id'),
               EXISTS (SELECT FROM pg_attribute WHERE attrelid = confrelid AND attname = 'workspace_id')
        FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace
    """)
    assert found
    for table, name, to, column, to_column, is_tenant, to_tenant in found:
        if is_tenant and to_tenant:
            assert (column, to_column) == ("workspace_id", "workspace_id"), f"{name} of {table} to {to}"
        assert is_tenant or not to_tenant, f"{table} of no workspace refers to rows of workspaces"


@pytest.mark.django_db
def test_every_tenant_reference_has_its_composite_key():
    keys = {(table, *columns, to) for table, columns, to in rows("""
        SELECT conrelid::regclass::text,
               ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS key (number, place)
                     JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY place),
               confrelid::regclass::text
        FROM pg_constraint WHERE contype = 'f'
    """)}  # fmt: skip
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, TenantForeignKey):
                columns = ["workspace_id", *([field.within] if field.within else []), field.column]
                assert (model._meta.db_table, *columns, field.related_model._meta.db_table) in keys
            elif isinstance(field, models.ForeignKey):
                assert "workspace_id" not in {item.column for item in model._meta.concrete_fields}, field


@pytest.mark.django_db
def test_what_is_unique_is_unique_within_its_workspace():
    """T10: a unique index over all workspaces tells one tenant what another has."""
    found = rows("""
        SELECT indrelid::regclass::text, indexrelid::regclass::text,
               (SELECT attname FROM pg_attribute WHERE attrelid = indrelid AND attnum = indkey[0])
        FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
        WHERE relnamespace = 'public'::regnamespace AND indisunique AND NOT indisprimary
          AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = indrelid AND attname = 'workspace_id')
    """)
    for table, index, first in found:
        assert first == "workspace_id" or table in GLOBALLY_UNIQUE, f"{index} of {table} starts with {first}"
