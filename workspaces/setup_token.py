"""The one-time address for the first administrator: whoever can read a file on the host may open it (T24)."""

import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from django.conf import settings

from provenance.home import write_once


@dataclass(frozen=True, slots=True)
class SetupToken:
    """The token, in a file of mode 0600 in the data directory. Useless as soon as any account exists."""

    path: Path

    @classmethod
    def locate(cls) -> Self:
        """The token of this installation, whether made yet or not."""
        return cls(settings.HOME.root / "setup-token")

    def ensure(self) -> str:
        """The token; makes it first when there is none."""
        if not self.path.exists():
            write_once(self.path, secrets.token_urlsafe(32))
        return self._read()

    def matches(self, presented: str) -> bool:
        """Whether this is the token. False when none was made."""
        known = self._read()
        return bool(known) and hmac.compare_digest(known.encode(), presented.encode("utf-8", "surrogatepass"))

    def discard(self) -> None:
        """Remove it: it was used."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> str:
        try:
            return self.path.read_text("ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            return ""
