"""Revisions of an object count up by one: an event that was deleted before it was sealed leaves a gap (audit.md 4.2).

No tree can show it, because the event was never in one. Postgres counts the revisions and lets no change commit without
its event, so where one is missing, or an object was created twice, somebody was at work past the platform.
"""

from typing import Any
from uuid import UUID

import psycopg

from audit.verifying.ranges import MOST_FLAWS, Flaw


def broken(
    connection: psycopg.Connection[Any], log_id: int, workspace_id: UUID | None, *, first: int, may_lack_begins: bool
) -> list[Flaw]:
    """Where the history of an object that changed from the leaf `first` on is not whole, by the index of what follows.

    `may_lack_begins`: months were dropped after seven years, so that a history may begin anywhere.
    """
    rows = connection.execute(
        _ALL if first == 0 else _RECENT,
        {"log": log_id, "workspace": workspace_id, "first": first, "most": MOST_FLAWS, "cut": may_lack_begins},
    ).fetchall()
    return [
        Flaw(index, "revision", _problem(kind, object_id, rev, op, before, op_before), str(event_id))
        for index, event_id, kind, object_id, rev, op, before, op_before in rows
    ]


def _problem(kind: str, object_id: str, rev: int, op: str, before: int | None, op_before: str | None) -> str:  # noqa: PLR0917  a row
    about = f"{kind} {object_id}"
    if before is None and rev == 1:
        return f"{about}: the first event is its {op}: nobody made it"
    if before is None:
        return f"{about}: the first event is about revision {rev}: what came before is missing"
    if op == "insert":
        return f"{about} was created again after revision {before}"
    if op_before == "delete":
        return f"{about} changed after it was deleted at revision {before}"
    if rev <= before:
        return f"{about}: the {op} of revision {rev} comes after revision {before}"
    return f"{about}: revisions {before + 1} to {rev - 1} are missing"


# The epochs of a log are one history. Several events may tell of the same change.
_QUERY = """
SELECT idx, id, object_type, object_id, rev, op, rev_before, op_before FROM (
  SELECT leaf.log_id, leaf.idx, event.id, event.object_type, event.object_id, event.rev, event.op,
         lag(event.rev) OVER history AS rev_before, lag(event.op) OVER history AS op_before
  FROM audit.event JOIN audit.leaf ON leaf.event_id = event.id JOIN audit.log ON log.id = leaf.log_id
  WHERE event.op <> 'read' AND event.workspace_id IS NOT DISTINCT FROM %(workspace)s {of}
  WINDOW history AS (PARTITION BY event.object_type, event.object_id ORDER BY log.epoch, leaf.idx)
) AS change
WHERE log_id = %(log)s AND idx >= %(first)s AND ((op = 'insert') <> (rev = 1) OR CASE
  WHEN rev_before IS NULL THEN rev <> 1 AND NOT %(cut)s
  WHEN rev = rev_before THEN op <> op_before
  ELSE rev <> rev_before + 1 OR op_before = 'delete' END)
ORDER BY idx LIMIT %(most)s
"""
_ALL = _QUERY.format(of="")
_RECENT = _QUERY.format(
    of="""AND (event.object_type, event.object_id) IN (
    SELECT recent.object_type, recent.object_id FROM audit.leaf AS place JOIN audit.event AS recent ON recent.id = place.event_id
    WHERE place.log_id = %(log)s AND place.idx >= %(first)s AND recent.op <> 'read')"""
)
