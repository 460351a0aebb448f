"""What may be erased of details, as SQL: when their time is over, or for a person; and nothing under a hold.

The limits stand in the functions and not in a setting, so that no process and no administrator of a workspace can go
below them. Each function wants the event that tells of it in its own transaction; what it takes shows afterwards.
"""

from audit.retention.classes import SEVEN_YEARS_DAYS, RetentionClass
from audit.schema.functions import OF_THIS_TRANSACTION, Function
from provenance.postgres.refusals import UNAUDITED


def _by_class(attribute: str) -> str:
    cases = " ".join(f"WHEN '{item.value}' THEN {getattr(item, attribute)}" for item in RetentionClass)
    return f"CASE class {cases} ELSE {SEVEN_YEARS_DAYS} END"


def _out_of_time(workspace: str, name: str) -> str:
    """Whether a detail is older than its retention class keeps it there."""
    return f"""
        detail.event_id < audit.uuid_floor(
          pg_catalog.now() - pg_catalog.make_interval(days => audit.kept_days({workspace}, {name})))"""


KEPT_DAYS = Function(
    name="kept_days",
    arguments="of_workspace uuid, class text",
    returns="integer",
    volatility="STABLE",
    source=f"""
DECLARE
  chosen integer;
BEGIN
  SELECT days INTO chosen FROM public.audit_retentionsetting AS setting
    WHERE setting.workspace_id = of_workspace AND setting.retention_class = class;
  RETURN GREATEST({_by_class("floor_days")}, COALESCE(chosen, {_by_class("days")}));
END
""",  # noqa: S608  composed of constants
)

IS_HELD = Function(
    name="is_held",
    arguments="of_workspace uuid, of_event uuid",
    returns="boolean",
    volatility="STABLE",
    source="""
BEGIN
  RETURN EXISTS (
    SELECT FROM public.audit_legalhold AS hold
    WHERE hold.workspace_id = of_workspace AND hold.released_at IS NULL AND (hold.scope_kind = 'workspace' OR EXISTS (
      SELECT FROM audit.event AS event WHERE event.id = of_event AND CASE hold.scope_kind
        WHEN 'run' THEN event.run_id::text = hold.scope_id ELSE event.object_id = hold.scope_id END)));
END
""",
)

DUE_DETAILS = Function(
    name="due_details",
    arguments="class text, most integer",
    returns="SETOF uuid",
    definer=True,
    volatility="STABLE",
    execute_by=("worker",),
    source=f"""
BEGIN
  RETURN QUERY SELECT detail.event_id FROM audit.detail AS detail
    WHERE detail.workspace_id = audit.ws() AND detail.retention_class = class AND detail.erased_at IS NULL
      AND {_out_of_time("audit.ws()", "class")}
      AND NOT audit.is_held(detail.workspace_id, detail.event_id)
    ORDER BY detail.event_id LIMIT most;
END
""",  # noqa: S608  composed of constants
)

DUE_WORKSPACES = Function(
    name="due_workspaces",
    arguments="classes text[]",
    returns="SETOF uuid",
    definer=True,
    volatility="STABLE",
    execute_by=("worker",),
    source=f"""
BEGIN
  -- Before any workspace is in scope: ids and nothing else (T09).
  RETURN QUERY SELECT DISTINCT log.workspace_id FROM audit.log AS log CROSS JOIN unnest(classes) AS class (name)
    WHERE log.workspace_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM public.audit_legalhold AS hold WHERE hold.workspace_id = log.workspace_id
                      AND hold.released_at IS NULL AND hold.scope_kind = 'workspace')
      AND EXISTS (SELECT FROM audit.detail AS detail WHERE detail.workspace_id = log.workspace_id
        AND detail.retention_class = class.name AND detail.erased_at IS NULL
        AND {_out_of_time("log.workspace_id", "class.name")});
END
""",  # noqa: S608  composed of constants
)


def _told(action: str, workspace: str) -> str:
    return f"""
  IF NOT EXISTS (SELECT FROM audit.event AS event WHERE {OF_THIS_TRANSACTION} AND event.action = '{action}'
                 AND event.workspace_id IS NOT DISTINCT FROM {workspace}) THEN
    RAISE EXCEPTION 'nothing is erased: no event {action} of this transaction tells of it' USING ERRCODE = '{UNAUDITED}';
  END IF;
"""  # noqa: S608  composed of constants


ERASE_DETAILS = Function(
    name="erase_details",
    arguments="ids uuid[]",
    returns="bigint",
    definer=True,
    execute_by=("worker",),
    source=f"""
DECLARE
  erased bigint;
BEGIN
{_told("audit.detail_erased", "audit.ws()")}
  UPDATE audit.detail AS detail SET salt = NULL, body = NULL, erased_at = pg_catalog.now()
    WHERE detail.event_id = ANY (ids) AND detail.workspace_id = audit.ws() AND detail.erased_at IS NULL
      AND {_out_of_time("detail.workspace_id", "detail.retention_class")}
      AND NOT audit.is_held(detail.workspace_id, detail.event_id);
  GET DIAGNOSTICS erased = ROW_COUNT;
  IF erased <> pg_catalog.cardinality(ids) THEN
    RAISE EXCEPTION '% of % details are not due, under legal hold or erased already; none was erased',
      pg_catalog.cardinality(ids) - erased, pg_catalog.cardinality(ids) USING ERRCODE = '{UNAUDITED}';
  END IF;
  RETURN erased;
END
""",  # noqa: S608  composed of constants
)

ERASE_PERSON = Function(
    name="erase_person",
    arguments="person uuid, objects text[], needle bytea, of_instance boolean",
    returns="SETOF uuid",
    definer=True,
    execute_by=("web",),
    source=f"""
DECLARE
  place uuid := CASE WHEN of_instance THEN NULL ELSE audit.ws() END;
  found uuid[];
  told text[];
BEGIN
  -- What somebody did, what was done to the named objects, and whatever else holds their address.
  IF of_instance THEN
{_told("user.deleted", "NULL::uuid")}
  ELSE
{_told("member.erased", "place")}
  END IF;
  -- Of exactly this person, and of what this transaction told: a hijacked web must not empty the log by one call.
  told := ARRAY(
    SELECT event.object_id FROM audit.event AS event
    WHERE {OF_THIS_TRANSACTION} AND event.workspace_id IS NOT DISTINCT FROM place
      AND event.action IN ('member.erased', 'user.deleted'));
  IF NOT objects <@ told
     OR of_instance AND NOT person::text = ANY (told)
     OR NOT of_instance AND NOT EXISTS (
       SELECT FROM public.workspaces_membership AS member
       WHERE member.workspace_id = place AND member.user_id = person AND member.id::text = ANY (told))
     OR pg_catalog.convert_from(needle, 'UTF8') !~ '^[^@[:space:]"]+@[^@[:space:]"]{{3,}}$' THEN
    RAISE EXCEPTION 'only what is personal of somebody whom this transaction erases can be erased' USING ERRCODE = '{UNAUDITED}';
  END IF;
  found := ARRAY(
    SELECT detail.event_id FROM audit.detail AS detail JOIN audit.event AS event ON event.id = detail.event_id
      WHERE event.workspace_id IS NOT DISTINCT FROM place AND detail.erased_at IS NULL
        AND (event.actor_id = person::text AND event.actor_type = 'user' OR event.object_id = ANY (objects))
    UNION
    SELECT detail.event_id FROM audit.detail AS detail
      WHERE detail.workspace_id IS NOT DISTINCT FROM place AND detail.erased_at IS NULL
        AND pg_catalog.position(detail.body, needle) > 0);
  IF EXISTS (SELECT FROM unnest(found) AS one (id) WHERE audit.is_held(place, one.id)) THEN
    RAISE EXCEPTION 'nothing is erased: events of this person are under legal hold' USING ERRCODE = '{UNAUDITED}';
  END IF;
  UPDATE audit.detail AS detail SET salt = NULL, body = NULL, erased_at = pg_catalog.now()
    WHERE detail.event_id = ANY (found);
  -- Whoever asked tells which ones: what is erased and not told of counts as taken away.
  RETURN QUERY SELECT unnest(found);
END
""",  # noqa: S608  composed of constants
)

FUNCTIONS = (KEPT_DAYS, IS_HELD, DUE_DETAILS, DUE_WORKSPACES, ERASE_DETAILS, ERASE_PERSON)

TABLES = """
-- What is due is found without reading what is not.
CREATE INDEX detail_due ON audit.detail (workspace_id, retention_class, event_id) WHERE erased_at IS NULL;
"""
# Those of details stand with their table.
TRIGGERS = RIGHTS = ""
