import audit.governed
import django.contrib.postgres.fields
import django.db.models.functions.text
import provenance.ids
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='User',
            fields=[
                ('password', models.CharField(max_length=128, verbose_name='password')),
                ('audit_rev', models.BigIntegerField(default=0, editable=False)),
                ('audit_salt', models.BinaryField(default=audit.governed.new_salt)),
                ('id', models.UUIDField(default=provenance.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('last_sign_in_at', models.DateTimeField(null=True)),
                ('email', models.EmailField(max_length=254)),
                ('name', models.CharField(max_length=200)),
                ('theme', models.CharField(blank=True, choices=[('light', 'Light'), ('dark', 'Dark')], default='', max_length=5)),
                ('is_active', models.BooleanField(default=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(django.db.models.functions.text.Lower('email'), name='workspaces_user_email'), models.CheckConstraint(condition=models.Q(('theme__in', ['', 'light', 'dark'])), name='workspaces_user_theme')],
            },
        ),
        migrations.CreateModel(
            name='Blob',
            fields=[
                ('id', models.UUIDField(default=provenance.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('workspace_id', models.UUIDField(editable=False)),
                ('key', models.BinaryField(max_length=32)),
                ('codec', models.CharField(max_length=20)),
                ('size_bytes', models.BigIntegerField()),
                ('sealed', models.BinaryField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('workspace_id', 'key'), name='workspaces_blob_key')],
            },
        ),
        migrations.CreateModel(
            name='Control',
            fields=[
                ('id', models.UUIDField(default=provenance.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('workspace_id', models.UUIDField(editable=False)),
                ('audit_rev', models.BigIntegerField(default=0, editable=False)),
                ('audit_salt', models.BinaryField(default=audit.governed.new_salt)),
                ('scope_kind', models.CharField(max_length=20)),
                ('scope_id', models.CharField(max_length=200)),
                ('mode', models.CharField(max_length=10)),
                ('epoch', models.BigIntegerField()),
                ('by', models.CharField(max_length=100)),
                ('reason', models.CharField(max_length=1000)),
                ('engaged_at', models.DateTimeField()),
                ('released_at', models.DateTimeField(null=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('workspace_id', 'epoch'), name='workspaces_control_epoch'), models.UniqueConstraint(condition=models.Q(('released_at__isnull', True)), fields=('workspace_id', 'scope_kind', 'scope_id'), name='workspaces_control_engaged_once'), models.CheckConstraint(condition=models.Q(('scope_kind__in', ('workspace', 'environment', 'workflow', 'agent', 'server', 'tool', 'provider', 'key'))), name='workspaces_control_scope'), models.CheckConstraint(condition=models.Q(('mode__in', ('pause', 'terminate'))), name='workspaces_control_mode')],
            },
        ),
        migrations.CreateModel(
            name='Environment',
            fields=[
                ('id', models.UUIDField(default=provenance.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('workspace_id', models.UUIDField(editable=False)),
                ('audit_rev', models.BigIntegerField(default=0, editable=False)),
                ('audit_salt', models.BinaryField(default=audit.governed.new_salt)),
                ('name', models.CharField(choices=[('production', 'production'), ('staging', 'staging'), ('development', 'development')], max_length=20)),
                ('protected', models.BooleanField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('workspace_id', 'name'), name='workspaces_environment_name'), models.CheckConstraint(condition=models.Q(('name__in', ('production', 'staging', 'development'))), name='workspaces_environment_known'), models.CheckConstraint(condition=models.Q(models.Q(('name', 'production'), _negated=True), ('protected', True), _connector='OR'), name='workspaces_production_is_protected')],
            },
        ),
        migrations.CreateModel(
            name='Invitation',
            fields=[
                ('id', models.UUIDField(default=provenance.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('workspace_id', models.UUIDField(editable=False)),
                ('audit_rev', models.BigIntegerField(default=0, editable=False)),
                ('audit_salt', models.BinaryField(default=audit.governed.new_salt)),
                ('email', models.EmailField(max_length=254)),
                ('roles', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=20), size=None)),
                ('token_digest', models.CharField(max_length=64)),
                ('invited_by', models.UUIDField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('expires_at', models.DateTimeField()),
                ('accepted_at', models.DateTimeField(null=True)),
            ],
            options={
                'indexes': [models.Index(fields=['token_digest'], name='workspaces_invitation_lookup')],
                'constraints': [models.UniqueConstraint(fields=('workspace_id', 'token_digest'), name='workspaces_invitation_token'), models.CheckConstraint(condition=models.Q(('roles__contained_by', ['admin', 'editor', 'approver', 'auditor', 'viewer'])), name='workspaces_invitation_roles')],
            },
        ),
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.UUIDField(default=provenance.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('workspace_id', models.UUIDField(editable=False)),
                ('audit_rev', models.BigIntegerField(default=0, editable=False)),
                ('audit_salt', models.BinaryField(default=audit.governed.new_salt)),
                ('user_id', models.UUIDField()),
                ('roles', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('admin', 'admin'), ('editor', 'editor'), ('approver', 'approver'), ('auditor', 'auditor'), ('viewer', 'viewer')], max_length=20), size=None)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('removed_at', models.DateTimeField(null=True)),
                ('erased_at', models.DateTimeField(null=True)),
            ],
            options={
                'indexes': [models.Index(fields=['user_id'], name='workspaces_membership_of')],
                'constraints': [models.UniqueConstraint(fields=('workspace_id', 'user_id'), name='workspaces_membership_user'), models.CheckConstraint(condition=models.Q(('erased_at__isnull', True), ('removed_at__isnull', False), _connector='OR'), name='workspaces_membership_erased'), models.CheckConstraint(condition=models.Q(('roles__contained_by', ['admin', 'editor', 'approver', 'auditor', 'viewer'])), name='workspaces_membership_roles')],
            },
        ),
        migrations.CreateModel(
            name='Workspace',
            fields=[
                ('id', models.UUIDField(default=provenance.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('workspace_id', models.UUIDField(editable=False)),
                ('audit_rev', models.BigIntegerField(default=0, editable=False)),
                ('audit_salt', models.BinaryField(default=audit.governed.new_salt)),
                ('slug', models.SlugField(db_index=False, max_length=40)),
                ('name', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('slug',), name='workspaces_workspace_slug'), models.CheckConstraint(condition=models.Q(('id', models.F('workspace_id'))), name='workspaces_workspace_is_itself')],
            },
        ),
    ]
