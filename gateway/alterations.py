"""Rows that the gateway met and that are not what the log says: told as one critical event, once for each state (T06)."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from audit.attestation import AlreadyTold, Altered, altered_event
from audit.signing import KeyRing
from gateway.journal import Journal
from secrets_vault.references import NotAsSigned


class Alterations:
    """What this process has told about altered rows."""

    def __init__(self, journal: Journal, keys: KeyRing) -> None:
        self._journal = journal
        self.keys = keys
        self._told = AlreadyTold()

    async def record(self, workspace_id: UUID, altered: Sequence[Altered]) -> None:
        """Make sure that the log names them. `AuditUnavailable` when it cannot."""
        if news := self._told.news(altered):
            event = altered_event(self.keys, by="gateway", workspace_id=workspace_id, altered=news)
            await self._journal.record(workspace_id, [event])
            self._told.tell(news)

    @asynccontextmanager
    async def of_secrets(self, workspace_id: UUID) -> AsyncIterator[None]:
        """Have the log name what stands between a secret and its place, outside of the transaction that met it."""
        try:
            yield
        except NotAsSigned as refusal:
            await self.record(workspace_id, refusal.altered)
            raise
