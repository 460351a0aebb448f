"""The keys that each role gets, from the environment, the data directory or Vault. A process without a role gets none."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provenance import keyfiles
from provenance.environment import ImproperlySet, choice, text, words_of
from provenance.held_keys import LOG_FILES, Environment, Files, HeldKeys, Source, process_of
from provenance.home import Home, HomeError
from provenance.keyfiles import Hidden, KeyRefused

if TYPE_CHECKING:
    from provenance.vault import Vault, VaultTransit

SHORTEST_SECRET = 32
# Whose MAC keys a role gets. The first is its own. An HMAC key that verifies can also sign, so each further one is a
# choice: gateway and worker check that people decided (T01), the gateway also that the rows it decides by are what web and
# the host's commands signed (T06), web shows readers of the log whether any event is genuine,
# and the host's commands hand an auditor the workspace's keys. What keeps a holder from using another's key is Postgres,
# which takes an event under a key id from that process's database role alone (`audit.key`).
MAC_KEYS_OF = {
    "web": ("web", "gateway", "worker", "setup", "sealer", "retention"),
    "front": ("web", "gateway", "worker", "setup", "sealer", "retention"),
    "setup": ("setup", "web", "gateway", "worker", "sealer", "retention"),
    "gateway": ("gateway", "web", "setup"),
    "worker": ("worker", "web"),
    "sealer": ("sealer", "web", "gateway", "worker", "setup", "retention"),
    # No process: the commands on the host that replace keys, and keep copies of them.
    "keys": ("setup", "web", "gateway", "worker", "sealer", "retention"),
    # A job on the host: it tells which months left the log.
    "retention": ("retention",),
}


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """Reads the keys of one role."""

    home: Home
    role: str

    def text(self, name: str, key: str) -> str:
        """The key `NAME`, else the content of the file `NAME_FILE`, else that of the data directory; "" without any.

        Exits when a file can be read or replaced by others.
        """
        try:
            if name in os.environ:
                return os.environ[name]
            if named := os.environ.get(f"{name}_FILE"):
                return keyfiles.read(Path(named), is_named=True)
            return keyfiles.read(self.home.key_path(key)) if key else ""
        except FileNotFoundError as missing:
            if str(missing.filename) == os.environ.get(f"{name}_FILE"):
                raise ImproperlySet(f"{name}_FILE names {missing.filename}, and there is no such file.") from None
            return ""
        except KeyRefused as refused:
            raise ImproperlySet(f"{name}: {refused}") from None

    def secret(self, name: str, key: str) -> str:
        """The secret `NAME`, else the one of the data directory. Exits when there is neither, or it could be guessed."""
        if not self.role:
            return ""
        value = self.text(name, key)
        if len(value) < SHORTEST_SECRET:
            raise ImproperlySet(
                f"{name} is missing or shorter than {SHORTEST_SECRET} characters. Run `./manage.py up` once, which makes "
                f"{self.home.key_path(key)}, or set {name}_FILE to a file that holds a random one."
            )
        with _stopping():
            keyfiles.refuse_weak((name, line) for line in value.splitlines())
        return Hidden(value)

    def mac_keys(self) -> HeldKeys:
        """Key id -> root key of the events' MACs, from where `AUDIT_KEY_SOURCE` says.

        `AUDIT_MAC_KEYS` as `web-1:base64,gateway-1:base64`, else the files of the data directory. Ids end in a number that
        counts up; the highest of a process signs and all of them verify. Only those that this role signs or must verify with
        (`MAC_KEYS_OF`): another one in `AUDIT_MAC_KEYS` stops the start.
        """
        held = MAC_KEYS_OF.get(self.role, ())
        source: Source = Files(self.home)
        given = words_of(self.text("AUDIT_MAC_KEYS", "")) if held else []
        chosen = choice("AUDIT_KEY_SOURCE", ("", "files", "environment", "vault")) if held else ""
        if chosen == "environment" and not given:
            raise ImproperlySet(
                "AUDIT_KEY_SOURCE is environment and AUDIT_MAC_KEYS is empty. Set it, or AUDIT_MAC_KEYS_FILE."
            )
        if chosen in {"files", "vault"} and given:
            raise ImproperlySet(f"AUDIT_KEY_SOURCE is {chosen} and AUDIT_MAC_KEYS is set. Set one of them.")
        if chosen == "vault":
            source = self._vault_keys()
        elif given:
            source = Environment(given)
            if others := sorted(name for name in source.names if process_of(name) not in held):
                raise ImproperlySet(
                    f"AUDIT_MAC_KEYS holds {', '.join(others)}, with which a {self.role} neither signs nor verifies anything. "
                    f"Leave it out: this role gets the keys of {' and '.join(held)}."
                )
        with _stopping():
            return HeldKeys(source, held)

    def _vault(self) -> "Vault":
        """The Vault that `VAULT_ADDR` names, with this role's token."""
        from provenance.vault import Vault  # noqa: PLC0415  most installations have none, and an HTTP client is slow to load

        return Vault(text("VAULT_ADDR"), self.text("VAULT_TOKEN", ""))

    def _vault_keys(self) -> Source:
        """Root keys of events in Vault's KV."""
        from provenance.vault import VaultKv  # noqa: PLC0415  see above

        with _stopping():
            return VaultKv(self._vault(), text("AUDIT_VAULT_KV", "secret/provenance/mac"))

    def log_transit(self) -> "VaultTransit | None":
        """The log's Ed25519 key in Vault's transit engine, when `LOG_KEY_SOURCE` says so."""
        if self.role not in {"sealer", "keys"} or choice("LOG_KEY_SOURCE", ("files", "vault")) == "files":
            return None
        from provenance.vault import VaultTransit  # noqa: PLC0415  see above

        with _stopping():
            return VaultTransit(self._vault(), text("LOG_VAULT_TRANSIT", "transit/provenance-log"))

    def log_seeds(self, transit: "VaultTransit | None") -> HeldKeys:
        """The seeds of the log's keys: `LOG_ED25519_SEED` and `LOG_MLDSA44_SEED`, the current one in the first line, else files.

        `transit`: signs in the place of the first.
        """
        if self.role not in {"sealer", "keys"}:
            return HeldKeys(Environment([]), ())
        source: Source = Files(self.home)
        given = {"checkpoint": self.text("LOG_ED25519_SEED", ""), "instance": self.text("LOG_MLDSA44_SEED", "")}
        if any(given.values()):
            pairs = [
                f"{name}-{number}:{line}"
                for name, lines in given.items()
                for number, line in enumerate(reversed(lines.split()), start=1)
            ]
            source = Environment(pairs, "LOG_ED25519_SEED and LOG_MLDSA44_SEED")
        with _stopping():
            found = HeldKeys(source, tuple(LOG_FILES))
        for name, file in LOG_FILES.items():
            is_elsewhere = name == "checkpoint" and transit is not None
            if self.role == "sealer" and not is_elsewhere and not any(process_of(kid) == name for kid in found):
                raise ImproperlySet(
                    f"The log's key {file} is missing. Run `./manage.py up` once, which makes {self.home.key_path(file)}, or set "
                    f"{file.upper().replace('-', '_')}_SEED_FILE to a file that holds it."
                )
        return found


def refuse_shared_keys(rings: Mapping[str, str], mac_keys: HeldKeys, log_seeds: HeldKeys) -> None:
    """Exit when two keys of this process are the same one. `rings`: keys by setting, one a line."""
    named = [(name, line) for name, ring in rings.items() for line in ring.splitlines()]
    named += [(f"The audit key {name}", key) for name, key in mac_keys.items()]
    named += [(f"The log's key {name}", seed) for name, seed in log_seeds.items()]
    with _stopping():
        keyfiles.refuse_shared(named)


@contextmanager
def _stopping() -> Iterator[None]:
    """A key that is refused stops the start, with the sentence that refused it."""
    try:
        yield
    except (KeyRefused, HomeError) as refused:
        raise ImproperlySet(str(refused)) from None
