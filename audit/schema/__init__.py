"""The schema `audit` as SQL: its tables and their months, and who may do what with them.

The migration runs it and readiness compares the database with it, so a function that somebody changed in place is found.
"""

from audit.schema import (
    acceptance,
    coverage,
    functions,
    keys,
    newest_changes,
    refusals,
    retention,
    tables,
    timelines,
    tree,
)
from audit.schema.functions import Function

MONTHS_AHEAD = 2
MONTHLY = ("audit.event", "audit.detail")
"""The tables of the log that lie in months; those of the apps say it with `audit.guard.MonthlyTable`."""

_PARTITION_PLACEHOLDER = "event_of_this_month"

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
    EXECUTE pg_catalog.replace($template${coverage.require_event(_PARTITION_PLACEHOLDER).create()}$template$,
      '{_PARTITION_PLACEHOLDER}', part);
    EXECUTE pg_catalog.replace($template${acceptance.of_an_event(_PARTITION_PLACEHOLDER).create()}$template$,
      '{_PARTITION_PLACEHOLDER}', part);
  END IF;
END
""",  # noqa: S608  composed of constants
)

_SUBJECTS = (keys, refusals, tree, retention, timelines)
"""Each has tables, functions, triggers and rights of its own."""
FUNCTIONS = (
    *(function for room in (functions, acceptance, newest_changes, coverage) for function in room.FUNCTIONS),
    ENSURE_PARTITIONS,
    *(function for subject in _SUBJECTS for function in subject.FUNCTIONS),
)
"""What readiness compares with the database, besides those that name the current month."""


def of_the_month(partition: str) -> tuple[Function, ...]:
    """The functions that name the month, and are made anew with each."""
    return coverage.require_event(partition), acceptance.of_an_event(partition)


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
    tables.before("event", "audit_accept", "INSERT", acceptance.ACCEPT_EVENT)
    + tables.written_once("event")
    + tables.after("detail", "audit_of_an_event", "INSERT", acceptance.of_an_event(""))
    + tables.before("detail", "audit_only_erase", "UPDATE OR DELETE", acceptance.ONLY_ERASE)
    + tables.no_truncate("detail")
)

RIGHTS = """
ALTER TABLE audit.event ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit.detail ENABLE ROW LEVEL SECURITY;
{policies}
GRANT USAGE ON SCHEMA audit TO prov_web, prov_gateway, prov_worker, prov_sealer, prov_audit_read, prov_retention;
GRANT SELECT, INSERT ON audit.event, audit.detail TO prov_web, prov_gateway, prov_worker;
GRANT SELECT ON audit.event, audit.detail TO prov_audit_read;
GRANT SELECT ON audit.teller TO prov_web, prov_gateway, prov_worker, prov_sealer, prov_audit_read, prov_retention;
GRANT SELECT ON public.django_migrations TO prov_web, prov_gateway, prov_worker, prov_sealer, prov_audit_read, prov_retention;
"""

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


def install() -> str:
    """The schema with its tables, functions, triggers and first partitions, in the order in which they can be made."""
    made = "\n".join(function.create() for function in (*FUNCTIONS, acceptance.of_an_event("event")))
    stored = TABLES + "".join(subject.TABLES for subject in _SUBJECTS)
    triggers = TRIGGERS + "".join(subject.TRIGGERS for subject in _SUBJECTS)
    return f"CREATE SCHEMA audit;\n{stored}\n{made}\n{triggers}\nSELECT audit.ensure_partitions();"


def walls() -> str:
    """Row security and rights. Without them nobody but the owner reaches anything."""
    # A detail does not say what its event is; without an event that commits to it, it says nothing.
    policies = _POLICIES.format(
        table="event",
        refusal="action = 'authz.denied' AND outcome = 'blocked'",
        watch="action IN ('audit.guard_checked', 'audit.guard_missing', 'audit.sealing_stalled', 'audit.partition_missing')"
        " AND actor_type = 'system'",
    ) + _POLICIES.format(table="detail", refusal="true", watch="true")
    policies += tables.read_by_auditors("event") + tables.read_by_auditors("detail")
    return RIGHTS.format(policies=policies) + "".join(subject.RIGHTS for subject in _SUBJECTS)
