"""`secret://name`: how a secret is referred to, where a reference may stand, and how its value is opened.

A reference resolves in reviewed records only (a server's credential, a provider's key) and only for the origin and slot
it is bound to. In tool arguments, model output or an approver's edit it is refused (T02).
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from audit.attestation import Altered, select
from provenance import crypto
from provenance.errors import Invalid, NotFound, PermissionDenied

SCHEME = "secret://"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
SLOT = re.compile(r"header:[A-Za-z0-9-]{1,60}|env:[A-Z][A-Z0-9_]{0,60}|field:[A-Za-z0-9_.-]{1,60}")

# What says that a secret may be sent somewhere, whole, each row with the newest event about it (T06). What is sealed needs
# none: it opens under its name and number alone.
PERMITTING = {
    "secret": select("secrets_vault_secret", "secret", "row.name = %(name)s AND row.status = 'active'"),
    "secret_binding": select(
        "secrets_vault_secretbinding",
        "secret_binding",
        "row.origin = %(origin)s AND row.slot = %(slot)s"
        " AND row.secret_id = (SELECT id FROM secrets_vault_secret WHERE name = %(name)s)",
    ),
}

# For the gateway, which reads without the ORM. Parameters: name, origin, slot. Row security supplies the workspace.
# The binding is part of the question: there is no way to ask for a value without saying where it goes.
SEALED_VERSION_SQL = """
SELECT s.id AS secret_id, s.name, s.access, v.number, v.ciphertext, v.wrapped_key, v.kek_id
  FROM secrets_vault_secret s
  JOIN secrets_vault_secretversion v
    ON v.workspace_id = s.workspace_id AND v.secret_id = s.id AND v.number = s.current_version
  JOIN secrets_vault_secretbinding b
    ON b.workspace_id = s.workspace_id AND b.secret_id = s.id
 WHERE s.name = %(name)s AND b.origin = %(origin)s AND b.slot = %(slot)s
   AND s.status = 'active' AND v.destroyed_at IS NULL
"""


class ReferenceInArguments(PermissionDenied):
    """A secret reference stands where only plain data may: it is not resolved, and the call is not made."""

    code = "secret_reference_refused"
    rule = "secret.reference_in_arguments"


class NotBound(NotFound):
    """There is no active secret of that name for this origin and slot."""

    code = "secret_not_bound"


class NotAsSigned(NotBound):
    """What the database says of this secret, or of where it may be sent, is not what the log says."""

    code = "secret_not_as_signed"

    def __init__(self, message: str, altered: Sequence[Altered]) -> None:
        super().__init__(message)
        self.altered = altered


@dataclass(frozen=True, slots=True)
class SealedVersion:
    """A sealed version as `SEALED_VERSION_SQL` returns it."""

    secret_id: UUID
    name: str
    access: str
    number: int
    ciphertext: bytes = field(repr=False)
    wrapped_key: bytes = field(repr=False)
    kek_id: str


def parse(reference: str) -> str:
    """The name in `secret://name`. Raises `Invalid` for anything else; the message does not repeat the text.

    What stands in place of a reference is often a pasted credential.
    """
    name = reference.removeprefix(SCHEME)
    if not reference.startswith(SCHEME) or not NAME.fullmatch(name):
        raise Invalid("This is not a secret reference. Write secret:// and the secret's name in lower case.")
    return name


def version_place(workspace_id: UUID, name: str, number: int) -> bytes:
    """What a version's ciphertext and data key are bound to: moved to another row, neither opens."""
    return crypto.bind("provenance/secret/v1", str(workspace_id), name, str(number))


def seal_version(
    workspace_id: UUID, name: str, number: int, value: str, kek: crypto.KeyRing
) -> tuple[bytes, bytes, str]:
    """Seal a value: its ciphertext, its wrapped data key, and the id of the key that wrapped it."""
    place = version_place(workspace_id, name, number)
    data_key = crypto.new_key()
    ciphertext = crypto.seal(data_key, value.encode(), place)
    return ciphertext, crypto.seal(kek.current, data_key, place), kek.current_id


def open_version(row: SealedVersion, workspace_id: UUID, name: str, number: int, kek: crypto.KeyRing) -> bytes:
    """The value of a sealed version. For the line that sends it, and nowhere else.

    Raises `crypto.Undecipherable` when the row was moved or changed, `crypto.KeyMissing` when its key is gone.
    """
    place = version_place(workspace_id, name, number)
    data_key = crypto.open(kek.key(row.kek_id), bytes(row.wrapped_key), place)
    return crypto.open(data_key, bytes(row.ciphertext), place)


def refuse_in(value: Any) -> None:
    """Raise `ReferenceInArguments` when a secret reference stands anywhere in a JSON value, key or text.

    The error carries the path, never the text around it. Spellings that a person or a later decoder could take for a
    reference (other case, full-width letters, invisible characters inside) are refused like the plain one.
    """
    path = _find(value, "")
    if path is not None:
        raise ReferenceInArguments(path=path or "(root)")


def _find(value: Any, path: str) -> str | None:
    if isinstance(value, str):
        return path if _mentions(value) else None
    if isinstance(value, dict):
        for key, item in value.items():
            if _mentions(str(key)):
                return f"{path} (a key)".strip()
            if (found := _find(item, f"{path}.{key}" if path else str(key))) is not None:
                return found
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if (found := _find(item, f"{path}.{index}" if path else str(index))) is not None:
                return found
    return None


def _mentions(text: str) -> bool:
    if text.isascii():
        return SCHEME in text.lower()
    visible = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return SCHEME in unicodedata.normalize("NFKC", visible).casefold()
