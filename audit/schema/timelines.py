"""On which timelines of the database calls that must happen once may start, and what else is in the way of a call (T27).

A restore to a point in time and the promotion of a standby begin a new timeline, and may have lost commits that were
acknowledged: a call may have happened that nobody here knows of. Dump and restore make another cluster, which is the same.
"""

from audit.schema.functions import Function
from audit.schema.tables import at_commit, written_once
from audit.taxonomy import Event
from provenance.postgres.refusals import UNAUDITED

SYSTEM = "(SELECT system_identifier FROM pg_catalog.pg_control_system())"
# By the name of the file that is written: the control file learns of a promotion only at a checkpoint.
TIMELINE = "pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)"

HINDRANCE = Function(
    name="hindrance",
    arguments="is_once boolean",
    returns="text",
    execute_by=("web", "gateway", "worker"),
    source=f"""
BEGIN
  -- What keeps a call from starting on this server; empty when nothing does. Asked by the statement that starts it, in its
  -- transaction: behind a pooler a promotion breaks no connection, so that what was known before says nothing.
  IF pg_catalog.pg_is_in_recovery() THEN
    RETURN 'recovery';
  END IF;
  IF pg_catalog.current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
    RETURN 'not_waited_for';
  END IF;
  -- A base backup and an archive of the log are no standbys, and who receives rows instead of files is in a database.
  IF pg_catalog.current_setting('synchronous_standby_names') = ''
    AND EXISTS (SELECT FROM pg_catalog.pg_stat_get_wal_senders())
    AND EXISTS (SELECT FROM pg_catalog.pg_stat_replication AS sender
                JOIN pg_catalog.pg_stat_activity AS session ON session.pid = sender.pid
                WHERE session.datid IS NULL AND sender.application_name NOT IN ('pg_basebackup', 'pg_receivewal'))
  THEN
    RETURN 'asynchronous';
  END IF;
  IF is_once AND NOT EXISTS (SELECT FROM audit.timeline AS known
                             WHERE known.system_id = {SYSTEM} AND known.timeline = {TIMELINE}) THEN
    RETURN 'timeline';
  END IF;
  RETURN '';
END
""",  # noqa: S608  composed of constants
)

TOLD_TIMELINE = Function(
    name="told_timeline",
    definer=True,
    source=f"""
BEGIN
  PERFORM FROM audit.event WHERE event.xid = pg_catalog.pg_current_xact_id()
    AND event.action = '{Event.AUDIT_TIMELINE_RECONCILED}'
    AND event.object_id = pg_catalog.format('%s/%s', NEW.system_id, NEW.timeline);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the timeline % is not reconciled: no event of this transaction tells it', NEW.timeline
      USING ERRCODE = '{UNAUDITED}', HINT = 'Timelines are reconciled with ./manage.py reconcile.';
  END IF;
  RETURN NULL;
END
""",
)

FUNCTIONS = (HINDRANCE, TOLD_TIMELINE)

TABLES = f"""
CREATE TABLE audit.timeline (
  system_id bigint NOT NULL,
  timeline text NOT NULL,
  reconciled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (system_id, timeline)
);
-- Where the log began nothing can have been lost.
INSERT INTO audit.timeline (system_id, timeline) VALUES ({SYSTEM}, {TIMELINE});
"""  # noqa: S608  composed of constants

TRIGGERS = written_once("timeline") + at_commit("timeline", "audit_told", "INSERT", TOLD_TIMELINE, when="true")

RIGHTS = """
GRANT SELECT ON audit.timeline TO prov_web, prov_gateway, prov_worker;
"""
