from django.db import migrations

from audit import schema


class Migration(migrations.Migration):
    """Row security and rights of the log."""

    dependencies = [("audit", "0001_initial")]
    run_before = [("contenttypes", "0001_initial")]
    operations = [migrations.RunSQL(schema.walls(), migrations.RunSQL.noop)]
