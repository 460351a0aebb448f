import django.db.models.expressions
from django.db import migrations, models

import audit.governed
import provenance.ids
from audit.guard import Grant, GuardTable, TenantTable
from audit.retention.classes import RetentionClass
from audit.taxonomy import Event


class Migration(migrations.Migration):
    """Legal holds and how long details are kept, with their walls."""

    dependencies = [("audit", "0002_walls")]
    run_before = [("contenttypes", "0001_initial")]
    operations = [
        migrations.CreateModel(
            name="LegalHold",
            fields=[
                (
                    "id",
                    models.UUIDField(default=provenance.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                ("workspace_id", models.UUIDField(editable=False)),
                ("audit_rev", models.BigIntegerField(default=0, editable=False)),
                ("audit_salt", models.BinaryField(default=audit.governed.new_salt)),
                (
                    "scope_kind",
                    models.CharField(
                        choices=[("workspace", "workspace"), ("run", "run"), ("object", "object")], max_length=10
                    ),
                ),
                ("scope_id", models.CharField(max_length=200)),
                ("reason", models.CharField(max_length=1000)),
                ("engaged_by", models.CharField(max_length=100)),
                ("engaged_at", models.DateTimeField()),
                ("release_asked_by", models.CharField(blank=True, default="", max_length=100)),
                ("release_asked_at", models.DateTimeField(null=True)),
                ("released_by", models.CharField(blank=True, default="", max_length=100)),
                ("released_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("scope_kind__in", ("workspace", "run", "object"))), name="audit_hold_scope"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("released_at__isnull", True)),
                        fields=("workspace_id", "scope_kind", "scope_id"),
                        name="audit_hold_engaged_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("released_at__isnull", True),
                            models.Q(
                                models.Q(("release_asked_by", ""), _negated=True),
                                models.Q(("released_by", ""), _negated=True),
                                models.Q(
                                    ("released_by", django.db.models.expressions.F("release_asked_by")), _negated=True
                                ),
                            ),
                            _connector="OR",
                        ),
                        name="audit_hold_released_by_two",
                    ),
                ]
            },
        ),
        migrations.CreateModel(
            name="RetentionSetting",
            fields=[
                (
                    "id",
                    models.UUIDField(default=provenance.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                ("workspace_id", models.UUIDField(editable=False)),
                ("audit_rev", models.BigIntegerField(default=0, editable=False)),
                ("audit_salt", models.BinaryField(default=audit.governed.new_salt)),
                (
                    "retention_class",
                    models.CharField(choices=[(item.value, item.value) for item in RetentionClass], max_length=20),
                ),
                ("days", models.PositiveIntegerField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("workspace_id", "retention_class"), name="audit_retention_class_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("days__range", (1, 36525))), name="audit_retention_days"
                    ),
                ]
            },
        ),
        TenantTable("audit_legalhold"),
        GuardTable(
            "audit_legalhold",
            object_type="legal_hold",
            events=[Event.LEGAL_HOLD_ENGAGED, Event.LEGAL_HOLD_RELEASE_ASKED, Event.LEGAL_HOLD_RELEASED],
        ),
        Grant("audit_legalhold", web="select, insert, update", worker="select"),
        TenantTable("audit_retentionsetting"),
        GuardTable("audit_retentionsetting", object_type="retention_setting", events=[Event.RETENTION_CHANGED]),
        Grant("audit_retentionsetting", web="select, insert, update", worker="select"),
    ]
