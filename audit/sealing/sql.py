"""What the sealer says to Postgres, one statement for each thing it does."""

from audit.glance import COLUMNS
from audit.schema.timelines import SYSTEM, TIMELINE

TAKE_LEASE = """
UPDATE audit.sealer
SET owner = %(owner)s, fence = fence + 1, lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE lease_until < clock_timestamp() OR owner = %(owner)s
  -- No sealer asks for one that long: somebody else set it, and would keep all of them from sealing.
  OR lease_until > clock_timestamp() + make_interval(secs => 2 * %(seconds)s) RETURNING fence
"""
# Not into the past: how long nobody has sealed is read from it.
GIVE_LEASE_BACK = "UPDATE audit.sealer SET lease_until = clock_timestamp() WHERE owner = %(owner)s"
HERE = f"SELECT {SYSTEM}, {TIMELINE}"
STATE = f"""
SELECT owner, fence, snap::text, sealed_before, sealed_maybe, pg_current_snapshot()::text, system_id, timeline, {SYSTEM}, {TIMELINE} FROM audit.sealer
"""  # noqa: S608  composed of constants
# Asked of the index for each event. As NOT EXISTS it can become a hash of all leaves there are, made anew in every pass, where
# the planner has not heard yet how many they are.
_NO_LEAF = "(SELECT true FROM audit.leaf WHERE leaf.event_id = event.id LIMIT 1) IS NULL"
_CANDIDATE = f"""
id >= (SELECT sealed_before FROM audit.sealer) AND (id > (SELECT sealed_maybe FROM audit.sealer)
  OR {_NO_LEAF})
"""  # noqa: S608  composed of constants
# Each half in the order of its index, and no more of it than a pass takes: sorted as a whole, a long backlog would be
# sorted again for every pass.
COMMITTED = f"""
(SELECT xid::text::bigint AS number, {COLUMNS} FROM audit.event
 WHERE xid = ANY (%(running)s::int8[]::text[]::xid8[]) AND {_CANDIDATE} ORDER BY event.xid LIMIT %(most)s)
UNION ALL
(SELECT xid::text::bigint AS number, {COLUMNS} FROM audit.event
 WHERE xid >= %(sealed)s::text::xid8 AND xid < %(now)s::text::xid8 AND {_CANDIDATE} ORDER BY event.xid LIMIT %(most)s)
"""  # noqa: S608  composed of constants
OF_TRANSACTION = f"""
SELECT xid::text::bigint, {COLUMNS} FROM audit.event WHERE xid = %(xid)s::text::xid8 AND {_CANDIDATE}
"""  # noqa: S608  composed of constants
LOOKED_TO = "SELECT id FROM audit.event WHERE id > %(after)s ORDER BY id OFFSET %(count)s LIMIT 1"
OVERLOOKED = f"""
SELECT xid::text::bigint, {COLUMNS} FROM audit.event
WHERE id > %(after)s AND id <= %(end)s AND xid < %(sealed)s::text::xid8 AND xid <> ALL (%(running)s::int8[]::text[]::xid8[])
  AND {_NO_LEAF} ORDER BY event.id LIMIT %(most)s
"""  # noqa: S608  composed of constants
NOT_SEALED = f"""
SELECT 0::bigint, {COLUMNS} FROM audit.event WHERE id > %(after)s AND id <= %(end)s AND {_NO_LEAF} ORDER BY event.id LIMIT %(most)s
"""  # noqa: S608  composed of constants
OF_IDS = f"SELECT {COLUMNS} FROM audit.event WHERE id = ANY (%(ids)s)"  # noqa: S608  composed of constants
EDGES = """
SELECT pg_postmaster_start_time(), clock_timestamp(), (SELECT id FROM audit.event ORDER BY id DESC LIMIT 1)
"""
_RENEW = "lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)"
_WHOSE = "WHERE fence = %(fence)s AND owner = %(owner)s"
KEEP_LEASE = f"UPDATE audit.sealer SET {_RENEW} {_WHOSE}"  # noqa: S608  composed of constants
KEEP_SNAPSHOT = f"""
UPDATE audit.sealer SET {_RENEW}, snap = %(snap)s::pg_snapshot {_WHOSE}
"""  # noqa: S608  composed of constants
KEEP_CLUSTER = f"""
UPDATE audit.sealer SET {_RENEW}, snap = %(snap)s::pg_snapshot, system_id = %(system_id)s, timeline = %(timeline)s,
  sealed_before = %(sealed_before)s, sealed_maybe = %(sealed_maybe)s
{_WHOSE}
"""  # noqa: S608  composed of constants
KEEP_LOOKING = f"""
UPDATE audit.sealer SET {_RENEW}, sealed_maybe = GREATEST(sealed_maybe, %(newest)s) {_WHOSE}
"""  # noqa: S608  composed of constants
ANY_PUBLISHED = "SELECT FROM audit.checkpoint WHERE signatures IS NOT NULL LIMIT 1"
NEWEST_PUBLISHED = """
SELECT newest.note, newest.signatures FROM (
  SELECT DISTINCT ON (workspace_id) id FROM audit.log ORDER BY workspace_id, epoch DESC
) AS log CROSS JOIN LATERAL (
  SELECT note, signatures FROM audit.checkpoint
  WHERE checkpoint.log_id = log.id AND signatures IS NOT NULL ORDER BY size DESC LIMIT 1
) AS newest
"""
FORGET_STATUS = "DELETE FROM audit.status WHERE subject <> ALL (%(known)s)"
UNSIGNED = """
SELECT log_id, size, note, workspace_id IS NULL FROM audit.checkpoint WHERE signatures IS NULL ORDER BY at, log_id, size
"""
SIGN = """
UPDATE audit.checkpoint SET signatures = %(signatures)s
WHERE log_id = %(log_id)s AND size = %(size)s AND signatures IS NULL
"""
NEWEST_EPOCH = """
SELECT id, workspace_id, COALESCE(epoch, 0), COALESCE(origin, '') FROM audit.log WHERE workspace_id IS NOT DISTINCT FROM %(workspace_id)s
ORDER BY epoch DESC LIMIT 1
"""
OPEN_LOG = """
INSERT INTO audit.log (workspace_id, epoch, origin) VALUES (%(workspace_id)s, %(epoch)s, %(origin)s)
RETURNING id, workspace_id, epoch, origin
"""
STANDING = """
SELECT size, note, signatures, frontier FROM audit.checkpoint WHERE log_id = %(log_id)s AND size >= COALESCE(
  (SELECT size FROM audit.checkpoint WHERE log_id = %(log_id)s AND signatures IS NOT NULL ORDER BY size DESC LIMIT 1), 0)
ORDER BY size
"""
TAKEN_UP = """
SELECT id, workspace_id, COALESCE(epoch, 0), COALESCE(origin, '') FROM audit.log
WHERE id IN (SELECT DISTINCT ON (workspace_id) id FROM audit.log ORDER BY workspace_id, epoch DESC)
  OR id IN (SELECT log_id FROM audit.checkpoint WHERE signatures IS NULL)
"""
TILE = "SELECT data FROM audit.tile WHERE log_id = %(log_id)s AND level = %(level)s AND n = %(n)s"
LAST_LEAVES = """
SELECT hash FROM audit.leaf WHERE log_id = %(log_id)s AND idx >= %(first)s AND idx < %(size)s ORDER BY idx
"""
COPY_LEAVES = "COPY audit.leaf (log_id, idx, hash, event_id) FROM STDIN (FORMAT binary)"
STORE_TILE = "INSERT INTO audit.tile (log_id, level, n, data) VALUES (%(log_id)s, %(level)s, %(n)s, %(data)s)"
STORE_CHECKPOINT = """
INSERT INTO audit.checkpoint (log_id, workspace_id, size, note, frontier, instance_idx)
VALUES (%(log_id)s, %(workspace_id)s, %(size)s, %(note)s, %(frontier)s, %(instance_idx)s)
"""
SILENT = """
SELECT workspace_id FROM audit.log CROSS JOIN LATERAL (
  SELECT at FROM audit.checkpoint WHERE checkpoint.log_id = log.id ORDER BY size DESC LIMIT 1
) AS newest WHERE newest.at < clock_timestamp() - %(heartbeat)s::interval
"""
ENDED_KEYS = "SELECT kid, not_after FROM audit.key WHERE purpose = 'event' AND not_after < clock_timestamp()"
OLD_KEYS = r"""
SELECT kid, not_before FROM (
  SELECT DISTINCT ON (regexp_replace(kid, '-\d+$', '')) kid, not_before FROM audit.key
  WHERE purpose = 'event' ORDER BY regexp_replace(kid, '-\d+$', ''), regexp_replace(kid, '^.*-', '')::bigint DESC
) AS newest WHERE not_before < %(due)s AND NOT EXISTS (
  SELECT FROM audit.event WHERE workspace_id IS NULL AND action = %(event)s AND id >= %(reminded)s)
ORDER BY kid
"""
LOG_KEYS = "SELECT kid, vkey, rotation FROM audit.key WHERE purpose = 'checkpoint'"
REGISTER_KEY = """
INSERT INTO audit.key (kid, purpose, alg, vkey, rotation)
VALUES (%(kid)s, 'checkpoint', %(alg)s, %(vkey)s, %(rotation)s)
"""
