"""No change without its event: the functions behind the guards of every governed table."""

from audit.clocks import CLOCK_TOLERANCE
from audit.schema.functions import Function
from provenance.postgres.refusals import STALE, UNAUDITED

COUNT_REVISION = Function(
    name="count_revision",
    source=f"""
BEGIN
  IF TG_OP = 'INSERT' THEN
    NEW.audit_rev := 1;
  ELSE
    IF NEW.audit_rev <> OLD.audit_rev THEN
      RAISE EXCEPTION '% % was changed by somebody else: it is at revision %, not %',
        TG_TABLE_NAME, OLD.id, OLD.audit_rev, NEW.audit_rev USING ERRCODE = '{STALE}';
    END IF;
    IF NEW.id <> OLD.id OR NEW.audit_salt IS DISTINCT FROM OLD.audit_salt THEN
      RAISE EXCEPTION 'id and audit_salt of % % stay as they are', TG_TABLE_NAME, OLD.id USING ERRCODE = '{UNAUDITED}';
    END IF;
    NEW.audit_rev := OLD.audit_rev + 1;
  END IF;
  IF NEW.audit_salt IS NULL THEN
    NEW.audit_salt := pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
                   || pg_catalog.uuid_send(pg_catalog.gen_random_uuid());
  END IF;
  RETURN NEW;
END
""",
)

KEEP_WORKSPACE = Function(
    name="keep_workspace",
    source=f"""
BEGIN
  -- A statement may change the scope while it runs, so that row security reads a row in one workspace and lets it be
  -- written in another, under an event that only the other one's log holds.
  RAISE EXCEPTION '% % stays in the workspace in which it was made', TG_TABLE_NAME, OLD.id USING ERRCODE = '{UNAUDITED}';
END
""",
)

_TELLS_IT = """event.xid = pg_catalog.pg_current_xact_id() AND event.object_id = NEW.id::text
    AND event.rev = NEW.audit_rev AND event.object_type = TG_ARGV[0] AND event.op = pg_catalog.lower(TG_OP)
    AND event.action = ANY (pg_catalog.string_to_array(TG_ARGV[1], ','))
    AND event.workspace_id IS NOT DISTINCT FROM wanted_workspace
    AND (wanted_run IS NULL OR event.run_id = wanted_run)
    -- What the event does not name must be as it was, and what it names must be a column. New columns are covered without
    -- a new guard.
    AND (TG_OP <> 'UPDATE' OR pg_catalog.to_jsonb(NEW) ?& event.changed
         AND pg_catalog.to_jsonb(OLD) - (event.changed || 'audit_rev'::text)
             = pg_catalog.to_jsonb(NEW) - (event.changed || 'audit_rev'::text))"""
_COVERAGE_SOURCE = f"""
DECLARE
  -- Arguments: type of object, the events that may cover a change, 'workspace' or 'instance', and 'run' for a table
  -- whose ids are unique only within their run.
  wanted_workspace uuid;
  wanted_run uuid;
  near text;
  near_op text;
  near_rev bigint;
BEGIN
  IF TG_OP = 'DELETE' THEN
    -- What an event tells of: the row as it was last, at the revision that would have been its next.
    NEW := OLD;
    NEW.audit_rev := OLD.audit_rev + 1;
  END IF;
  IF TG_ARGV[2] = 'workspace' THEN
    wanted_workspace := NEW.workspace_id;
  END IF;
  IF TG_NARGS > 3 THEN
    wanted_run := NEW.run_id;
  END IF;

  -- The month's partition by its name: the planner need not look for it (1.17 instead of 1.65 of the unguarded cost).
  PERFORM FROM audit.{{partition}} AS event
  WHERE {_TELLS_IT};
  IF FOUND THEN
    RETURN NULL;
  END IF;
  -- The edge of a month, or partitions made late: the event may be in a neighbor.
  PERFORM FROM audit.event AS event
  WHERE event.id >= audit.uuid_floor(pg_catalog.now() - interval '{CLOCK_TOLERANCE.seconds // 60} minutes' * 2)
    AND {_TELLS_IT};
  IF FOUND THEN
    RETURN NULL;
  END IF;

  -- Refused. What came nearest tells the developer what is missing, and a lost race from a forgotten event.
  SELECT event.rev, event.op, CASE
      WHEN event.op = 'read' THEN 'its event tells only of reading'
      WHEN event.rev IS DISTINCT FROM NEW.audit_rev THEN
        pg_catalog.format('the event nearest to it is about the %s of revision %s', event.op, event.rev)
      WHEN event.object_type <> TG_ARGV[0] THEN pg_catalog.format('its event names the object type %s', event.object_type)
      WHEN event.op <> pg_catalog.lower(TG_OP) THEN pg_catalog.format('its event says %s', event.op)
      WHEN event.workspace_id IS DISTINCT FROM wanted_workspace THEN 'its event belongs to another workspace'
      WHEN wanted_run IS NOT NULL AND event.run_id IS DISTINCT FROM wanted_run THEN 'its event belongs to another run'
      WHEN NOT event.action = ANY (pg_catalog.string_to_array(TG_ARGV[1], ',')) THEN
        pg_catalog.format('%s is not on the list of events for this table', event.action)
      ELSE pg_catalog.format('its event names the changed columns %s; others changed too, or these are not all columns',
        event.changed)
    END INTO near_rev, near_op, near
  FROM audit.event AS event
  WHERE event.id >= audit.uuid_floor(pg_catalog.now() - interval '{CLOCK_TOLERANCE.seconds // 60} minutes' * 2)
    AND event.xid = pg_catalog.pg_current_xact_id() AND event.object_id = NEW.id::text
  ORDER BY (event.rev IS NOT DISTINCT FROM NEW.audit_rev) DESC, (event.object_type = TG_ARGV[0]) DESC,
           (event.op = pg_catalog.lower(TG_OP)) DESC, event.id DESC
  LIMIT 1;
  -- The row we changed was left by another transaction, and our event expected an older revision: a lost race. When
  -- this transaction itself left it, an event was forgotten between two changes. xmin has no epoch, hence the shift.
  IF TG_OP <> 'INSERT' AND near_op = pg_catalog.lower(TG_OP) AND near_rev < NEW.audit_rev THEN
    IF pg_catalog.pg_xact_status(
      (((pg_catalog.pg_current_xact_id()::text::bigint >> 32) << 32) | OLD.xmin::text::bigint)::text::xid8
    ) = 'committed' THEN
      RAISE EXCEPTION '% % was changed by somebody else: this was to be revision %, and it is revision %',
        TG_TABLE_NAME, NEW.id, near_rev, NEW.audit_rev USING ERRCODE = '{STALE}';
    END IF;
  END IF;
  RAISE EXCEPTION 'unaudited % of %.%: id %, revision %: %', pg_catalog.lower(TG_OP), TG_TABLE_SCHEMA, TG_TABLE_NAME,
      NEW.id, NEW.audit_rev, COALESCE(near, 'no event of this transaction is about this object')
    USING ERRCODE = '{UNAUDITED}', HINT = pg_catalog.format(
      'Call audit.services.record(event=..., target=...) with the changed object after each save, with one of: %s.',
      pg_catalog.replace(TG_ARGV[1], ',', ', '));
END
"""  # noqa: S608  composed of constants

FUNCTIONS = (COUNT_REVISION, KEEP_WORKSPACE)


def require_event(partition: str) -> Function:
    """The trigger behind every governed table, with the partition in which it looks first."""
    return Function(
        name="require_event",
        definer=True,
        source=_COVERAGE_SOURCE.replace("{partition}", partition),
    )
