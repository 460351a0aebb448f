"""Events and their details as SQL: what the log takes, who may tell it, and that it stays as it was written."""

from audit.clocks import CLOCK_TOLERANCE
from audit.schema.functions import IN_SCOPE, Function
from audit.schema.tables import before, no_truncate, read_by_auditors, written_once
from audit.taxonomy import DECISIONS, OF_THE_HOST
from provenance.actor import ActorKind
from provenance.postgres.refusals import NOT_ACCEPTED, UNAUDITED
from provenance.roles import RUNTIME_ROLES

_TOLERANCE = f"{CLOCK_TOLERANCE.seconds // 60} minutes"
_DECISIONS = "{" + ",".join(sorted(DECISIONS)) + "}"
_OF_THE_HOST = "{" + ",".join(sorted(OF_THE_HOST)) + "}"
_ITS_KEY = f"""FROM audit.key
  WHERE key.kid = signed ->> 'kid' AND key.purpose = 'event' AND key.not_before <= pg_catalog.clock_timestamp()
    AND (key.not_after IS NULL OR key.not_after > pg_catalog.clock_timestamp())
    AND (key.db_role = session_user OR session_user = 'prov_migrate' AND signed ->> 'action' = ANY ('{_OF_THE_HOST}'))"""
_ITS_TELLER = """FROM audit.teller
  WHERE teller.db_role = session_user AND teller.object_type = object ->> 'type' AND teller.op = said.op"""
_OF_WORKSPACES = "{prov_web,prov_gateway,prov_worker,prov_migrate}"
_OF_OTHER_LOGS = """CASE session_user
      WHEN 'prov_web' THEN true
      WHEN 'prov_migrate' THEN true
      -- Whom the gateway turned away at its doors, and nothing else (T26).
      WHEN 'prov_gateway' THEN signed ->> 'action' = 'authz.denied' AND signed ->> 'outcome' = 'blocked'
      -- What the leading worker finds of the log itself.
      WHEN 'prov_worker' THEN signed ->> 'action' IN ('audit.guard_checked', 'audit.guard_missing',
        'audit.sealing_stalled', 'audit.partition_missing') AND signed -> 'actor' ->> 'type' = 'system'
      -- Which months of the log go, and what keeps one from it.
      WHEN 'prov_retention' THEN signed ->> 'workspace' IS NULL
        AND signed ->> 'action' IN ('audit.partition_expired', 'audit.row_altered')
        AND signed -> 'actor' ->> 'type' = 'system' AND signed -> 'actor' ->> 'id' = 'audit.retention' AND op = 'read'
      -- What is found of a log, whoever took away its workspace.
      WHEN 'prov_sealer' THEN signed -> 'actor' ->> 'type' = 'system' AND object ->> 'type' = 'audit_log' AND op = 'read'
        AND signed -> 'actor' ->> 'id' IN ('audit.sealer', 'audit.verify')
      ELSE false END"""
"""What a role tells of the instance, or of logs that are there whether or not their workspace is."""
_ROLES = "{" + ",".join(RUNTIME_ROLES.values()) + "}"

STORE = Function(
    name="store",
    arguments="body text, mac bytea, detail_salt bytea, detail_body bytea, media_type text, retention_class text",
    returns="void",
    # No process may write to the tables themselves: what comes in comes through here, and its columns are what was signed.
    definer=True,
    execute_by=("web", "gateway", "worker", "retention", "sealer"),
    source=f"""
<<said>>
DECLARE
  signed constant jsonb := store.body::jsonb;
  id constant uuid := signed ->> 'id';
  object constant jsonb := signed -> 'object';
  op constant text := object ->> 'op';
  changed text[] := '{{}}';
  at constant timestamptz := signed ->> 'at';
  -- What audit.uuid_time says, without the cost of a call.
  made_at constant timestamptz := pg_catalog.to_timestamp(
    ('x' || pg_catalog.translate(pg_catalog.left(signed ->> 'id', 13), '-', ''))::bit(48)::bigint / 1000.0::float8);
  may_tell boolean;
BEGIN
  -- Questions to tables are asked apart, each by its own key: one query of all would be planned anew for every event.
  -- session_user, because current_user is the owner in here, and nobody can pretend to be another session_user. The clock
  -- and not the time of the transaction, which somebody could have left open since before the key ended.
  PERFORM {_ITS_KEY};
  IF FOUND AND op <> 'read' THEN
    -- A change is told by whom Postgres lets make it: an event about a row that nobody changed would count as its newest,
    -- and the row as altered.
    PERFORM {_ITS_TELLER};
  END IF;
  may_tell := FOUND;
  IF may_tell AND session_user = ANY ('{_OF_WORKSPACES}') AND signed ->> 'workspace' IS NOT NULL THEN
    -- Each workspace has a log of its own, nobody makes one up, and a process writes to that of the one it entered.
    PERFORM FROM public.workspaces_workspace AS workspace
    WHERE workspace.id = (signed ->> 'workspace')::uuid AND workspace.id::text = signed ->> 'workspace'
      AND (signed ->> 'workspace' = {IN_SCOPE} OR session_user = 'prov_migrate');
    may_tell := FOUND;
  ELSIF may_tell THEN
    may_tell := {_OF_OTHER_LOGS};
  END IF;
  IF op <> 'read' THEN
    -- Names of columns need no quotes in either form; what would read differently in the two is not taken below.
    changed := pg_catalog.translate(signed ->> 'changed', '[]', '{{}}');
  END IF;
  -- One expression with few parts: each is set up anew in every transaction, and this is much of what an event costs.
  IF may_tell AND at IS NOT NULL AND id::text = signed ->> 'id' AND pg_catalog.substr(signed ->> 'id', 15, 1) = '7'
    AND GREATEST(at, made_at, pg_catalog.clock_timestamp()) - LEAST(at, made_at, pg_catalog.clock_timestamp())
        <= interval '{_TOLERANCE}'
    AND (session_user IN ('prov_migrate', 'prov_sealer') OR signed ->> 'action' <> ALL ('{_OF_THE_HOST}'))
    AND (session_user = 'prov_web'
         OR signed -> 'actor' ->> 'type' <> '{ActorKind.USER}' AND signed ->> 'action' <> ALL ('{_DECISIONS}'))
    AND signed -> 'changed' = pg_catalog.to_jsonb(changed)
    AND (signed ->> 'detail' IS NULL) = (store.detail_body IS NULL)
  THEN
    INSERT INTO audit.event (id, xid, workspace_id, object_type, object_id, rev, op, changed, action, actor_id, actor_type,
                             outcome, risk, run_id, kid, mac, body)
    VALUES (said.id, pg_catalog.pg_current_xact_id(), (signed ->> 'workspace')::uuid, object ->> 'type', object ->> 'id',
            (object ->> 'rev')::bigint, said.op, said.changed, signed ->> 'action', signed -> 'actor' ->> 'id',
            signed -> 'actor' ->> 'type', signed ->> 'outcome', signed ->> 'risk',
            (signed -> 'context' ->> 'run_id')::uuid, signed ->> 'kid', store.mac, store.body);
    IF store.detail_body IS NOT NULL THEN
      INSERT INTO audit.detail (event_id, workspace_id, salt, body, media_type, retention_class)
      VALUES (said.id, (signed ->> 'workspace')::uuid, store.detail_salt, store.detail_body, store.media_type,
              store.retention_class);
    END IF;
    RETURN;
  END IF;
  -- Refused. The same questions one by one, to say which of them.
  RAISE EXCEPTION 'event % (%) is not accepted: %', signed ->> 'id', signed ->> 'action', CASE
    WHEN pg_catalog.substr(signed ->> 'id', 15, 1) <> '7' OR id::text <> signed ->> 'id' THEN 'its id is no UUIDv7'
    WHEN made_at - pg_catalog.clock_timestamp() NOT BETWEEN -interval '{_TOLERANCE}' AND interval '{_TOLERANCE}' THEN
      'the time in its id is more than {_TOLERANCE} from the clock of the database; compare the clocks of the hosts'
    WHEN (at - pg_catalog.clock_timestamp() BETWEEN -interval '{_TOLERANCE}' AND interval '{_TOLERANCE}') IS NOT TRUE THEN
      'its time is more than {_TOLERANCE} from the clock of the database; compare the clocks of the hosts'
    WHEN (at - made_at BETWEEN -interval '{_TOLERANCE}' AND interval '{_TOLERANCE}') IS NOT TRUE THEN
      'its time is more than {_TOLERANCE} from the time in its id'
    WHEN op <> 'read' AND NOT EXISTS (SELECT {_ITS_TELLER}) THEN
      pg_catalog.format('%s may not %s rows of the type %s, so it has no such change to tell', session_user, op,
                        object ->> 'type')
    WHEN NOT EXISTS (SELECT {_ITS_KEY}) THEN
      pg_catalog.format('the key id %s is not registered for %s now', signed ->> 'kid', session_user)
    WHEN signed ->> 'action' = ANY ('{_OF_THE_HOST}') AND session_user NOT IN ('prov_migrate', 'prov_sealer') THEN
      pg_catalog.format('what becomes of keys and timelines is told on the host, not by %s', session_user)
    -- A hijacked worker has a key id of its own; what a person did or decided is told by the process they signed in to.
    WHEN session_user <> 'prov_web'
         AND (signed -> 'actor' ->> 'type' = '{ActorKind.USER}' OR signed ->> 'action' = ANY ('{_DECISIONS}')) THEN
      pg_catalog.format('what people do and decide is told by web, not by %s', session_user)
    WHEN signed ->> 'workspace' IS NOT NULL
         AND NOT EXISTS (SELECT FROM public.workspaces_workspace AS workspace
                         WHERE workspace.id = (signed ->> 'workspace')::uuid) THEN
      pg_catalog.format('there is no workspace %s', signed ->> 'workspace')
    WHEN NOT may_tell AND signed ->> 'workspace' IS NULL THEN
      pg_catalog.format('%s tells no such thing to the log of the instance', session_user)
    WHEN NOT may_tell THEN pg_catalog.format('%s tells no such thing to the log of workspace %s, or has not entered it',
      session_user, signed ->> 'workspace')
    WHEN (signed -> 'changed' = pg_catalog.to_jsonb(changed)) IS NOT TRUE THEN
      'its list of changed columns holds what names none, or it tells of no change'
    ELSE 'its detail did not come with it, or came though it names none' END
    USING ERRCODE = '{NOT_ACCEPTED}';
END
""",  # noqa: S608  composed of constants
)

LEARN_TELLERS = Function(
    name="learn_tellers",
    arguments="changed regclass",
    returns="void",
    source=f"""
DECLARE
  type text;
BEGIN
  -- The guard of a table says what its events call its rows; its rights say who makes which change.
  SELECT pg_catalog.split_part(pg_catalog.encode(tgargs, 'escape'), '\\000', 1) INTO type
  FROM pg_catalog.pg_trigger WHERE tgrelid = changed AND tgname = 'audit_coverage';
  DELETE FROM audit.teller WHERE teller.of_table = changed::text;
  INSERT INTO audit.teller (of_table, db_role, object_type, op)
  SELECT changed::text, role.rolname, type, verb.op
  FROM pg_catalog.pg_roles AS role
  CROSS JOIN (VALUES ('insert'), ('update'), ('delete')) AS verb (op)
  WHERE type IS NOT NULL AND role.rolname = ANY ('{_ROLES}')
    AND CASE verb.op
          WHEN 'delete' THEN pg_catalog.has_table_privilege(role.oid, changed, 'DELETE')
          ELSE pg_catalog.has_any_column_privilege(role.oid, changed, pg_catalog.upper(verb.op)) END;
END
""",  # noqa: S608  composed of constants
)

ONLY_ERASE = Function(
    name="only_erase",
    source=f"""
BEGIN
  -- Erasure takes body and salt and leaves the row, so that it shows. Everything else stays as it was written.
  IF TG_OP = 'UPDATE' AND OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL
     AND pg_catalog.to_jsonb(NEW) - '{{salt,body,erased_at}}'::text[]
         = pg_catalog.to_jsonb(OLD) - '{{salt,body,erased_at}}'::text[] THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION '% on %.% is refused: a detail is written once, and can only be erased', TG_OP, TG_TABLE_SCHEMA,
    TG_TABLE_NAME USING ERRCODE = '{UNAUDITED}';
END
""",
)

FUNCTIONS = (STORE, LEARN_TELLERS, ONLY_ERASE)

TABLES = """
-- Which process may make which change, as the rights on the guarded tables have it: it alone tells of one.
CREATE TABLE audit.teller (
  db_role name NOT NULL,
  object_type text NOT NULL,
  op text NOT NULL,
  of_table text NOT NULL,
  PRIMARY KEY (db_role, object_type, op)
);

CREATE TABLE audit.event (
  id uuid PRIMARY KEY,
  xid xid8 NOT NULL,
  workspace_id uuid,
  object_type text NOT NULL,
  object_id text NOT NULL,
  rev bigint,
  op text NOT NULL CHECK (op IN ('insert', 'update', 'delete', 'read')),
  changed text[] NOT NULL,
  action text NOT NULL,
  actor_id text NOT NULL,
  actor_type text NOT NULL,
  outcome text NOT NULL CHECK (outcome IN ('success', 'failure', 'blocked', 'pending', 'unknown')),
  risk text NOT NULL CHECK (risk IN ('low', 'medium', 'high', 'critical')),
  run_id uuid,
  kid text NOT NULL,
  mac bytea NOT NULL CHECK (octet_length(mac) = 32),
  body text NOT NULL CHECK (octet_length(body) <= 8192)
) PARTITION BY RANGE (id);
CREATE INDEX event_coverage ON audit.event (xid, object_id, rev);
CREATE INDEX event_workspace ON audit.event (workspace_id, id);
CREATE INDEX event_object ON audit.event (workspace_id, object_id, id);
CREATE INDEX event_run ON audit.event (run_id, id) WHERE run_id IS NOT NULL;
-- Timelines of members and agents, and the types of event that a review asks for: both are rare among all the others.
CREATE INDEX event_actor ON audit.event (workspace_id, actor_id, id);
CREATE INDEX event_action ON audit.event (workspace_id, action, id);
-- The values that stand for trouble. Few events have them, so these cost the others nothing.
CREATE INDEX event_critical ON audit.event (workspace_id, id) WHERE risk = 'critical';
CREATE INDEX event_unusual ON audit.event (workspace_id, outcome, id) WHERE outcome IN ('failure', 'blocked', 'unknown');

CREATE TABLE audit.detail (
  event_id uuid PRIMARY KEY,
  workspace_id uuid,
  -- Both become NULL when the detail is erased.
  salt bytea CHECK (octet_length(salt) = 32),
  body bytea,
  media_type text NOT NULL,
  retention_class text NOT NULL,
  erased_at timestamptz,
  CHECK ((erased_at IS NULL) = (salt IS NOT NULL AND body IS NOT NULL))
) PARTITION BY RANGE (event_id);
"""

TRIGGERS = (
    written_once("event") + before("detail", "audit_only_erase", "UPDATE OR DELETE", ONLY_ERASE) + no_truncate("detail")
)

_POLICIES = """
ALTER TABLE audit.{table} ENABLE ROW LEVEL SECURITY;
CREATE POLICY worker_reads ON audit.{table} FOR SELECT TO prov_worker USING (workspace_id = audit.ws());
CREATE POLICY gateway_reads ON audit.{table} FOR SELECT TO prov_gateway USING (workspace_id = audit.ws());
CREATE POLICY web_reads ON audit.{table} FOR SELECT TO prov_web USING (workspace_id = audit.ws());
"""

RIGHTS = f"""
{_POLICIES.format(table="event")}
{_POLICIES.format(table="detail")}
{read_by_auditors("event")}
{read_by_auditors("detail")}
GRANT USAGE ON SCHEMA audit TO prov_web, prov_gateway, prov_worker, prov_sealer, prov_audit_read, prov_retention;
GRANT SELECT ON audit.event, audit.detail TO prov_web, prov_gateway, prov_worker;
GRANT SELECT ON audit.event, audit.detail TO prov_audit_read;
GRANT SELECT ON audit.teller TO prov_web, prov_gateway, prov_worker, prov_sealer, prov_audit_read, prov_retention;
GRANT SELECT ON public.django_migrations TO prov_web, prov_gateway, prov_worker, prov_sealer, prov_audit_read, prov_retention;
"""
