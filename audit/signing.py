"""Message authentication of events: which root keys this process holds, and the key of one workspace derived from them.

Each process signs under a key id of its own (`web-1`, `gateway-1`, …), and the database accepts a key id only from the
Postgres role it is registered for (T01). The key of a workspace is derived (HKDF), so that an auditor can be given what
verifies one workspace and nothing else.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self
from uuid import UUID

from django.conf import settings

from audit.taxonomy import DECISIONS
from provenance.actor import ActorKind
from provenance.crypto import KEY_BYTES, KeyMissing, derive
from provenance.held_keys import HeldKeys, process_of
from provenance.home import NEXT

MAC_PREFIX = b"provenance-audit-v1\n"
INSTANCE_LOG = "instance"
SPEAKS_FOR_PEOPLE = frozenset({"web", "setup"})
"""The processes in which people act. Postgres takes events of people from their role alone (`audit.store`)."""


def may_sign(kid: str, *, action: str, actor_type: str) -> bool:
    """Whether an event under this key id may tell that: a worker's or gateway's key proves nothing about people (T01)."""
    is_of_people = actor_type == ActorKind.USER or action in DECISIONS
    return not is_of_people or kid.rpartition("-")[0] in SPEAKS_FOR_PEOPLE


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key under which one process signs the events of one workspace."""

    kid: str
    secret: bytes = field(repr=False)
    _begun: hmac.HMAC = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Begin what is the same for every event once: it costs as much as a body does."""
        object.__setattr__(self, "_begun", hmac.new(self.secret, MAC_PREFIX, hashlib.sha256))

    def mac(self, body: bytes) -> bytes:
        """HMAC-SHA256 of the exact stored bytes."""
        mac = self._begun.copy()
        mac.update(body)
        return mac.digest()

    def verifies(self, body: bytes, mac: bytes) -> bool:
        """Whether `mac` is the one of `body` under this key, in constant time."""
        return hmac.compare_digest(self.mac(body), mac)


class KeyRing:
    """Root keys by key id. `current` signs; the others verify what other processes and earlier keys signed.

    A ring made from settings takes in what is new while the process runs, so that rotation stops nobody.
    """

    __slots__ = ("_held", "_process", "_seen", "_source")

    def __init__(self, current: str, roots: Mapping[str, bytes], source: HeldKeys | None = None) -> None:
        self._held = (current, roots)
        self._process = process_of(current)
        self._source = source
        self._seen: Mapping[str, str] = {}

    @classmethod
    def from_settings(cls, process: str | None = None) -> Self:
        """The ring of this process. `process` names the part (`web`, `gateway`) where one process hosts two.

        Raises `KeyMissing` when the process was given no key to sign with.
        """
        keys = settings.AUDIT_MAC_KEYS
        source = keys if isinstance(keys, HeldKeys) else None
        return cls(*_held(source.now() if source else keys, process or settings.AUDIT_SIGNS_AS), source)

    @classmethod
    def parse(cls, keys: Mapping[str, str], process: str) -> Self:
        """A ring of `{kid: 32 bytes in base64}` whose current key is the newest one of `process`.

        Key ids end in a number that counts up: `web-2` signs as soon as it exists, and `web-1` goes on verifying; what is
        called `web-2.next` verifies only.
        """
        return cls(*_held(keys, process))

    @property
    def current(self) -> str:
        """The key id that signs now."""
        return self._now()[0]

    @property
    def roots(self) -> Mapping[str, bytes]:
        """Every root key that this process holds."""
        return self._now()[1]

    def signing_key(self, workspace_id: UUID | None) -> SigningKey:
        """What signs an event of this workspace now (None: the instance log)."""
        current, roots = self._now()
        return _key(roots, current, workspace_id)

    def key(self, kid: str, workspace_id: UUID | None) -> SigningKey | None:
        """What verifies events under this key id, or None when this process does not hold it."""
        _current, roots = self._now()
        if kid not in roots and self._source is not None:
            roots = self._take(self._source.missing(kid))[1]
        return _key(roots, kid, workspace_id) if kid in roots else None

    def derived_keys(self, workspace_id: UUID | None) -> dict[str, bytes]:
        """Key id -> the workspace's key, for every root this process holds: what an auditor of one workspace gets."""
        roots = self.roots
        return {kid: _key(roots, kid, workspace_id).secret for kid in roots}

    def __repr__(self) -> str:
        """Names, and nothing of the keys."""
        current, roots = self._held
        return f"KeyRing(current={current!r}, roots={sorted(roots)})"

    def _now(self) -> tuple[str, Mapping[str, bytes]]:
        return self._held if self._source is None else self._take(self._source.now())

    def _take(self, keys: Mapping[str, str]) -> tuple[str, Mapping[str, bytes]]:
        if keys is not self._seen:
            # One assignment, so that another thread never signs with a key that its roots do not have.
            self._held, self._seen = _held(keys, self._process), keys
        return self._held


def _held(keys: Mapping[str, str], process: str) -> tuple[str, Mapping[str, bytes]]:
    roots = {name.removesuffix(NEXT): _decoded(name, text) for name, text in keys.items()}
    own = sorted((name for name in keys if process_of(name) == process and not name.endswith(NEXT)), key=_number)
    if not own:
        raise KeyMissing(
            f"This process has no key to sign the events of {process or 'an unnamed role'}. "
            "Start it with `./manage.py run ROLE`, or set AUDIT_MAC_KEYS_FILE."
        )
    return own[-1], roots


def _key(roots: Mapping[str, bytes], kid: str, workspace_id: UUID | None) -> SigningKey:
    return _derived(roots[kid], kid, workspace_id)


@lru_cache(maxsize=4096)
def _derived(root: bytes, kid: str, workspace_id: UUID | None) -> SigningKey:
    log = str(workspace_id) if workspace_id else INSTANCE_LOG
    return SigningKey(kid=kid, secret=derive(root, f"audit-mac/{kid}/{log}".encode()))


def _decoded(kid: str, text: str) -> bytes:
    try:
        root = base64.b64decode(text, validate=True)
    except binascii.Error:
        root = b""
    if len(root) != KEY_BYTES:
        raise KeyMissing(f"The audit key {kid} must be {KEY_BYTES} random bytes in base64.") from None
    return root


def _number(kid: str) -> int:
    return int(kid.rpartition("-")[2])
