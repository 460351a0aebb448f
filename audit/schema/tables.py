"""What tables of the schema `audit` have in common: triggers that fire in every session, and whom row security lets read.

ENABLE ALWAYS, because a session that plays a replica fires no other trigger.
"""

from audit.schema.functions import REFUSE, Function


def before(table: str, name: str, changes: str, asks: Function) -> str:
    """A trigger that looks at each row before such changes, and may refuse them."""
    return _always(table, name, f"TRIGGER {name} BEFORE {changes} ON audit.{table} FOR EACH ROW", asks)


def at_commit(table: str, name: str, changes: str, asks: Function, *, when: str) -> str:
    """A trigger that looks at the commit at each row that was changed so, when this held for it."""
    deferred = f"AFTER {changes} ON audit.{table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ({when})"
    return _always(table, name, f"CONSTRAINT TRIGGER {name} {deferred}", asks)


def no_truncate(*tables: str) -> str:
    """Nobody empties these at once, past the triggers of their rows."""
    name = "audit_no_truncate"
    return "".join(_always(table, name, f"TRIGGER {name} BEFORE TRUNCATE ON audit.{table}", REFUSE) for table in tables)


def written_once(*tables: str) -> str:
    """Rows of these stay as they were written."""
    kept = "".join(before(table, "audit_immutable", "UPDATE OR DELETE", REFUSE) for table in tables)
    return kept + no_truncate(*tables)


def read_by_auditors(table: str) -> str:
    """The reading role sees the workspace in scope, and without one the log of the instance.

    CASE, because it alone fixes the order: audit.ws() raises where no workspace is in scope, and the instance log has none.
    """
    return f"""
CREATE POLICY reader ON audit.{table} FOR SELECT TO prov_audit_read
  USING (CASE WHEN workspace_id IS NULL THEN true ELSE workspace_id = audit.ws() END);
"""


def _always(table: str, name: str, trigger: str, asks: Function) -> str:
    enabled = f"ALTER TABLE audit.{table} ENABLE ALWAYS TRIGGER {name};"
    return f"CREATE {trigger} EXECUTE FUNCTION audit.{asks.name}();\n{enabled}\n"
