import django.contrib.postgres.fields
from django.db import migrations, models

from audit import schema


class Migration(migrations.Migration):
    """The schema `audit`, whole. Before contenttypes', so that no table is ever made without it."""

    initial = True
    operations = [
        migrations.RunSQL(schema.install(), "DROP SCHEMA audit CASCADE"),
        # Not managed by Django: these only tell it how to read the tables made above.
        migrations.CreateModel(
            name="AuditDetail",
            fields=[
                ("event_id", models.UUIDField(primary_key=True, serialize=False)),
                ("workspace_id", models.UUIDField(null=True)),
                ("salt", models.BinaryField(null=True)),
                ("body", models.BinaryField(null=True)),
                ("media_type", models.TextField()),
                ("retention_class", models.TextField()),
                ("erased_at", models.DateTimeField(null=True)),
            ],
            options={"db_table": '"audit"."detail"', "managed": False},
        ),
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("workspace_id", models.UUIDField(null=True)),
                ("object_type", models.TextField()),
                ("object_id", models.TextField()),
                ("rev", models.BigIntegerField(null=True)),
                ("op", models.TextField()),
                ("changed", django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None)),
                ("action", models.TextField()),
                ("actor_id", models.TextField()),
                ("actor_type", models.TextField()),
                ("outcome", models.TextField()),
                ("risk", models.TextField()),
                ("run_id", models.UUIDField(null=True)),
                ("kid", models.TextField()),
                ("mac", models.BinaryField()),
                ("body", models.TextField()),
            ],
            options={"db_table": '"audit"."event"', "managed": False},
        ),
    ]
