"""Rows that the gateway met and that are not what the log says: told as one critical event, once for each state (T06)."""

from collections.abc import Sequence
from uuid import UUID

from audit.attestation import Altered, Told, altered_event
from audit.signing import KeyRing
from gateway.journal import Journal


class Alterations:
    """What this process has told about altered rows."""

    def __init__(self, journal: Journal, keys: KeyRing) -> None:
        self._journal = journal
        self._keys = keys
        self._told = Told()

    async def record(self, workspace_id: UUID, altered: Sequence[Altered]) -> None:
        """Make sure that the log names them. `AuditUnavailable` when it cannot."""
        if news := self._told.news(altered):
            event = altered_event(self._keys, by="gateway", workspace_id=workspace_id, altered=news)
            await self._journal.record(workspace_id, [event])
            self._told.tell(news)
