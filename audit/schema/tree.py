"""The tables of the Merkle logs: one log for each workspace, one of the instance, grown by the sealer alone.

Leaves and tiles are filled by COPY, which Postgres refuses where row security applies to the role; so they have none,
nobody but the sealer reaches them, and readers go through functions that look at the workspace themselves.
"""

from audit.schema.functions import Function
from audit.schema.tables import before, no_truncate, read_by_auditors, written_once
from audit.taxonomy import OF_THE_LOG
from provenance.postgres.refusals import UNAUDITED

READERS = ("web", "worker", "audit_read")
"""The gateway only writes; what it does needs no proof while it does it."""

_OF_THE_LOG = "{" + ",".join(sorted(OF_THE_LOG)) + "}"

_MAY_READ = """
  -- CASE, because it alone fixes the order: audit.ws() raises where no workspace is in scope, and the instance log has none.
  PERFORM FROM audit.log WHERE id = wanted AND CASE
    WHEN workspace_id IS NULL THEN session_user = 'prov_audit_read' ELSE workspace_id = audit.ws() END;
  IF NOT FOUND THEN
    RETURN;
  END IF;
"""

POSITIONS = Function(
    name="positions",
    arguments="ids uuid[]",
    returns="TABLE (event_id uuid, log_id bigint, idx bigint)",
    definer=True,
    execute_by=READERS,
    source="""
BEGIN
  -- Where events stand in their log. Row security does not hold in here, so the workspace is compared.
  RETURN QUERY SELECT leaf.event_id, leaf.log_id, leaf.idx FROM audit.leaf AS leaf
    JOIN audit.log AS log ON log.id = leaf.log_id
    WHERE leaf.event_id = ANY (ids) AND CASE
      WHEN log.workspace_id IS NULL THEN session_user = 'prov_audit_read' ELSE log.workspace_id = audit.ws() END;
END
""",
)

LEAVES = Function(
    name="leaves",
    arguments="wanted bigint, first_idx bigint, end_idx bigint",
    returns="TABLE (idx bigint, hash bytea, event_id uuid)",
    definer=True,
    execute_by=READERS,
    source=f"""
BEGIN
{_MAY_READ}
  RETURN QUERY SELECT leaf.idx, leaf.hash, leaf.event_id FROM audit.leaf AS leaf
    WHERE leaf.log_id = wanted AND leaf.idx >= first_idx AND leaf.idx < end_idx ORDER BY leaf.idx;
END
""",  # noqa: S608  composed of constants
)

TILES = Function(
    name="tiles",
    arguments="wanted bigint, height integer, numbers bigint[]",
    returns="TABLE (n bigint, data bytea)",
    definer=True,
    execute_by=READERS,
    source=f"""
BEGIN
{_MAY_READ}
  RETURN QUERY SELECT tile.n, tile.data FROM audit.tile AS tile
    WHERE tile.log_id = wanted AND tile.level = height AND tile.n = ANY (numbers);
END
""",  # noqa: S608  composed of constants
)

NOTED = Function(
    name="noted",
    arguments="first_idx bigint, end_idx bigint",
    returns="TABLE (idx bigint, note text)",
    definer=True,
    # The log of the instance alone holds checkpoints, and its reader is the only one for whom all workspaces' are.
    execute_by=("audit_read",),
    source="""
BEGIN
  -- Which checkpoint the log of the instance holds at each index, as far as it is one and no event.
  RETURN QUERY SELECT checkpoint.instance_idx, checkpoint.note FROM audit.checkpoint AS checkpoint
    WHERE checkpoint.instance_idx >= first_idx AND checkpoint.instance_idx < end_idx ORDER BY checkpoint.instance_idx;
END
""",
)

ONLY_SIGN = Function(
    name="only_sign",
    source=f"""
BEGIN
  -- A checkpoint gets its signatures once, after it is durable, and cosignatures are only added to.
  IF TG_OP = 'UPDATE' AND (OLD.signatures IS NULL OR NEW.signatures = OLD.signatures)
     AND pg_catalog.starts_with(NEW.cosignatures, OLD.cosignatures)
     AND pg_catalog.to_jsonb(NEW) - '{{signatures,cosignatures}}'::text[]
         = pg_catalog.to_jsonb(OLD) - '{{signatures,cosignatures}}'::text[] THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION '% on audit.checkpoint is refused: a checkpoint is written once, and can only be signed', TG_OP
    USING ERRCODE = '{UNAUDITED}';
END
""",
)

WATCHED = Function(
    name="watched",
    definer=True,
    returns="void",
    execute_by=("worker",),
    source="""
BEGIN
  -- By the worker that leads, at each look: who sees this grow old knows that nobody looks any more.
  INSERT INTO audit.status (subject, place, problem) VALUES ('watch', '', '')
    ON CONFLICT (subject) DO UPDATE SET at = pg_catalog.clock_timestamp();
END
""",
)

SEALING = Function(
    name="sealing",
    returns="TABLE (leased_until timestamptz, waiting uuid, sealed_at timestamptz, unsigned_since timestamptz, is_unread boolean)",
    definer=True,
    execute_by=(*READERS, "sealer"),
    source="""
DECLARE
  state record;
  -- As a value, so that an index finds what is older.
  a_minute_ago constant uuid := audit.uuid_floor(pg_catalog.clock_timestamp() - interval '1 minute');
BEGIN
  -- Is a sealer at work, which event has waited longest for it, and when was something published last? No content, so for
  -- every reader.
  -- One page of a table that cannot be read must not hide that: who asks says then that it cannot be said.
  is_unread := false;
  BEGIN
    SELECT * INTO state FROM audit.sealer;
    leased_until := LEAST(NULLIF(state.lease_until, '-infinity'), '9000-01-01');
    -- In another cluster the snapshot says nothing, and the sealer itself finds what it has not sealed.
    IF COALESCE(state.system_id = (SELECT system_identifier FROM pg_catalog.pg_control_system()), true) THEN
      SELECT found.id INTO waiting FROM (
        (SELECT event.id, event.xid FROM audit.event
         WHERE event.xid = ANY (ARRAY(SELECT pg_catalog.pg_snapshot_xip(state.snap)))
           AND NOT EXISTS (SELECT FROM audit.leaf WHERE leaf.event_id = event.id) LIMIT 1)
        UNION ALL
        (SELECT event.id, event.xid FROM audit.event
         WHERE event.xid >= pg_catalog.pg_snapshot_xmax(state.snap) AND event.id >= state.sealed_before
           AND NOT EXISTS (SELECT FROM audit.leaf WHERE leaf.event_id = event.id) ORDER BY event.xid LIMIT 1)
      ) AS found ORDER BY found.xid LIMIT 1;
    END IF;
    -- Whoever owns the database can set what the sealer keeps. Whatever that says, the newest events of a minute ago are in a
    -- signed checkpoint.
    IF waiting IS NULL THEN
      SELECT newest.id INTO waiting FROM (
        SELECT event.id FROM audit.event
        WHERE event.id < a_minute_ago ORDER BY event.id DESC LIMIT 20
      ) AS newest WHERE (
        SELECT leaf.idx < (SELECT checkpoint.size FROM audit.checkpoint AS checkpoint
          WHERE checkpoint.log_id = leaf.log_id AND checkpoint.signatures IS NOT NULL ORDER BY checkpoint.size DESC LIMIT 1)
        FROM audit.leaf AS leaf WHERE leaf.event_id = newest.id LIMIT 1) IS NOT TRUE ORDER BY newest.id LIMIT 1;
    END IF;
    -- Whatever is sealed, the log of the instance gets a checkpoint with it.
    SELECT LEAST(newest.at, '9000-01-01') INTO sealed_at FROM audit.log AS log CROSS JOIN LATERAL (
      SELECT checkpoint.at FROM audit.checkpoint AS checkpoint
      WHERE checkpoint.log_id = log.id AND checkpoint.signatures IS NOT NULL ORDER BY checkpoint.size DESC LIMIT 1
    ) AS newest WHERE log.workspace_id IS NULL ORDER BY log.epoch DESC LIMIT 1;
    SELECT checkpoint.at INTO unsigned_since FROM audit.checkpoint AS checkpoint
      WHERE checkpoint.signatures IS NULL ORDER BY checkpoint.at LIMIT 1;
  EXCEPTION WHEN OTHERS THEN
    is_unread := true;
  END;
  RETURN NEXT;
END
""",
)

_BOUNDS = """
  -- Sorted bounds beside the list: by them alone Postgres passes over the months that hold none of these.
  low := (SELECT id FROM unnest(ids) AS id ORDER BY id LIMIT 1);
  high := (SELECT id FROM unnest(ids) AS id ORDER BY id DESC LIMIT 1);
"""

DETAIL_COMMITMENTS = Function(
    name="detail_commitments",
    arguments="ids uuid[]",
    returns=(
        "TABLE (event_id uuid, workspace_id uuid, commitment bytea, media_type text, retention_class text, "
        "erased_at timestamptz)"
    ),
    definer=True,
    execute_by=("sealer",),
    source=f"""
DECLARE
  low uuid;
  high uuid;
BEGIN
  -- HMAC-SHA256 of each stored detail under its salt, so that the sealer holds details against what was signed and reads
  -- none of them. A salt has 32 bytes, half a block; the other half is zeros. What a constraint would refuse is compared
  -- too, because whoever owns the database can take it away.
{_BOUNDS}
  RETURN QUERY SELECT detail.event_id, detail.workspace_id,
      CASE WHEN octet_length(detail.salt) = 32 THEN sha256(substr(bit_send(padded.key # X'{"5c" * 64}'), 5)
        || sha256(substr(bit_send(padded.key # X'{"36" * 64}'), 5) || detail.body))
      WHEN detail.salt IS NOT NULL THEN '' END,
      detail.media_type, detail.retention_class,
      CASE WHEN detail.erased_at IS NOT NULL THEN GREATEST(LEAST(detail.erased_at, '9000-01-01'), '2000-01-01') END
    FROM audit.detail AS detail
    CROSS JOIN LATERAL (SELECT CASE WHEN octet_length(detail.salt) = 32
      THEN ('x' || encode(detail.salt, 'hex'))::bit(256)::bit(512) END) AS padded (key)
    WHERE detail.event_id BETWEEN low AND high AND detail.event_id = ANY (ids);
END
""",  # noqa: S608  composed of constants
)

TOLD_FACTS = Function(
    name="told_facts",
    arguments="ids uuid[]",
    returns="TABLE (event_id uuid, salt bytea, body bytea)",
    definer=True,
    execute_by=("sealer",),
    source=f"""
DECLARE
  low uuid;
  high uuid;
BEGIN
  -- The details in which the log tells of itself: ids, places in the log and ends of keys, and nothing of people.
{_BOUNDS}
  RETURN QUERY SELECT detail.event_id, detail.salt, detail.body
    FROM audit.detail AS detail JOIN audit.event AS event ON event.id = detail.event_id
    WHERE detail.event_id BETWEEN low AND high AND event.id BETWEEN low AND high
      AND detail.event_id = ANY (ids) AND event.action = ANY ('{_OF_THE_LOG}')
    UNION ALL
    SELECT carried.event_id, carried.salt, carried.body FROM audit.carried_detail AS carried WHERE carried.event_id = ANY (ids);
END
""",  # noqa: S608  composed of constants
)

STRAY_DETAILS = Function(
    name="stray_details",
    arguments="most integer",
    returns="TABLE (event_id uuid, workspace_id uuid)",
    definer=True,
    execute_by=("sealer",),
    source="""
BEGIN
  -- Details of no event: no range of a log comes by them.
  RETURN QUERY SELECT detail.event_id, detail.workspace_id FROM audit.detail AS detail
    WHERE NOT EXISTS (SELECT FROM audit.event AS event WHERE event.id = detail.event_id) ORDER BY detail.event_id LIMIT most;
END
""",
)

FUNCTIONS = (
    POSITIONS,
    LEAVES,
    TILES,
    NOTED,
    WATCHED,
    SEALING,
    ONLY_SIGN,
    DETAIL_COMMITMENTS,
    TOLD_FACTS,
    STRAY_DETAILS,
)

TABLES = """
CREATE TABLE audit.log (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- NULL: the log of the instance.
  workspace_id uuid,
  -- Counts up when a log had to be begun anew, after a restore to before what was published.
  epoch integer NOT NULL DEFAULT 1 CHECK (epoch >= 1),
  -- The first line of its checkpoints; no two logs ever share one.
  origin text NOT NULL UNIQUE,
  opened_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX log_epoch ON audit.log (COALESCE(workspace_id, '00000000-0000-0000-0000-000000000000'), epoch);

CREATE TABLE audit.leaf (
  log_id bigint NOT NULL,
  idx bigint NOT NULL CHECK (idx >= 0),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  -- NULL in the instance log: the leaf is a checkpoint of another log, the one that names this index.
  event_id uuid UNIQUE,
  PRIMARY KEY (log_id, idx)
);

CREATE TABLE audit.tile (
  log_id bigint NOT NULL,
  level smallint NOT NULL CHECK (level >= 0),
  n bigint NOT NULL CHECK (n >= 0),
  data bytea NOT NULL CHECK (octet_length(data) = 8192),
  PRIMARY KEY (log_id, level, n)
);

CREATE TABLE audit.checkpoint (
  log_id bigint NOT NULL,
  workspace_id uuid,
  size bigint NOT NULL CHECK (size > 0),
  -- The signed text. Signatures follow once the row is durable: what was never committed must never be signed.
  note text NOT NULL,
  signatures text,
  cosignatures text NOT NULL DEFAULT '',
  frontier bytea NOT NULL,
  -- Where the instance log holds this checkpoint; NULL for its own ones.
  instance_idx bigint,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (log_id, size)
);
CREATE INDEX checkpoint_unsigned ON audit.checkpoint (at) WHERE signatures IS NULL;
CREATE INDEX checkpoint_instance ON audit.checkpoint (instance_idx) WHERE instance_idx IS NOT NULL;

-- One row: who seals, and up to which snapshot everything is sealed.
CREATE TABLE audit.sealer (
  is_the_one boolean PRIMARY KEY DEFAULT true CHECK (is_the_one),
  owner text NOT NULL DEFAULT '',
  -- Counts up with each change of hands, so that a sealer that slept through its lease cannot commit.
  fence bigint NOT NULL DEFAULT 0,
  lease_until timestamptz NOT NULL DEFAULT '-infinity',
  snap pg_snapshot NOT NULL DEFAULT '1:1:',
  -- Which cluster and timeline the snapshot is of: transaction ids mean nothing in another one.
  system_id bigint,
  timeline text NOT NULL DEFAULT '',
  -- Events up to `sealed_before` are not looked for any more, and those up to `sealed_maybe` may be sealed already.
  sealed_before uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
  sealed_maybe uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
);
INSERT INTO audit.sealer DEFAULT VALUES;

-- How the sealer and each place outside the database that takes checkpoints are doing, for pages and probes.
CREATE TABLE audit.status (
  subject text PRIMARY KEY,
  place text NOT NULL,
  -- What is wrong, for people; empty while nothing is.
  problem text NOT NULL,
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- How many entries of the log of logs it took.
  size bigint
);
"""

TRIGGERS = (
    written_once("log", "leaf", "tile")
    + before("checkpoint", "audit_only_sign", "UPDATE OR DELETE", ONLY_SIGN)
    + no_truncate("checkpoint")
)


def _readable(table: str) -> str:
    return f"""
ALTER TABLE audit.{table} ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit.{table} FOR SELECT TO prov_web, prov_worker USING (workspace_id = audit.ws());
{read_by_auditors(table)}
CREATE POLICY sealer ON audit.{table} TO prov_sealer USING (true) WITH CHECK (true);
"""


RIGHTS = (
    _readable("log")
    + _readable("checkpoint")
    + """
GRANT SELECT ON audit.log, audit.checkpoint TO prov_web, prov_worker, prov_audit_read;
GRANT SELECT, INSERT ON audit.log, audit.leaf, audit.tile, audit.checkpoint TO prov_sealer;
GRANT UPDATE (signatures, cosignatures) ON audit.checkpoint TO prov_sealer;
GRANT SELECT, UPDATE ON audit.sealer TO prov_sealer;
GRANT SELECT, INSERT, UPDATE, DELETE ON audit.status TO prov_sealer;
GRANT SELECT ON audit.status TO prov_web, prov_gateway, prov_worker, prov_audit_read;
-- Without db_role: a key that the sealer adds signs no event.
GRANT INSERT (kid, purpose, alg, vkey, rotation, not_before) ON audit.key TO prov_sealer;
CREATE POLICY sealer_reads ON audit.event FOR SELECT TO prov_sealer USING (true);
GRANT SELECT ON audit.event TO prov_sealer;
"""
)
