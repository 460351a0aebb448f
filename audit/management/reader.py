"""The one role that reads the log of the instance, for commands on the host; nothing that serves signs in as it."""

from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings

from provenance.postgres.names import signed_in


def instance_reader(*, autocommit: bool = False) -> psycopg.Connection[Any]:
    """A connection that sees the log of the instance, and nothing of any workspace. Raises psycopg.Error."""
    database, password = settings.DATABASES["default"], settings.HOME.read_key("db-prov_audit_read")
    url = psycopg.conninfo.make_conninfo(
        host=database["HOST"],
        port=database["PORT"] or None,
        dbname=database["NAME"],
        user="prov_audit_read",
        password=password,
    )
    reader = signed_in(url, autocommit=autocommit)
    # Rows of workspaces lie between those of the instance: in the scope of none of them they are not seen.
    reader.execute("SELECT set_config('app.workspace_id', %s, false)", [str(UUID(int=0))])
    return reader
