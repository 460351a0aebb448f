"""What the log takes: events that their process may tell, whose columns are those of the signed body, and their details."""

from audit.clocks import CLOCK_TOLERANCE
from audit.schema.functions import Function
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
