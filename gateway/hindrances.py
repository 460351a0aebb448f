"""What keeps calls from leaving by the state of the database, not by any policy (T27)."""

from audit.hindrances import NEW_TIMELINE, SENTENCES
from gateway import sql
from gateway.contract import NOT_DURABLE, UNRECONCILED
from gateway.database import Connection, one
from gateway.decision import Deny


async def hindrance(connection: Connection, *, is_once: bool) -> Deny | None:
    """Why no call leaves now, or none that must happen once; None when the database is in nobody's way."""
    row = await one(connection, sql.HINDRANCE, {"is_once": is_once})
    if row is None or not row["found"]:
        return None
    return Deny(UNRECONCILED if row["found"] == NEW_TIMELINE else NOT_DURABLE, SENTENCES[row["found"]])
