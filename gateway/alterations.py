"""Rows that the gateway met and that are not what the log says: told as one critical event, once for each state (T06)."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from audit.attestation import AlreadyTold, Altered, LoadedRow, altered_event
from audit.signing import KeyRing
from gateway.journal import Journal
from secrets_vault.references import NotAsSigned


def gone(workspace_id: UUID, told: Iterable[Mapping[str, str]], there: Iterable[tuple[str, str]]) -> list[Altered]:
    """Rows that were told of and that nobody deletes, and are not there: somebody took them away past the platform."""
    missing = sorted({(row["object_type"], row["object_id"]) for row in told} - set(there))
    return [Altered(LoadedRow(type_, id_, workspace_id, 0, None), "it is not there") for type_, id_ in missing]


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
