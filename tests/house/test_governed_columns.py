"""After its first version a governed table grows by columns that are NULL, and changes in no other way (decision 0018)."""

import pytest
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader

from audit.guard import GuardTable

ROW_CHANGES = (
    migrations.AddField,
    migrations.AlterField,
    migrations.RemoveField,
    migrations.RenameField,
    migrations.RenameModel,
    migrations.AlterModelTable,
)


def breaks_commitments(operation):
    """Why rows that are there would not be believed after this operation on a governed table; None when they are."""
    if not isinstance(operation, ROW_CHANGES):
        return None
    if isinstance(operation, migrations.AddField):
        field = operation.field
        if field.many_to_many or (field.null and not field.has_default() and field.db_default is models.NOT_PROVIDED):
            return None
        return f"adds {operation.model_name}.{operation.name} with a value in every row; make it nullable, without a default"
    return f"{operation.describe()}: move the values by a service that tells each change"


def first_versions(graph):
    """The migrations with which an app's tables came: whatever they do, no row was there."""
    return {key for key, migration in graph.nodes.items() if migration.initial or key[1].startswith("0002_")}


def test_no_migration_takes_the_belief_from_rows():
    loader = MigrationLoader(None, ignore_no_migrations=True)
    governed = {
        operation.table
        for migration in loader.disk_migrations.values()
        for operation in migration.operations
        if isinstance(operation, GuardTable)
    }
    apps = loader.project_state().apps
    models_of = {(model._meta.app_label, model._meta.model_name): model._meta.db_table for model in apps.get_models()}
    assert governed <= set(models_of.values())
    later = {key: m for key, m in loader.graph.nodes.items() if key not in first_versions(loader.graph)}
    found = [
        f"{app}.{name}: {why}"
        for (app, name), migration in later.items()
        for operation in migration.operations
        if models_of.get((app, getattr(operation, "model_name", getattr(operation, "name", "")).lower())) in governed
        if (why := breaks_commitments(operation))
    ]
    assert not found


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (migrations.AddField("agent", "note", models.TextField(null=True)), None),
        (migrations.AddField("agent", "note", models.TextField(default="")), "make it nullable"),
        (migrations.AddField("agent", "note", models.TextField(null=True, db_default="x")), "make it nullable"),
        (migrations.AddField("agent", "note", models.TextField(null=True, default="x")), "make it nullable"),
        (migrations.RemoveField("agent", "note"), "tells each change"),
        (migrations.RenameField("agent", "note", "remark"), "tells each change"),
        (migrations.AlterField("agent", "note", models.CharField(max_length=9)), "tells each change"),
        (migrations.AddIndex("agent", models.Index(fields=["id"], name="x")), None),
    ],
)
def test_what_breaks_them(operation, why):
    told = breaks_commitments(operation)
    assert (told is None) if why is None else (why in told)
