"""How commands on the host read logs: the one role that reads that of the instance, and which workspace a name means."""

from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings
from django.core.management.base import CommandError

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


def workspace_named(connection: psycopg.Connection[Any], name: str) -> UUID:
    """The workspace with this id or short name. An id is taken as it is: logs outlive their workspaces.

    Which workspace a short name means is the database's word, so whoever asks shows the id. Raises `CommandError`.
    """
    try:
        return UUID(name)
    except ValueError:
        found = connection.execute("SELECT workspace_id FROM public.workspaces_of_slug(%s)", [name]).fetchone()
    if found is None:
        raise CommandError(f"There is no workspace {name!r}. Give its short name, as in its addresses, or its id.")
    return UUID(str(found[0]))
