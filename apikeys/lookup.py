"""The SQL of key authentication, for the door of Django and for the gateway's own connection alike.

Placeholders are psycopg's. Only the first statement runs before the workspace is known: a definer function that returns
ids (T09) and finds nothing for a key whose owner's account was closed. The others run inside the workspace's scope.
"""

from collections.abc import Sequence

from audit.attestation import newest_columns

FIND = "SELECT workspace_id, key_id FROM apikeys_find(%(prefix)s)"

KEY_COLUMNS = (
    *("id", "workspace_id", "audit_rev", "audit_salt", "name", "prefix", "digest", "scopes", "owner_user_id"),
    *("agent_id", "environment", "created_at", "expires_at", "revoked_at", "revoked_reason"),
)
MEMBER_COLUMNS = (
    *("id", "workspace_id", "audit_rev", "audit_salt", "user_id", "roles", "created_at", "removed_at", "erased_at"),
)


def _named(alias: str, columns: Sequence[str]) -> str:
    return ", ".join(f"{alias}.{column} AS {alias}__{column}" for column in columns)


# The owner's roles come along: a key never allows more than its owner may do now. Both rows come whole and with the
# newest event about them, of the same snapshot: what an administrator of the database made of them opens nothing (T06).
LOAD = f"""
    SELECT {_named("key", KEY_COLUMNS)}, {_named("member", MEMBER_COLUMNS)},
           {newest_columns("key_event", "key_event__")}, {newest_columns("member_event", "member_event__")}
      FROM apikeys_apikey AS key
      LEFT JOIN workspaces_membership AS member
             ON member.workspace_id = key.workspace_id AND member.user_id = key.owner_user_id
            AND member.removed_at IS NULL
      LEFT JOIN LATERAL audit.newest_changes(ARRAY['api_key'], ARRAY[key.id::text]) AS key_event ON true
      LEFT JOIN LATERAL audit.newest_changes(ARRAY['membership'], ARRAY[member.id::text]) AS member_event ON true
     WHERE key.workspace_id = %(workspace_id)s AND key.id = %(key_id)s
"""  # noqa: S608  composed of constants

# At most one write a minute and key, so that a busy key costs nothing.
TOUCH = """
    INSERT INTO apikeys_apikeyuse AS used (id, workspace_id, key_id, last_used_at)
    VALUES (%(id)s, %(workspace_id)s, %(key_id)s, now())
    ON CONFLICT (workspace_id, key_id) DO UPDATE SET last_used_at = now()
     WHERE used.last_used_at < now() - interval '1 minute'
"""
