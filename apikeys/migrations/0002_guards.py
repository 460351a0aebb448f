"""Row security, guard and rights of keys, and the look-up of a key before its workspace is known."""

from django.db import migrations

from audit.guard import CompositeForeignKey, DefinerFunction, Grant, GuardTable, TenantTable
from audit.taxonomy import Event

# A closed account's keys are not found at all: only web may read accounts, and the gateway asks this as well.
_FIND = """
CREATE FUNCTION public.apikeys_find(wanted text) RETURNS TABLE (workspace_id uuid, key_id uuid)
LANGUAGE sql STABLE AS $$
    SELECT key.workspace_id, key.id
      FROM public.apikeys_apikey AS key
      JOIN public.workspaces_user AS owner ON owner.id = key.owner_user_id
     WHERE key.prefix = wanted AND owner.is_active
$$
"""


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0001_initial"), ("workspaces", "0002_guards")]

    operations = [
        TenantTable("apikeys_apikey"),
        GuardTable("apikeys_apikey", object_type="api_key", events=[Event.API_KEY_CREATED, Event.API_KEY_REVOKED]),
        Grant("apikeys_apikey", web="select, insert, update", gateway="select"),
        TenantTable("apikeys_apikeyuse"),
        CompositeForeignKey("apikeys_apikeyuse", "key_id", "apikeys_apikey"),
        Grant(
            "apikeys_apikeyuse",
            web="select, insert, update (last_used_at)",
            gateway="select, insert, update (last_used_at)",
        ),
        DefinerFunction("public.apikeys_find(text)", _FIND, execute_by=["web", "gateway"]),
    ]
