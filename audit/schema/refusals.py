"""Counts of refusals (`audit.refusal`) as SQL: they only go up, and no count is told or taken without its event."""

from audit.clocks import CLOCK_TOLERANCE
from audit.schema.functions import Function
from audit.schema.tables import at_commit, before, no_truncate
from provenance.postgres.refusals import UNAUDITED

_BETWEEN_HOSTS = f"{2 * CLOCK_TOLERANCE.seconds // 60} minutes"

ONLY_COUNT = Function(
    name="only_count",
    source=f"""
BEGIN
  -- Counts of refusals go up. What is told goes up in its own minute, and the row goes when that minute is over: never both
  -- in one transaction, so that no event stands for two changes.
  IF TG_OP = 'UPDATE' AND NEW.count >= OLD.count AND NEW.reported >= OLD.reported
     AND (NEW.source, NEW.minute, NEW.action) = (OLD.source, OLD.minute, OLD.action)
     AND (NEW.reported = OLD.reported OR OLD.minute = pg_catalog.date_trunc('minute', pg_catalog.now())) THEN
    RETURN NEW;
  END IF;
  IF TG_OP = 'DELETE' AND OLD.minute < pg_catalog.date_trunc('minute', pg_catalog.now()) THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION '% on audit.refusal is refused: counts only go up, and go when their minute is over', TG_OP
    USING ERRCODE = '{UNAUDITED}';
END
""",
)

REFUSAL_TOLD = Function(
    name="refusal_told",
    # The instance log may be written by who may not read it.
    definer=True,
    source=f"""
DECLARE
  taken bigint;
  told bigint;
BEGIN
  taken := CASE TG_OP WHEN 'DELETE' THEN OLD.count - OLD.reported ELSE (
    SELECT kept.reported - OLD.reported FROM audit.refusal AS kept
    WHERE (kept.source, kept.minute, kept.action) = (OLD.source, OLD.minute, OLD.action)) END;
  SELECT COALESCE(sum((event.body::jsonb ->> 'gap')::bigint + 1), 0) INTO told
    FROM audit.event AS event JOIN audit.detail AS detail ON detail.event_id = event.id
    CROSS JOIN LATERAL (SELECT pg_catalog.convert_from(detail.body, 'UTF8')::jsonb) AS said (facts)
    WHERE event.id >= audit.uuid_floor(pg_catalog.now() - interval '{_BETWEEN_HOSTS}')
      AND detail.event_id >= audit.uuid_floor(pg_catalog.now() - interval '{_BETWEEN_HOSTS}')
      AND event.xid = pg_catalog.pg_current_xact_id() AND event.workspace_id IS NULL AND event.action = OLD.action
      AND pg_catalog.left(said.facts ->> 'source', 200) = OLD.source
      AND said.facts ->> 'minute' = pg_catalog.to_char(OLD.minute AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"');
  IF taken > told THEN
    RAISE EXCEPTION '% refusals of % are not told: no event of this transaction stands for them', taken - told, OLD.source
      USING ERRCODE = '{UNAUDITED}';
  END IF;
  RETURN NULL;
END
""",  # noqa: S608  composed of constants
)

FUNCTIONS = (ONLY_COUNT, REFUSAL_TOLD)

TABLES = """
-- How often an unknown source was refused in one minute: the first refusals are events, the rest a count (T26).
CREATE TABLE audit.refusal (
  -- Bounded, so that no row of somebody who took a door over stops the next event that tells of refusals.
  source text NOT NULL CHECK (length(source) <= 200),
  minute timestamptz NOT NULL CHECK (isfinite(minute) AND extract(epoch FROM minute) > 0),
  action text NOT NULL,
  count bigint NOT NULL CHECK (count BETWEEN 1 AND 1000000000),
  reported bigint NOT NULL CHECK (reported BETWEEN 0 AND count),
  PRIMARY KEY (source, minute, action)
);
"""

TRIGGERS = (
    before("refusal", "audit_only_count", "UPDATE OR DELETE", ONLY_COUNT)
    + at_commit("refusal", "audit_counts_told", "UPDATE OF reported", REFUSAL_TOLD, when="NEW.reported > OLD.reported")
    + at_commit("refusal", "audit_count_taken", "DELETE", REFUSAL_TOLD, when="OLD.count > OLD.reported")
    + no_truncate("refusal")
)

RIGHTS = """
GRANT SELECT, INSERT, UPDATE (count, reported), DELETE ON audit.refusal TO prov_web, prov_gateway;
"""
