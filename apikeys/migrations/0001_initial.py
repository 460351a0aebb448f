import audit.governed
import datetime
import django.contrib.postgres.fields
import django.db.models.expressions
import provenance.ids
import provenance.permissions
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.UUIDField(default=provenance.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('workspace_id', models.UUIDField(editable=False)),
                ('audit_rev', models.BigIntegerField(default=0, editable=False)),
                ('audit_salt', models.BinaryField(default=audit.governed.new_salt)),
                ('name', models.CharField(max_length=100)),
                ('prefix', models.CharField(max_length=8)),
                ('digest', models.CharField(max_length=64)),
                ('scopes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=20), size=None)),
                ('owner_user_id', models.UUIDField()),
                ('agent_id', models.UUIDField(null=True)),
                ('environment', models.CharField(default='production', max_length=20)),
                ('created_at', models.DateTimeField()),
                ('expires_at', models.DateTimeField()),
                ('revoked_at', models.DateTimeField(null=True)),
                ('revoked_reason', models.CharField(blank=True, default='', max_length=1000)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('prefix',), name='apikeys_key_prefix'), models.CheckConstraint(condition=models.Q(('scopes__contained_by', [provenance.permissions.Permission['AGENTS_READ'], provenance.permissions.Permission['AGENTS_WRITE'], provenance.permissions.Permission['APPROVALS_READ'], provenance.permissions.Permission['APPROVALS_WRITE'], provenance.permissions.Permission['AUDIT_READ'], provenance.permissions.Permission['BUS_PUBLISH'], provenance.permissions.Permission['BUS_SUBSCRIBE'], provenance.permissions.Permission['GATEWAY_READ'], provenance.permissions.Permission['GATEWAY_WRITE'], provenance.permissions.Permission['RUNS_READ'], provenance.permissions.Permission['RUNS_WRITE'], provenance.permissions.Permission['SECRETS_WRITE'], provenance.permissions.Permission['SKILLS_READ'], provenance.permissions.Permission['SKILLS_WRITE'], provenance.permissions.Permission['WORKFLOWS_READ'], provenance.permissions.Permission['WORKFLOWS_WRITE']]), models.Q(('scopes', []), _negated=True)), name='apikeys_key_scopes'), models.CheckConstraint(condition=models.Q(('expires_at__lte', django.db.models.expressions.CombinedExpression(models.F('created_at'), '+', models.Value(datetime.timedelta(days=365), models.DurationField())))), name='apikeys_key_expires')],
            },
        ),
        migrations.CreateModel(
            name='ApiKeyUse',
            fields=[
                ('id', models.UUIDField(default=provenance.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('workspace_id', models.UUIDField(editable=False)),
                ('key_id', models.UUIDField()),
                ('last_used_at', models.DateTimeField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('workspace_id', 'key_id'), name='apikeys_use_key')],
            },
        ),
    ]
