"""The register of keys (`audit.key`) as SQL: who may sign, and that a key is only ever ended."""

from audit.schema.functions import Function
from audit.schema.tables import at_commit, before, no_truncate
from audit.taxonomy import Event
from provenance.postgres.refusals import UNAUDITED

ALGORITHM = "HMAC-SHA256"
SIGNERS = {
    "web": "prov_web",
    "setup": "prov_web",
    "gateway": "prov_gateway",
    "worker": "prov_worker",
    "sealer": "prov_sealer",
    "retention": "prov_retention",
}
"""Each process that signs events, and the role as which it stores them."""

ONLY_END = Function(
    name="only_end",
    source=f"""
BEGIN
  -- A key may be given an end, or an earlier one. Later than it was, somebody who stole it could sign on.
  IF TG_OP = 'UPDATE' AND NEW.not_after IS NOT NULL AND (OLD.not_after IS NULL OR NEW.not_after <= OLD.not_after)
     AND pg_catalog.to_jsonb(NEW) - 'not_after' = pg_catalog.to_jsonb(OLD) - 'not_after' THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION '% on audit.key is refused: a key is registered once, and can only be ended', TG_OP
    USING ERRCODE = '{UNAUDITED}';
END
""",
)

TOLD_KEY = Function(
    name="told_key",
    definer=True,
    source=f"""
BEGIN
  IF NOT EXISTS (SELECT FROM audit.event WHERE event.xid = pg_catalog.pg_current_xact_id() AND event.kid = NEW.kid
                 AND event.action = '{Event.AUDIT_KEY_ROTATED}') THEN
    RAISE EXCEPTION 'the key % is not registered: no event of this transaction tells it', NEW.kid
      USING ERRCODE = '{UNAUDITED}', HINT = 'Keys are replaced with ./manage.py rotate_keys.';
  END IF;
  RETURN NULL;
END
""",
)

FUNCTIONS = (ONLY_END, TOLD_KEY)

_FIRST_KEYS = ",\n".join(f"  ('{process}-1', 'event', '{ALGORITHM}', '{role}')" for process, role in SIGNERS.items())
TABLES = f"""
CREATE TABLE audit.key (
  kid text PRIMARY KEY CHECK (kid ~ '^[a-z]+-[1-9][0-9]*$'),
  purpose text NOT NULL,
  alg text NOT NULL,
  -- Only this Postgres role may store events under the key id (T01).
  db_role name,
  -- The public part of an asymmetric key; a secret has none.
  vkey text NOT NULL DEFAULT '',
  -- For a log's key that replaced another: what the one before says of it (docs/audit-format.md, Rotation).
  rotation text NOT NULL DEFAULT '',
  not_before timestamptz NOT NULL DEFAULT now(),
  not_after timestamptz,
  -- A key of events has a role, and a key that the sealer adds signs none.
  CHECK ((purpose = 'event') = (db_role IS NOT NULL))
);
INSERT INTO audit.key (kid, purpose, alg, db_role) VALUES
{_FIRST_KEYS};
"""  # noqa: S608  composed of constants

TRIGGERS = (
    before("key", "audit_only_end", "UPDATE OR DELETE", ONLY_END)
    + no_truncate("key")
    + at_commit("key", "audit_told", "INSERT", TOLD_KEY, when="NEW.purpose = 'event'")
)

RIGHTS = """
GRANT SELECT ON audit.key TO prov_web, prov_gateway, prov_worker, prov_sealer, prov_audit_read;
"""
