"""The keys that sign checkpoints: where the sealer has them from, and how the database comes to know them.

Auditors get the public ones by another way; what stands in the database shows which key followed which, each signed by
the one before it.
"""

import base64
import logging
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg
from django.conf import settings

from audit.notes import Ed25519Verifier, LogKey, LogSigner
from audit.sealing import sql
from audit.succession import OVERLAP, Succession
from provenance.home import NEXT
from provenance.keyfiles import KeyRefused

REREAD_SECONDS = 10
"""How soon a key that was put beside the log's others is taken up."""

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]
Tell = Callable[[dict[str, Any]], None]
"""Stores the event of a key that was replaced."""


def log_signer() -> LogSigner:
    """The log's keys, as their source has them at this moment. Raises `KeyRefused`."""
    seeds = settings.LOG_SEEDS.again()
    keys = [_log_key(kid, seed) for kid, seed in seeds.items() if not kid.endswith(NEXT)]
    return LogSigner.of([*keys, *_keys_in_vault({key.kid for key in keys})])


@dataclass(slots=True)
class LogKeys:
    """The keys that one sealer holds. `reread` gives those that their source has by now."""

    signer: LogSigner
    reread: Callable[[], LogSigner] | None = None
    _reread_at: float = 0.0

    def refusal(self, connection: Connection) -> str:
        """Why these are not the keys of this log; empty when they are, or follow those that are."""
        return _not_of_this_log(self.signer, _registered(connection))

    def register(self, connection: Connection, installation: str, tell: Tell) -> None:
        """Publish those that the database does not know, and learn until when replaced ones sign."""
        known = _registered(connection)
        ends: dict[str, datetime] = {}
        for key in self.signer.keys:
            before = self.signer.before(key)
            if key.kid not in known:
                known[key.kid] = (key.material, _publish(connection, key, before, installation, tell))
            if before and (rotation := known[key.kid][1]):
                ends[before.kid] = Succession.parse(rotation).until
        self.signer = self.signer.ending(ends)

    def renew(self, connection: Connection, installation: str, tell: Tell) -> None:
        """Take in keys that came while it runs. Ones that are no keys of this log leave those that it has."""
        if self.reread is None or time.monotonic() < self._reread_at:
            return
        self._reread_at = time.monotonic() + REREAD_SECONDS
        try:
            found = self.reread()
        except KeyRefused as problem:
            logger.warning("the log's keys were not read again: %s", problem)
            return
        if [key.kid for key in found.keys] == [key.kid for key in self.signer.keys]:
            return
        if refusal := _not_of_this_log(found, _registered(connection)):
            logger.error("the log's new keys were not taken: %s", refusal)
            return
        self.signer = found
        self.register(connection, installation, tell)


def _not_of_this_log(signer: LogSigner, known: Mapping[str, tuple[str, str]]) -> str:
    for key in signer.keys:
        before = signer.before(key)
        if key.kid in known and known[key.kid][0] != key.material:
            return (
                f"The log's key {key.kid} is not the one that signed until now. Put its file back; to replace it, run "
                "`./manage.py rotate_keys log`, so that the old key says which one follows."
            )
        if key.kid not in known and not before and any(kid.startswith(key.kid.split("-")[0]) for kid in known):
            return f"The log's key {key.kid} follows one that is not here and cannot say so. Put that one's file back."
    return ""


def _registered(connection: Connection) -> dict[str, tuple[str, str]]:
    """Key id -> the public key, and how the one before said that it follows."""
    rows = connection.execute(sql.LOG_KEYS).fetchall()
    return {kid: (material, rotation) for kid, material, rotation in rows}


def _publish(connection: Connection, key: LogKey, before: LogKey | None, installation: str, tell: Tell) -> str:
    """Register a key; how the one before it said that it follows."""
    rotation = ""
    with connection.transaction():
        if before:
            until = datetime.now(UTC) + OVERLAP
            rotation = Succession.signed_by(before, key, installation, until).text
            tell({"old": before.kid, "new": key.kid, "old_ends_at": until.isoformat(), "rotation": rotation})
        values = {"kid": key.kid, "alg": key.algorithm, "vkey": key.material, "rotation": rotation}
        connection.execute(sql.REGISTER_KEY, values)
    return rotation


def _log_key(kid: str, seed: str) -> LogKey:
    kind, _, number = kid.partition("-")
    make = LogKey.ed25519 if kind == "checkpoint" else LogKey.mldsa
    return make(base64.b64decode(seed), int(number))


def _keys_in_vault(held: AbstractSet[str]) -> list[LogKey]:
    """The versions of the key in Vault; where one has the number of a file, the file was there first."""
    transit = settings.LOG_TRANSIT
    if transit is None:
        return []
    found = [
        LogKey(Ed25519Verifier.kind, version, public, partial(transit.sign, version))
        for version, public in transit.public_keys().items()
    ]
    return [key for key in found if key.kid not in held]
