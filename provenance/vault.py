"""HashiCorp Vault as the place of the log's keys: root keys of events in KV v2, the log's Ed25519 key in transit.

What is in transit signs there and never leaves it. The few requests go through the egress door to that one address, so a
client library with an HTTP stack of its own is not needed (docs/decisions/0013-vault-through-the-egress-door.md).
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from provenance.egress import Egress
from provenance.errors import ProvenanceError
from provenance.held_keys import process_of
from provenance.home import NEXT
from provenance.keyfiles import KeyRefused

SECONDS = 5.0
LARGEST_ANSWER_BYTES = 2**20
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_NOT_FOUND = 404
_MEANING = {
    400: "it did not take the request",
    403: "the token may not do this; give this role's policy the paths of docs/operations.md",
    429: "it is a standby or has too much to do",
    503: "it is sealed or in maintenance: unseal it",
}


class Vault:
    """One Vault, with the token of this role."""

    def __init__(self, address: str, token: str) -> None:
        parts = urlsplit(address)
        if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in LOOPBACK):
            raise KeyRefused(
                f"VAULT_ADDR is {address!r}: keys travel over https, or over http to an agent on this machine."
            )
        if not token:
            raise KeyRefused("VAULT_TOKEN is not set. Set VAULT_TOKEN_FILE to the file with this role's token.")
        self.address = address.rstrip("/")
        self._token = token
        self._client: httpx2.Client | None = None

    def read(self, path: str) -> dict[str, Any] | None:
        """The `data` of an answer; None where there is nothing. Raises `KeyRefused`."""
        return self._ask("GET", path)

    def write(self, path: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The `data` of the answer. Raises `KeyRefused`."""
        found = self._ask("POST", path, values)
        if found is None:
            raise KeyRefused(f"Vault has nothing at {path}. Enable its engine there, or correct the path.")
        return found

    def close(self) -> None:
        """Let go of the connection, which is kept because the sealer asks several times a second."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def __repr__(self) -> str:
        """Where it is, and nothing of the token."""
        return f"Vault({self.address!r})"

    def _ask(self, method: str, path: str, values: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        if self._client is None:
            door = Egress.only(self.address, total_seconds=SECONDS, max_response_bytes=LARGEST_ANSWER_BYTES)
            self._client = door.client(headers={"X-Vault-Token": self._token})
        try:
            answer = self._client.request(method, f"{self.address}/v1/{path}", json=values)
        except (httpx2.HTTPError, ProvenanceError) as problem:
            raise KeyRefused(f"Vault at {self.address} does not answer ({type(problem).__name__}).") from None
        if answer.status_code == _NOT_FOUND:
            return None
        if not answer.is_success:
            why = _MEANING.get(answer.status_code, "see its log")
            raise KeyRefused(f"Vault answered {answer.status_code} for {path}: {why}.")
        try:
            data = answer.json()["data"] if answer.content else {}
        except (ValueError, KeyError, TypeError):
            data = None
        if not isinstance(data, dict):
            raise KeyRefused(f"What answers at {self.address} for {path} is no Vault.")
        return data


class VaultKv:
    """Root keys in KV v2: one secret for each process, `MOUNT/PATH/web`, with a field for each key, `web-1`."""

    def __init__(self, vault: Vault, place: str) -> None:
        self._vault = vault
        self._mount, _, self._path = place.strip("/").partition("/")
        if not self._path:
            raise KeyRefused(
                f"AUDIT_VAULT_KV is {place!r}: name the mount and a path in it, as in secret/provenance/mac."
            )

    @property
    def name(self) -> str:
        """For people."""
        return f"Vault at {self._vault.address}, {self._mount}/{self._path}"

    def load(self, processes: Sequence[str]) -> dict[str, str]:
        """The keys of these processes."""
        found: dict[str, str] = {}
        for process in processes:
            keys, _version = self._read(process)
            if strange := sorted(name for name in keys if process_of(name) != process):
                raise KeyRefused(f"{self.name}/{process} holds {', '.join(strange)}, which is no key of {process}.")
            found |= keys
        return found

    def stamp(self) -> Any:
        """Asking would cost a request each time."""
        return None

    def announce(self, kid: str, text: str) -> str:
        """Add the field `web-2.next`."""
        self._change(process_of(kid), add={f"{kid}{NEXT}": text}, remove=())
        return f"{self.name}/{process_of(kid)}"

    def begin(self, kid: str) -> str:
        """Take the `.next` off."""
        process = process_of(kid)
        keys, _version = self._read(process)
        self._change(process, add={kid: keys[f"{kid}{NEXT}"]}, remove=(f"{kid}{NEXT}",))
        return f"Restart {process} before the old key ends: it reads Vault when it starts. Whoever verifies asks by itself."

    def _read(self, process: str) -> tuple[dict[str, str], int]:
        found = self._vault.read(f"{self._mount}/data/{self._path}/{process}")
        if not found or not isinstance(found.get("data"), dict):
            raise KeyRefused(
                f"Vault has no keys at {self._mount}/{self._path}/{process}. Put the first one there: "
                f"vault kv put {self._mount}/{self._path}/{process} {process}-1=@…/keys/mac-{process}"
            )
        keys = {str(name): str(text).strip() for name, text in found["data"].items()}
        return keys, int(found.get("metadata", {}).get("version", 0))

    def _change(self, process: str, *, add: Mapping[str, str], remove: Sequence[str]) -> None:
        keys, version = self._read(process)
        changed = {name: text for name, text in keys.items() if name not in remove} | dict(add)
        # Only if nobody else changed it meanwhile.
        options = {"cas": version}
        self._vault.write(f"{self._mount}/data/{self._path}/{process}", {"data": changed, "options": options})


class VaultTransit:
    """An Ed25519 key that signs in Vault. Its versions are the numbers of the log's keys."""

    def __init__(self, vault: Vault, place: str) -> None:
        self._vault = vault
        self._mount, _, self._key = place.strip("/").partition("/")
        if not self._key or "/" in self._key:
            raise KeyRefused(
                f"LOG_VAULT_TRANSIT is {place!r}: name the mount and the key, as in transit/provenance-log."
            )
        self._public: dict[int, bytes] = {}

    def __repr__(self) -> str:
        """Where it is."""
        return f"VaultTransit({self._vault.address!r}, {self._mount}/{self._key})"

    def public_keys(self) -> dict[int, bytes]:
        """Version -> public key. Raises `KeyRefused` for a key that could leave Vault, or is of another kind."""
        found = self._vault.read(f"{self._mount}/keys/{self._key}")
        if found is None:
            raise KeyRefused(
                f"Vault has no key {self._mount}/{self._key}. Make it: vault write {self._mount}/keys/{self._key} type=ed25519"
            )
        if found.get("type") != "ed25519" or found.get("derived"):
            raise KeyRefused(f"The key {self._mount}/{self._key} of Vault must be of type ed25519, and not derived.")
        if found.get("exportable") or found.get("allow_plaintext_backup"):
            raise KeyRefused(
                f"The key {self._mount}/{self._key} may leave Vault (exportable or allow_plaintext_backup). Make one that may "
                "not: both are off by default, and cannot be taken back."
            )
        try:
            versions = {int(number): base64.b64decode(key["public_key"]) for number, key in found["keys"].items()}
        except (KeyError, TypeError, ValueError, binascii.Error):
            versions = {}
        if not versions or any(len(public) != 32 for public in versions.values()):
            raise KeyRefused(f"What Vault says of {self._mount}/{self._key} is no Ed25519 key.")
        self._public = versions
        return versions

    def sign(self, version: int, message: bytes) -> bytes:
        """The signature of that version. Raises `KeyRefused` when Vault does not give one that holds."""
        asked = {"input": base64.b64encode(message).decode(), "key_version": version}
        answer = self._vault.write(f"{self._mount}/sign/{self._key}", asked)
        kind, _, encoded = str(answer.get("signature", "")).rpartition(":")
        try:
            signature = base64.b64decode(encoded, validate=True)
            Ed25519PublicKey.from_public_bytes(self._public[version]).verify(signature, message)
        except (InvalidSignature, KeyError, ValueError) as problem:
            raise KeyRefused(
                f"Vault signed with something else than version {version} of {self._key} ({kind})."
            ) from problem
        return signature

    def rotate(self) -> int:
        """Make the next version; its number. Raises `KeyRefused`."""
        self._vault.write(f"{self._mount}/keys/{self._key}/rotate", {})
        return max(self.public_keys())
