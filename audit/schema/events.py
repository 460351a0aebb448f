"""Events and their details as SQL: what the log takes, who may tell it, and that it stays as it was written."""

from audit.clocks import CLOCK_TOLERANCE
from audit.schema.functions import Function
from audit.schema.tables import after, before, no_truncate, read_by_auditors, written_once
from audit.taxonomy import DECISIONS, OF_THE_HOST
from provenance.actor import ActorKind
from provenance.postgres.refusals import NOT_ACCEPTED, UNAUDITED
from provenance.roles import RUNTIME_ROLES

_TOLERANCE = f"{CLOCK_TOLERANCE.seconds // 60} minutes"
_DECISIONS = "{" + ",".join(sorted(DECISIONS)) + "}"
_OF_THE_HOST = "{" + ",".join(sorted(OF_THE_HOST)) + "}"
_ROLES = "{" + ",".join(RUNTIME_ROLES.values()) + "}"

ACCEPT_EVENT = Function(
    name="accept_event",
    definer=True,
    source=f"""
DECLARE
  signed jsonb;
  -- What audit.uuid_time says, without the cost of a call.
  made_at constant timestamptz := pg_catalog.to_timestamp(
    ('x' || pg_catalog.translate(pg_catalog.left(NEW.id::text, 13), '-', ''))::bit(48)::bigint / 1000.0::float8);
  may_tell boolean;
  problem text;
BEGIN
  -- Whatever the client sent: the transaction is what coverage and the sealer rely on.
  NEW.xid := pg_catalog.pg_current_xact_id();
  signed := NEW.body::jsonb;
  -- Asked apart, because an expression without a query costs a fraction of one with it. session_user, because
  -- current_user is the owner in here, and nobody can pretend to be another session_user. The clock and not the time of
  -- the transaction, which somebody could have left open since before the key ended.
  PERFORM FROM audit.key
  WHERE key.kid = NEW.kid AND key.purpose = 'event' AND key.not_before <= pg_catalog.clock_timestamp()
    AND (key.not_after IS NULL OR key.not_after > pg_catalog.clock_timestamp())
    AND (key.db_role = session_user OR session_user = 'prov_migrate' AND NEW.action = ANY ('{_OF_THE_HOST}'));
  may_tell := FOUND;
  -- Each by its own key: one query of all would be planned anew for every event.
  IF may_tell AND NEW.op <> 'read' THEN
    -- A change is told by whom Postgres lets make it: an event about a row that nobody changed would count as its newest,
    -- and the row as altered.
    PERFORM FROM audit.teller
    WHERE teller.db_role = session_user AND teller.object_type = NEW.object_type AND teller.op = NEW.op;
    may_tell := FOUND;
  END IF;
  IF may_tell AND NEW.workspace_id IS NOT NULL AND session_user NOT IN ('prov_sealer', 'prov_retention') THEN
    -- Each workspace has a log of its own, and nobody makes one up. Those two tell of logs that are there already,
    -- whoever took away the workspace.
    PERFORM FROM public.workspaces_workspace AS workspace WHERE workspace.id = NEW.workspace_id;
    may_tell := FOUND;
  END IF;
  -- One expression with few parts: each is set up anew in every transaction, and this is most of what an event costs.
  IF may_tell
    AND pg_catalog.substr(NEW.id::text, 15, 1) = '7'
    AND made_at - pg_catalog.clock_timestamp() BETWEEN -interval '{_TOLERANCE}' AND interval '{_TOLERANCE}'
    AND (signed ->> 'at')::timestamptz - pg_catalog.clock_timestamp()
        BETWEEN -interval '{_TOLERANCE}' AND interval '{_TOLERANCE}'
    AND (signed ->> 'at')::timestamptz - made_at BETWEEN -interval '{_TOLERANCE}' AND interval '{_TOLERANCE}'
    AND (session_user IN ('prov_migrate', 'prov_sealer') OR NEW.action <> ALL ('{_OF_THE_HOST}'))
    AND (session_user = 'prov_web' OR NEW.actor_type <> '{ActorKind.USER}' AND NEW.action <> ALL ('{_DECISIONS}'))
    AND signed @> pg_catalog.jsonb_build_object('id', NEW.id, 'kid', NEW.kid, 'workspace', NEW.workspace_id,
          'action', NEW.action, 'outcome', NEW.outcome, 'risk', NEW.risk,
          'actor', pg_catalog.jsonb_build_object('type', NEW.actor_type, 'id', NEW.actor_id),
          'object', pg_catalog.jsonb_build_object('type', NEW.object_type, 'id', NEW.object_id, 'op', NEW.op))
    -- Not by containment, to which 1 and 1.0 are the same, and a list within a longer one.
    AND signed #>> '{{object,rev}}' IS NOT DISTINCT FROM NEW.rev::text
    AND signed -> 'changed' = pg_catalog.to_jsonb(NEW.changed)
    AND signed #>> '{{context,run_id}}' IS NOT DISTINCT FROM NEW.run_id::text
  THEN
    RETURN NEW;
  END IF;
  -- Refused. The same questions one by one, to say which of them.
  problem := CASE
    WHEN pg_catalog.substr(NEW.id::text, 15, 1) <> '7' THEN 'its id is no UUIDv7'
    WHEN audit.uuid_time(NEW.id) - pg_catalog.clock_timestamp()
         NOT BETWEEN -interval '{_TOLERANCE}' AND interval '{_TOLERANCE}' THEN
      'the time in its id is more than {_TOLERANCE} from the clock of the database; compare the clocks of the hosts'
    WHEN ((signed ->> 'at')::timestamptz - pg_catalog.clock_timestamp()
          BETWEEN -interval '{_TOLERANCE}' AND interval '{_TOLERANCE}') IS NOT TRUE THEN
      'its time is more than {_TOLERANCE} from the clock of the database; compare the clocks of the hosts'
    WHEN ((signed ->> 'at')::timestamptz - made_at
          BETWEEN -interval '{_TOLERANCE}' AND interval '{_TOLERANCE}') IS NOT TRUE THEN
      'its time is more than {_TOLERANCE} from the time in its id'
    WHEN NEW.op <> 'read' AND NOT EXISTS (SELECT FROM audit.teller WHERE teller.db_role = session_user
                                          AND teller.object_type = NEW.object_type AND teller.op = NEW.op) THEN
      pg_catalog.format('%s may not %s rows of the type %s, so it has no such change to tell', session_user, NEW.op,
                        NEW.object_type)
    WHEN NEW.workspace_id IS NOT NULL
         AND NOT EXISTS (SELECT FROM public.workspaces_workspace AS workspace WHERE workspace.id = NEW.workspace_id) THEN
      pg_catalog.format('there is no workspace %s', NEW.workspace_id)
    WHEN NOT may_tell THEN
      pg_catalog.format('the key id %s is not registered for %s now', NEW.kid, session_user)
    WHEN NEW.action = ANY ('{_OF_THE_HOST}') AND session_user NOT IN ('prov_migrate', 'prov_sealer') THEN
      pg_catalog.format('what becomes of keys and timelines is told on the host, not by %s', session_user)
    -- A hijacked worker has a key id of its own; what a person did or decided is told by the process they signed in to.
    WHEN session_user <> 'prov_web' AND (NEW.actor_type = '{ActorKind.USER}' OR NEW.action = ANY ('{_DECISIONS}')) THEN
      pg_catalog.format('what people do and decide is told by web, not by %s', session_user)
    WHEN (signed ->> 'id') IS DISTINCT FROM NEW.id::text THEN 'id differs from the signed body'
    WHEN (signed ->> 'kid') IS DISTINCT FROM NEW.kid THEN 'kid differs from the signed body'
    WHEN (signed ->> 'workspace') IS DISTINCT FROM NEW.workspace_id::text THEN 'workspace_id differs from the signed body'
    WHEN (signed ->> 'action') IS DISTINCT FROM NEW.action THEN 'action differs from the signed body'
    WHEN (signed ->> 'outcome') IS DISTINCT FROM NEW.outcome THEN 'outcome differs from the signed body'
    WHEN (signed ->> 'risk') IS DISTINCT FROM NEW.risk THEN 'risk differs from the signed body'
    WHEN (signed #>> '{{actor,type}}') IS DISTINCT FROM NEW.actor_type THEN 'actor_type differs from the signed body'
    WHEN (signed #>> '{{actor,id}}') IS DISTINCT FROM NEW.actor_id THEN 'actor_id differs from the signed body'
    WHEN (signed #>> '{{object,type}}') IS DISTINCT FROM NEW.object_type THEN 'object_type differs from the signed body'
    WHEN (signed #>> '{{object,id}}') IS DISTINCT FROM NEW.object_id THEN 'object_id differs from the signed body'
    WHEN (signed #>> '{{object,rev}}') IS DISTINCT FROM NEW.rev::text THEN 'rev differs from the signed body'
    WHEN (signed #>> '{{object,op}}') IS DISTINCT FROM NEW.op THEN 'op differs from the signed body'
    WHEN (signed -> 'changed') IS DISTINCT FROM pg_catalog.to_jsonb(NEW.changed) THEN 'changed differs from the signed body'
    WHEN (signed #>> '{{context,run_id}}') IS DISTINCT FROM NEW.run_id::text THEN 'run_id differs from the signed body'
    ELSE 'its columns are not those of the signed body'
  END;
  RAISE EXCEPTION 'event % (%) is not accepted: %', NEW.id, NEW.action, problem USING ERRCODE = '{NOT_ACCEPTED}';
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

STORE = Function(
    name="store",
    arguments=(
        "id uuid, workspace_id uuid, object_type text, object_id text, rev bigint, op text, changed text[], action text, "
        "actor_id text, actor_type text, outcome text, risk text, run_id uuid, kid text, mac bytea, body text, "
        "detail_salt bytea, detail_body bytea, media_type text, retention_class text"
    ),
    returns="void",
    # As whoever calls it, so that rights and row security are the caller's.
    fixes_search_path=False,
    execute_by=("web", "gateway", "worker", "retention"),
    source="""
BEGIN
  -- A function, because its statements are planned once in a session; planning them is half of what an event costs.
  INSERT INTO audit.event (id, workspace_id, object_type, object_id, rev, op, changed, action, actor_id, actor_type,
                           outcome, risk, run_id, kid, mac, body)
  VALUES (store.id, store.workspace_id, store.object_type, store.object_id, store.rev, store.op, store.changed,
          store.action, store.actor_id, store.actor_type, store.outcome, store.risk, store.run_id, store.kid, store.mac,
          store.body);
  IF store.detail_body IS NOT NULL THEN
    INSERT INTO audit.detail (event_id, workspace_id, salt, body, media_type, retention_class)
    VALUES (store.id, store.workspace_id, store.detail_salt, store.detail_body, store.media_type, store.retention_class);
  END IF;
END
""",
)

_IS_BOUND_TO_IT = """event.id = NEW.event_id AND event.xid = pg_catalog.pg_current_xact_id()
    AND event.workspace_id IS NOT DISTINCT FROM NEW.workspace_id AND event.body::jsonb ->> 'detail' IS NOT NULL"""
_OF_AN_EVENT_SOURCE = f"""
BEGIN
  -- The month's partition by its name, as coverage has it: looking for it costs more than all the rest.
  PERFORM FROM audit.{{partition}} AS event
  WHERE {_IS_BOUND_TO_IT};
  IF FOUND THEN
    RETURN NULL;
  END IF;
  PERFORM FROM audit.event AS event
  WHERE {_IS_BOUND_TO_IT};
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the detail of event % is not accepted: no event of this transaction is bound to it', NEW.event_id
      USING ERRCODE = '{NOT_ACCEPTED}';
  END IF;
  RETURN NULL;
END
"""


def of_an_event(partition: str) -> Function:
    """The trigger behind every detail, with the partition in which it looks first."""
    return Function(
        name="of_an_event",
        # The instance log may be written by who may not read it.
        definer=True,
        source=_OF_AN_EVENT_SOURCE.replace("{partition}", partition),
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

FUNCTIONS = (ACCEPT_EVENT, LEARN_TELLERS, STORE, ONLY_ERASE)

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
    before("event", "audit_accept", "INSERT", ACCEPT_EVENT)
    + written_once("event")
    + after("detail", "audit_of_an_event", "INSERT", of_an_event(""))
    + before("detail", "audit_only_erase", "UPDATE OR DELETE", ONLY_ERASE)
    + no_truncate("detail")
)

# CASE, because it alone fixes the order: audit.ws() raises where no workspace is in scope, and the instance log has none.
_POLICIES = """
CREATE POLICY worker_reads ON audit.{table} FOR SELECT TO prov_worker USING (workspace_id = audit.ws());
-- Into the instance log the leading worker writes what it finds of the log itself, and nothing else.
CREATE POLICY worker_writes ON audit.{table} FOR INSERT TO prov_worker
  WITH CHECK (CASE WHEN workspace_id IS NULL THEN {watch} ELSE workspace_id = audit.ws() END);
CREATE POLICY gateway_reads ON audit.{table} FOR SELECT TO prov_gateway USING (workspace_id = audit.ws());
-- Into the instance log the gateway writes whom it turned away at its doors, and nothing else (T26).
CREATE POLICY gateway_writes ON audit.{table} FOR INSERT TO prov_gateway
  WITH CHECK (CASE WHEN workspace_id IS NULL THEN {refusal} ELSE workspace_id = audit.ws() END);
CREATE POLICY web_reads ON audit.{table} FOR SELECT TO prov_web USING (workspace_id = audit.ws());
CREATE POLICY web_writes ON audit.{table} FOR INSERT TO prov_web
  WITH CHECK (CASE WHEN workspace_id IS NULL THEN true ELSE workspace_id = audit.ws() END);
"""

_REFUSAL = "action = 'authz.denied' AND outcome = 'blocked'"
_WATCH = (
    "action IN ('audit.guard_checked', 'audit.guard_missing', 'audit.sealing_stalled', 'audit.partition_missing')"
    " AND actor_type = 'system'"
)
# A detail does not say what its event is; without an event that commits to it, it says nothing.
RIGHTS = f"""
ALTER TABLE audit.event ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit.detail ENABLE ROW LEVEL SECURITY;
{_POLICIES.format(table="event", refusal=_REFUSAL, watch=_WATCH)}
{_POLICIES.format(table="detail", refusal="true", watch="true")}
{read_by_auditors("event")}
{read_by_auditors("detail")}
GRANT USAGE ON SCHEMA audit TO prov_web, prov_gateway, prov_worker, prov_sealer, prov_audit_read, prov_retention;
GRANT SELECT, INSERT ON audit.event, audit.detail TO prov_web, prov_gateway, prov_worker;
GRANT SELECT ON audit.event, audit.detail TO prov_audit_read;
GRANT SELECT ON audit.teller TO prov_web, prov_gateway, prov_worker, prov_sealer, prov_audit_read, prov_retention;
GRANT SELECT ON public.django_migrations TO prov_web, prov_gateway, prov_worker, prov_sealer, prov_audit_read, prov_retention;
"""
