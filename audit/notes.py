"""Checkpoints as signed notes (c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature). Pure.

A checkpoint says how large a log is and what its root is. It is signed with Ed25519 under the log's own name, and that
of the instance log with ML-DSA-44 as well, because a record of seven years must outlive Ed25519's assumptions.
"""

import base64
import hashlib
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import ClassVar, Self, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from audit.merkle import HASH_BYTES

MOST_SIGNATURES = 64
_SIGNATURE_START = "— "
_TIMESTAMP_BYTES = 8
_SUBTREE_LABEL = b"subtree/v1\n\x00"


class BadNote(ValueError):
    """The text is no signed note, no checkpoint, or no known key signed it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How large a log is, and its root. `origin` names the log and is never used for another one."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The signed text: three lines, without extensions."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` gave. Raises `BadNote`."""
        lines = text.split("\n")
        try:
            origin, size, root, *extensions = lines
            found = cls(origin, int(size), base64.b64decode(root, validate=True))
        except ValueError as error:
            raise BadNote("this is no checkpoint") from error
        if extensions != [""] or not origin or found.text != text or len(found.root) != HASH_BYTES:
            raise BadNote("this is no checkpoint of three lines")
        return found


@dataclass(frozen=True, slots=True)
class Verifier(ABC):
    """A public key under a name, with the id and the text form that c2sp.org/signed-note gives it.

    Kinds differ in their library, and in the message that they sign of a checkpoint; before the signature may stand a time.
    """

    name: str
    public: bytes
    kind: ClassVar[int]
    library: ClassVar[type[Ed25519PublicKey | MLDSA44PublicKey]]
    public_bytes: ClassVar[int] = 32
    timestamp_bytes: ClassVar[int] = _TIMESTAMP_BYTES

    @property
    def id(self) -> bytes:
        """Four bytes that name the key beside its name."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key as text, for whoever is to verify."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    @abstractmethod
    def message(self, checkpoint: Checkpoint, timestamp: bytes) -> bytes:
        """The bytes under a signature of the checkpoint at that time."""

    def verifies(self, checkpoint: Checkpoint, signature: bytes) -> bool:
        """Whether the signature, with the time before it, is this key's over the checkpoint."""
        timestamp, signature = signature[: self.timestamp_bytes], signature[self.timestamp_bytes :]
        try:
            self.library.from_public_bytes(self.public).verify(signature, self.message(checkpoint, timestamp))
        except InvalidSignature:
            return False
        return True


_Kind = TypeVar("_Kind", bound=Verifier)


class Ed25519Verifier(Verifier):
    """Verifies signatures of type 0x01, over the text itself."""

    __slots__ = ()
    kind = 0x01
    library = Ed25519PublicKey
    timestamp_bytes = 0

    def message(self, checkpoint: Checkpoint, timestamp: bytes) -> bytes:  # noqa: ARG002  this kind has no time
        """The text."""
        return checkpoint.text.encode()


class MldsaVerifier(Verifier):
    """Verifies signatures of type 0x06, over the `cosigned_message` of c2sp.org/tlog-cosignature."""

    __slots__ = ()
    kind = 0x06
    library = MLDSA44PublicKey
    public_bytes = 1312

    def message(self, checkpoint: Checkpoint, timestamp: bytes) -> bytes:
        """What names the signer, the time, the log, and all of its tree."""
        return cosigned_message(self.name, timestamp, checkpoint)


class Ed25519Cosigner(Verifier):
    """Verifies a witness's signatures of type 0x04 of c2sp.org/tlog-cosignature. No log signs with one."""

    __slots__ = ()
    kind = 0x04
    library = Ed25519PublicKey

    def message(self, checkpoint: Checkpoint, timestamp: bytes) -> bytes:
        """The time in words before the text."""
        return f"cosignature/v1\ntime {int.from_bytes(timestamp)}\n{checkpoint.text}".encode()


AnyVerifier = Ed25519Verifier | MldsaVerifier
"""What verifies a log's own signatures."""
AnyCosigner = Ed25519Cosigner | MldsaVerifier
"""What verifies a witness's."""
_KINDS: dict[int, type[AnyVerifier]] = {kind.kind: kind for kind in (Ed25519Verifier, MldsaVerifier)}
_COSIGNERS: dict[int, type[AnyCosigner]] = {kind.kind: kind for kind in (Ed25519Cosigner, MldsaVerifier)}


def parse_vkey(text: str) -> AnyVerifier:
    """The key that a vkey names. Raises `BadNote` for another kind of key and for one that is not what it says."""
    name, key_id, material = _vkey_parts(text)
    return _named(verifier_of(name, material), key_id, "verifier key")


def parse_cosigner(text: str) -> AnyCosigner:
    """The key of a witness that a vkey names. Raises `BadNote` for another kind of key."""
    name, key_id, material = _vkey_parts(text)
    key = _of_kind(_COSIGNERS, name, material, "Ed25519 (type 4) or ML-DSA-44 (type 6) key of a witness")
    return _named(key, key_id, "witness's key")


def verifier_of(name: str, material: bytes) -> AnyVerifier:
    """The key under that name: its kind in one byte, then the public key. Raises `BadNote` for another kind of key."""
    return _of_kind(_KINDS, name, material, "Ed25519 or ML-DSA-44 verifier key")


def _vkey_parts(text: str) -> tuple[str, str, bytes]:
    """Name, id, and the key as text has it; nothing where it is no base64."""
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    try:
        return name, key_id, base64.b64decode(encoded, validate=True)
    except ValueError:
        return name, key_id, b""


def _of_kind(kinds: Mapping[int, type[_Kind]], name: str, material: bytes, wanted: str) -> _Kind:
    kind = kinds.get(material[0]) if material else None
    if kind is None or len(material) != 1 + kind.public_bytes:
        raise BadNote(f"this is no {wanted}")
    return kind(name, material[1:])


def _named(key: _Kind, key_id: str, what: str) -> _Kind:
    if key.id.hex() != key_id or not _is_key_name(key.name):
        raise BadNote(f"the id of the {what} is not that of its name and key")
    return key


@dataclass(frozen=True, slots=True)
class LogKey:
    """One private key of the log. `number` counts its replacements up; `sign` may be somebody else's, far away."""

    kind: int
    number: int
    public: bytes
    sign: Callable[[bytes], bytes] = field(repr=False)
    ends_at: datetime | None = None
    """Until when it signs beside the key that replaced it."""

    @classmethod
    def ed25519(cls, seed: bytes, number: int = 1) -> "LogKey":
        """Of a seed of 32 bytes."""
        key = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(Ed25519Verifier.kind, number, key.public_key().public_bytes_raw(), key.sign)

    @classmethod
    def mldsa(cls, seed: bytes, number: int = 1) -> "LogKey":
        """Of a seed of 32 bytes."""
        key = MLDSA44PrivateKey.from_seed_bytes(seed)
        return cls(MldsaVerifier.kind, number, key.public_key().public_bytes_raw(), key.sign)

    @property
    def kid(self) -> str:
        """Its name in `audit.key`."""
        return f"{_KID_NAMES[self.kind]}-{self.number}"

    @property
    def algorithm(self) -> str:
        """Its name for people."""
        return _ALGORITHMS[self.kind]

    @property
    def material(self) -> str:
        """The public key as the last part of a vkey has it."""
        return base64.b64encode(bytes([self.kind]) + self.public).decode()

    def verifier(self, origin: str) -> AnyVerifier:
        """What verifies it under the name of a log."""
        return _KINDS[self.kind](origin, self.public)


_KID_NAMES = {Ed25519Verifier.kind: "checkpoint", MldsaVerifier.kind: "instance"}
_ALGORITHMS = {Ed25519Verifier.kind: "Ed25519", MldsaVerifier.kind: "ML-DSA-44"}


class LogSigner:
    """The log's private keys. Only the sealer holds one.

    The newest of each kind signs, and beside it those that it replaced until their time is over.
    """

    def __init__(self, ed25519_seed: bytes, mldsa_seed: bytes) -> None:
        self.keys: tuple[LogKey, ...] = (LogKey.ed25519(ed25519_seed), LogKey.mldsa(mldsa_seed))

    @classmethod
    def of(cls, keys: Iterable[LogKey]) -> Self:
        """One with all of these keys."""
        made = cls.__new__(cls)
        made.keys = tuple(sorted(keys, key=lambda key: (key.kind, key.number)))
        return made

    def ending(self, ends: Mapping[str, datetime]) -> Self:
        """The same keys, with the times at which replaced ones stop signing."""
        return self.of(replace(key, ends_at=ends.get(key.kid)) for key in self.keys)

    def before(self, key: LogKey) -> LogKey | None:
        """The key of the same kind that it replaced, when that is here."""
        earlier = [other for other in self.keys if other.kind == key.kind and other.number < key.number]
        return earlier[-1] if earlier else None

    def sign(self, checkpoint: Checkpoint, *, is_instance: bool, now: datetime | None = None) -> str:
        """The signature lines of a checkpoint. The same text gets the same Ed25519 signatures again."""
        lines = ""
        for key in self._signing(now or datetime.now(UTC)):
            verifier = key.verifier(checkpoint.origin)
            if key.kind == Ed25519Verifier.kind:
                lines += _signature_line(verifier, key.sign(checkpoint.text.encode()))
            elif is_instance:
                # No statement about the time: the log does not say that there is no larger checkpoint.
                timestamp = bytes(_TIMESTAMP_BYTES)
                message = cosigned_message(verifier.name, timestamp, checkpoint)
                lines += _signature_line(verifier, timestamp + key.sign(message))
        return lines

    def verifiers(self, origin: str) -> tuple[AnyVerifier, ...]:
        """The public keys under the name of that log, also of keys that sign no more."""
        return tuple(key.verifier(origin) for key in self.keys)

    def vkeys(self, origin: str, *, is_instance: bool) -> list[str]:
        """The keys of a log's checkpoints as text for whoever is to verify them, the newest first.

        Those that sign no more are among them: only they verify what was exported before they were replaced.
        """
        newest_first = sorted(self.keys, key=lambda key: -key.number)
        return [key.verifier(origin).vkey for key in newest_first if is_instance or key.kind == Ed25519Verifier.kind]

    def _signing(self, now: datetime) -> list[LogKey]:
        newest = {key.kind: key for key in self.keys}
        return [key for key in self.keys if key is newest[key.kind] or (key.ends_at and key.ends_at > now)]


def cosigned_message(cosigner: str, timestamp: bytes, checkpoint: Checkpoint) -> bytes:
    """The bytes under an ML-DSA-44 signature. `timestamp`: eight bytes, big-endian."""
    return b"".join(
        (
            _SUBTREE_LABEL,
            _short_vector(cosigner.encode()),
            timestamp,
            _short_vector(checkpoint.origin.encode()),
            struct.pack(">QQ", 0, checkpoint.size),
            checkpoint.root,
        )
    )


def signed_note(checkpoint: Checkpoint, signatures: str) -> str:
    """Text, blank line, signature lines."""
    return f"{checkpoint.text}\n{signatures}"


def opened(note: str, keys: Iterable[AnyVerifier], kinds: Collection[type[AnyVerifier]] = ()) -> Checkpoint:
    """The checkpoint of a note that at least one of these keys signed; signatures of unknown keys are ignored.

    Raises `BadNote` when none of them signed it, or none of one of these kinds, and when a signature of one of them does
    not hold.
    """
    text, separator, tail = note.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise BadNote("this is no signed note: the signatures are missing")
    checkpoint = Checkpoint.parse(f"{text}\n")
    known = {(key.name, key.id): key for key in keys}
    signers = set[type[AnyVerifier]]()
    for name, key_id, signature in signature_lines(tail):
        key = known.get((name, key_id))
        if key is None:
            continue
        if not key.verifies(checkpoint, signature):
            raise BadNote(f"the signature of {name} does not hold")
        signers.add(type(key))
    if not signers:
        raise BadNote("none of the known keys signed it")
    if missing := set(kinds) - signers:
        raise BadNote(f"no {' and no '.join(sorted(_ALGORITHMS[kind.kind] for kind in missing))} key signed it")
    return checkpoint


def cosignatures(checkpoint: Checkpoint, lines: str, keys: Iterable[AnyCosigner]) -> str:
    """Of the lines with which a witness answered, those of its known keys; others are ignored.

    Raises `BadNote` when one of a known key does not hold or names no time, and when there is none.
    """
    known = {(key.name, key.id): key for key in keys}
    kept = ""
    for name, key_id, signature in signature_lines(lines):
        key = known.get((name, key_id))
        if key is None:
            continue
        if not any(signature[:_TIMESTAMP_BYTES]) or not key.verifies(checkpoint, signature):
            raise BadNote(f"the cosignature of {name} does not hold")
        kept += f"{_SIGNATURE_START}{name} {base64.b64encode(key_id + signature).decode()}\n"
    if not kept:
        raise BadNote("none of the known keys cosigned it")
    return kept


def signature_lines(lines: str) -> list[tuple[str, bytes, bytes]]:
    """Name, key id and signature of each line. Raises `BadNote` for what is none, and for too many."""
    found = []
    for line in lines.removesuffix("\n").split("\n"):
        name, separator, encoded = line.removeprefix(_SIGNATURE_START).partition(" ")
        try:
            material = base64.b64decode(encoded, validate=True)
        except ValueError:
            material = b""
        if not line.startswith(_SIGNATURE_START) or not separator or len(material) <= 4:
            raise BadNote("a signature line is malformed")
        found.append((name, material[:4], material[4:]))
    if len(found) > MOST_SIGNATURES:
        raise BadNote(f"a note with more than {MOST_SIGNATURES} signatures is not read")
    return found


def _signature_line(key: AnyVerifier, signature: bytes) -> str:
    return f"{_SIGNATURE_START}{key.name} {base64.b64encode(key.id + signature).decode()}\n"


def _short_vector(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def _is_key_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(letter.isspace() for letter in name)
