"""What may leave the log, as SQL: details when their time is over, months after seven years, and nothing under a hold.

The limits stand in the functions and not in a setting, so that no process and no administrator of a workspace can go
below them. Each function wants the event that tells of it in its own transaction; what it takes shows afterwards.
"""

from audit.clocks import CLOCK_TOLERANCE
from audit.retention_classes import SEVEN_YEARS_DAYS, RetentionClass
from audit.schema.functions import Function
from audit.schema.tables import read_by_auditors, written_once
from audit.taxonomy import OF_THE_LOG
from provenance.postgres.refusals import UNAUDITED

YEARS_KEPT = 7
RUNS = ("run", "step")
"""Types whose rows are a record of what ran and grant nothing; their last events need not outlive the month."""


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

_OF_THIS_TRANSACTION = f"""
    event.id >= audit.uuid_floor(pg_catalog.now() - interval '{2 * CLOCK_TOLERANCE.seconds // 60} minutes') AND event.xid = pg_catalog.pg_current_xact_id()"""
"""The id alone keeps Postgres from looking through the months."""


def _told(action: str, workspace: str) -> str:
    return f"""
  IF NOT EXISTS (SELECT FROM audit.event AS event WHERE {_OF_THIS_TRANSACTION} AND event.action = '{action}'
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
    WHERE {_OF_THIS_TRANSACTION} AND event.workspace_id IS NOT DISTINCT FROM place
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

_MONTH = f"""
  IF month !~ '^event_[0-9]{{4}}_[0-9]{{2}}$' OR NOT EXISTS (
    SELECT FROM pg_catalog.pg_inherits WHERE inhparent = 'audit.event'::regclass
      AND inhrelid = pg_catalog.to_regclass(pg_catalog.format('audit.%I', month))) THEN
    RAISE EXCEPTION '% is no month of the log', month USING ERRCODE = '{UNAUDITED}';
  END IF;
"""

MONTH_RANGES = Function(
    name="month_ranges",
    arguments="month text",
    returns="TABLE (log_id bigint, origin text, first_idx bigint, last_idx bigint, events bigint, checkpoint text)",
    definer=True,
    volatility="STABLE",
    execute_by=("retention",),
    source=f"""
BEGIN
{_MONTH}
  -- Runs of leaves between which no event of another month stands: of these, and of no others, the events may be missing.
  RETURN QUERY EXECUTE pg_catalog.format($query$
    WITH place AS (
      SELECT leaf.log_id, leaf.idx FROM audit.%I AS event JOIN audit.leaf AS leaf ON leaf.event_id = event.id
    ), span AS (
      SELECT place.log_id, min(place.idx) AS low, max(place.idx) AS high FROM place GROUP BY place.log_id
    ), numbered AS (
      SELECT leaf.log_id, leaf.idx, place.idx IS NOT NULL AS is_of,
             count(*) FILTER (WHERE place.idx IS NULL) OVER (PARTITION BY leaf.log_id ORDER BY leaf.idx) AS run
      FROM span JOIN audit.leaf AS leaf ON leaf.log_id = span.log_id AND leaf.idx BETWEEN span.low AND span.high
        AND leaf.event_id IS NOT NULL
      LEFT JOIN place ON place.log_id = leaf.log_id AND place.idx = leaf.idx
    ), runs AS (
      SELECT numbered.log_id, min(numbered.idx) AS low, max(numbered.idx) AS high, count(*) AS events
      FROM numbered WHERE numbered.is_of GROUP BY numbered.log_id, numbered.run
    )
    SELECT log.id, log.origin, runs.low, runs.high, runs.events,
      (SELECT checkpoint.note FROM audit.checkpoint WHERE checkpoint.log_id = log.id AND checkpoint.size > span.high
       ORDER BY checkpoint.size LIMIT 1)
    FROM runs JOIN span ON span.log_id = runs.log_id JOIN audit.log AS log ON log.id = runs.log_id
    ORDER BY log.id, runs.low $query$, month);
END
""",  # noqa: S608  composed of constants
)

EXPIRE_PARTITION = Function(
    name="expire_partition",
    arguments="month text",
    returns="bigint",
    quote="$expire$",
    definer=True,
    execute_by=("retention",),
    source=f"""
DECLARE
  ends timestamptz;
  unsealed bigint;
  held text;
  events bigint;
  details text := pg_catalog.replace(month, 'event_', 'detail_');
BEGIN
{_MONTH}
  -- From the bound that Postgres itself keeps to, and not from the name.
  SELECT audit.uuid_time((pg_catalog.regexp_match(
      pg_catalog.pg_get_expr(relpartbound, oid), 'TO \\(''(.*?)''\\)'))[1]::uuid) INTO STRICT ends
    FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass(pg_catalog.format('audit.%I', month));
  IF ends > pg_catalog.now() - interval '{YEARS_KEPT} years' THEN
    RAISE EXCEPTION '% may not leave the log before %: events are kept for {YEARS_KEPT} years', month,
      pg_catalog.to_char((ends + interval '{YEARS_KEPT} years') AT TIME ZONE 'UTC', 'YYYY-MM-DD') USING ERRCODE = '{UNAUDITED}';
  END IF;
  EXECUTE pg_catalog.format($query$
    SELECT hold.scope_kind || ' ' || hold.scope_id FROM public.audit_legalhold AS hold
    WHERE hold.released_at IS NULL AND EXISTS (
      SELECT FROM audit.%I AS event WHERE event.workspace_id = hold.workspace_id AND CASE hold.scope_kind
        WHEN 'workspace' THEN true WHEN 'run' THEN event.run_id::text = hold.scope_id
        ELSE event.object_id = hold.scope_id END)
    ORDER BY hold.id LIMIT 1 $query$, month) INTO held;
  IF held IS NOT NULL THEN
    RAISE EXCEPTION '% may not leave the log: events of it are under legal hold (%)', month, held
      USING ERRCODE = '{UNAUDITED}';
  END IF;
  EXECUTE pg_catalog.format($query$
    SELECT count(*) FILTER (WHERE leaf.event_id IS NULL), count(*)
    FROM audit.%I AS event LEFT JOIN audit.leaf AS leaf ON leaf.event_id = event.id $query$, month) INTO unsealed, events;
  IF unsealed > 0 THEN
    RAISE EXCEPTION '% may not leave the log: % events of it are not sealed', month, unsealed USING ERRCODE = '{UNAUDITED}';
  END IF;
  PERFORM FROM audit.event WHERE {_OF_THIS_TRANSACTION} AND event.action = 'audit.partition_expired'
    AND event.object_id = month AND event.workspace_id IS NULL;
  IF NOT FOUND THEN
    RAISE EXCEPTION '% stays: no event of this transaction tells that it leaves', month USING ERRCODE = '{UNAUDITED}';
  END IF;
  -- Rows that grant power are held against their newest event for as long as they live, so that one is carried on.
  EXECUTE pg_catalog.format($query$
    INSERT INTO audit.carried SELECT event.* FROM audit.%I AS event
    WHERE event.op IN ('insert', 'update') AND event.object_type <> ALL ('{{{",".join(RUNS)}}}')
      AND NOT EXISTS (SELECT FROM audit.event AS later WHERE later.workspace_id IS NOT DISTINCT FROM event.workspace_id
        AND later.object_id = event.object_id AND later.object_type = event.object_type AND later.op <> 'read'
        AND (later.rev, later.id) > (event.rev, event.id)) $query$, month);
  -- And so is what the log tells of itself, which may be about what is kept for longer.
  EXECUTE pg_catalog.format($query$
    INSERT INTO audit.carried SELECT event.* FROM audit.%I AS event
    WHERE event.action = ANY ('{{{",".join(sorted(OF_THE_LOG))}}}') $query$, month);
  INSERT INTO audit.carried_detail SELECT detail.* FROM audit.detail AS detail JOIN audit.carried ON carried.id = detail.event_id
    WHERE carried.action = ANY ('{{{",".join(sorted(OF_THE_LOG))}}}') AND detail.event_id < audit.uuid_floor(ends);
  INSERT INTO audit.expired (month, ends, events) VALUES (month, ends, events);
  -- Last, because from here on writers wait; the lock goes with the commit.
  SET LOCAL lock_timeout = '1s';
  EXECUTE pg_catalog.format('ALTER TABLE audit.event DETACH PARTITION audit.%I', month);
  EXECUTE pg_catalog.format('DROP TABLE audit.%I', month);
  IF pg_catalog.to_regclass(pg_catalog.format('audit.%I', details)) IS NOT NULL THEN
    EXECUTE pg_catalog.format('ALTER TABLE audit.detail DETACH PARTITION audit.%I', details);
    EXECUTE pg_catalog.format('DROP TABLE audit.%I', details);
  END IF;
  RETURN events;
END
""",  # noqa: S608  composed of constants
)

FUNCTIONS = (
    KEPT_DAYS,
    IS_HELD,
    DUE_DETAILS,
    DUE_WORKSPACES,
    ERASE_DETAILS,
    ERASE_PERSON,
    MONTH_RANGES,
    EXPIRE_PARTITION,
)

TABLES = """
-- What is due is found without reading what is not.
CREATE INDEX detail_due ON audit.detail (workspace_id, retention_class, event_id) WHERE erased_at IS NULL;

-- The months that left the log. Their leaves stay, so every proof goes on holding.
CREATE TABLE audit.expired (
  month text PRIMARY KEY,
  ends timestamptz NOT NULL,
  events bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);

-- Of the months that left: the newest event about each row that lives on.
CREATE TABLE audit.carried (LIKE audit.event);
CREATE UNIQUE INDEX carried_id ON audit.carried (id);
CREATE INDEX carried_object ON audit.carried (workspace_id, object_id);
CREATE INDEX carried_action ON audit.carried (action, id);
-- The details of those by which the log is verified. Nobody reads them but through a function.
CREATE TABLE audit.carried_detail (LIKE audit.detail);
CREATE UNIQUE INDEX carried_detail_event ON audit.carried_detail (event_id);
"""

TRIGGERS = written_once("expired", "carried", "carried_detail")

RIGHTS = f"""
GRANT SELECT ON audit.expired TO prov_web, prov_gateway, prov_worker, prov_sealer, prov_audit_read, prov_retention;
ALTER TABLE audit.carried ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit.carried FOR SELECT TO prov_web, prov_gateway, prov_worker USING (workspace_id = audit.ws());
{read_by_auditors("carried")}
CREATE POLICY sealer ON audit.carried FOR SELECT TO prov_sealer USING (true);
GRANT SELECT ON audit.carried TO prov_web, prov_gateway, prov_worker, prov_audit_read, prov_sealer;
ALTER TABLE audit.carried_detail ENABLE ROW LEVEL SECURITY;
-- The job that lets months go tells of nothing else.
CREATE POLICY retention_writes ON audit.event FOR INSERT TO prov_retention
  WITH CHECK (workspace_id IS NULL AND actor_type = 'system' AND actor_id = 'audit.retention'
    AND action = 'audit.partition_expired' AND op = 'read');
CREATE POLICY retention_writes ON audit.detail FOR INSERT TO prov_retention WITH CHECK (workspace_id IS NULL);
GRANT INSERT ON audit.event, audit.detail TO prov_retention;
"""
