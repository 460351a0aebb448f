"""Months of the log as SQL: made ahead of time, and let go after seven years, but nothing under a hold.

What the log needs of a month that left is carried on: the newest event about each row that lives, and what tells of the log.
"""

from audit.schema import coverage, newest_changes
from audit.schema.functions import OF_THIS_TRANSACTION, Function
from audit.schema.tables import read_by_auditors, written_once
from audit.taxonomy import OF_THE_LOG, Event
from provenance.postgres.refusals import UNAUDITED

MONTHS_AHEAD = 2
MONTHLY = ("audit.event", "audit.detail")
"""The tables of the log that lie in months; those of the apps say it with `audit.guard.MonthlyTable`."""
YEARS_KEPT = 7
DOOR_TRIES = 10
"""How often a month that leaves tries for the two locks under which it goes; a quarter of a second each."""
RUNS = ("run", "step")
"""Types whose rows are a record of what ran and grant nothing; their last events need not outlive the month."""

_PARTITION_PLACEHOLDER = "event_of_this_month"


def of_the_month(partition: str) -> tuple[Function, ...]:
    """The functions that name the month, and are made anew with each."""
    return coverage.require_event(partition), newest_changes.told_of_row(partition)


_MAKE_ANEW = "\n".join(
    f"    EXECUTE pg_catalog.replace($template${function.create()}$template$, '{_PARTITION_PLACEHOLDER}', part);"
    for function in of_the_month(_PARTITION_PLACEHOLDER)
)

ENSURE_PARTITIONS = Function(
    name="ensure_partitions",
    quote="$maker$",
    returns="void",
    definer=True,
    # The worker elected for sweeps calls it too: it takes no argument and can only add months.
    execute_by=("retention", "worker"),
    source=f"""
DECLARE
  month timestamptz;
  parent record;
  part text;
BEGIN
  -- First, because everybody may take an advisory lock and keep it.
  SET LOCAL lock_timeout = '3s';
  PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('audit.ensure_partitions'));
  FOR ahead IN -1..{MONTHS_AHEAD} LOOP
    month := pg_catalog.date_trunc('month', pg_catalog.now(), 'UTC') + pg_catalog.make_interval(months => ahead);
    -- Whatever is divided by a UUIDv7: the log, and the tables of `MonthlyTable`.
    FOR parent IN
      SELECT class.relnamespace::regnamespace AS place, class.relname AS name
      FROM pg_catalog.pg_partitioned_table AS divided JOIN pg_catalog.pg_class AS class ON class.oid = divided.partrelid
      WHERE class.relnamespace = ANY (ARRAY['audit', 'public']::regnamespace[]) ORDER BY class.oid
    LOOP
      part := parent.name || pg_catalog.to_char(month AT TIME ZONE 'UTC', '_YYYY_MM');
      CONTINUE WHEN pg_catalog.to_regclass(pg_catalog.format('%s.%I', parent.place, part)) IS NOT NULL;
      -- Standalone first, attached when complete: writers wait only for the last step, and not longer than the timeout.
      -- Rights and row security are not copied, so a partition cannot be reached but through its parent.
      EXECUTE pg_catalog.format('CREATE TABLE %1$s.%2$I (LIKE %1$s.%3$I INCLUDING ALL)', parent.place, part, parent.name);
      EXECUTE pg_catalog.format(
        'CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON %s.%I EXECUTE FUNCTION audit.refuse()', parent.place, part);
      EXECUTE pg_catalog.format('ALTER TABLE %s.%I ENABLE ALWAYS TRIGGER audit_no_truncate', parent.place, part);
      EXECUTE pg_catalog.format('ALTER TABLE %1$s.%2$I ATTACH PARTITION %1$s.%3$I FOR VALUES FROM (%4$L) TO (%5$L)',
        parent.place, parent.name, part, audit.uuid_floor(month), audit.uuid_floor(month + interval '1 month'));
    END LOOP;
  END LOOP;
  -- Only when the month changed: a new text makes every session plan anew.
  part := pg_catalog.to_char(pg_catalog.now() AT TIME ZONE 'UTC', '"event_"YYYY_MM');
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_proc WHERE oid = pg_catalog.to_regproc('audit.require_event')
                 AND pg_catalog.strpos(prosrc, pg_catalog.format('audit.%I AS', part)) > 0) THEN
{_MAKE_ANEW}
  END IF;
END
""",  # noqa: S608  composed of constants
)


_OF_HOLDS = f"{Event.LEGAL_HOLD_ENGAGED},{Event.LEGAL_HOLD_RELEASE_ASKED},{Event.LEGAL_HOLD_RELEASED}"

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

TOLD_HOLDS = Function(
    name="told_holds",
    arguments="month text",
    # As whoever asks names them: the table of holds comes after these functions.
    returns="SETOF record",
    definer=True,
    volatility="STABLE",
    execute_by=("retention",),
    source=f"""
BEGIN
{_MONTH}
  -- Of every workspace with events in the month: each hold that was told beside the row there is. Of an event only what it
  -- says of the row, because who lets months go reads none.
  RETURN QUERY EXECUTE pg_catalog.format($query$
    WITH place AS MATERIALIZED (
      SELECT DISTINCT event.workspace_id AS id FROM audit.%I AS event WHERE event.workspace_id IS NOT NULL
    ), told AS (
      SELECT DISTINCT ON (change.workspace_id, change.object_id) change.* FROM place CROSS JOIN LATERAL (
        SELECT event.workspace_id, event.object_id, event.rev, event.id, event.op, event.body FROM audit.event AS event
        WHERE event.workspace_id = place.id AND event.action = ANY ('{{{_OF_HOLDS}}}') AND event.op <> 'read'
        UNION ALL
        SELECT carried.workspace_id, carried.object_id, carried.rev, carried.id, carried.op, carried.body
        FROM audit.carried AS carried
        WHERE carried.workspace_id = place.id AND carried.action = ANY ('{{{_OF_HOLDS}}}') AND carried.op <> 'read'
      ) AS change ORDER BY change.workspace_id, change.object_id, change.rev DESC, change.id DESC
    ), there AS (
      SELECT hold FROM public.audit_legalhold AS hold JOIN place ON place.id = hold.workspace_id
    )
    SELECT told.workspace_id, told.object_id, told.rev, told.op, told.body::jsonb ->> 'state', there.hold
    FROM told FULL JOIN there ON (there.hold).id::text = told.object_id AND (there.hold).workspace_id = told.workspace_id
  $query$, month);
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
  PERFORM FROM audit.event WHERE {OF_THIS_TRANSACTION} AND event.action = 'audit.partition_expired'
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
  -- Last, because from here on writers wait; the lock goes with the commit. Both tables or neither: who keeps one and waits
  -- for the other meets somebody who reads them the other way round, and one of the two would be called a deadlock.
  FOR try IN 1..{DOOR_TRIES} LOOP
    BEGIN
      SET LOCAL lock_timeout = '150ms';
      LOCK TABLE ONLY audit.event, ONLY audit.detail IN ACCESS EXCLUSIVE MODE;
      EXIT;
    EXCEPTION WHEN lock_not_available THEN
      IF try = {DOOR_TRIES} THEN
        RAISE;
      END IF;
    END;
    PERFORM pg_catalog.pg_sleep(0.1);
  END LOOP;
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

FUNCTIONS = (ENSURE_PARTITIONS, MONTH_RANGES, TOLD_HOLDS, EXPIRE_PARTITION)

TABLES = """
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
"""
