"""Small typed readers of the environment. What is missing or unsafe stops the start, with a sentence that says what to set."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from provenance.keyfiles import Hidden


class ImproperlySet(SystemExit):
    """A setting is missing or unsafe; the message says which and what to set."""


def text(name: str, default: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The value of `NAME`, or the content of the file that `NAME_FILE` names. Without either: the default or an exit."""
    if name in environ:
        return environ[name]
    if path := environ.get(f"{name}_FILE"):
        return Path(path).read_text(encoding="utf-8").strip()
    if default is None:
        raise ImproperlySet(f"{name} is not set. Set {name}, or {name}_FILE to a file that holds it.")
    return default


def choice(name: str, options: tuple[str, ...]) -> str:
    """The value of `NAME`, one of these; the first of them without it."""
    value = text(name, options[0])
    if value not in options:
        raise ImproperlySet(f"{name} is {value!r}. Set it to one of {', '.join(options)}.")
    return value


def words(name: str) -> list[str]:
    """The comma-separated values of `NAME`; an empty list without it."""
    return words_of(text(name, ""))


def words_of(value: str) -> list[str]:
    """The comma-separated parts of a value."""
    return [word.strip() for word in value.split(",") if word.strip()]


def database(url: str) -> dict[str, Any]:
    """Django's form of a Postgres URL such as `postgresql://user:password@host:5432/name?host=/socket/dir`."""
    parts = urlsplit(url)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "provenance.postgres",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": Hidden(unquote(parts.password or "")),
        "HOST": options.pop("host", parts.hostname or ""),
        "PORT": str(parts.port or options.pop("port", "")),
        "OPTIONS": options,
        # A COMMIT-time refusal surfaces after the view returned: the doors open the transaction, not Django.
        "ATOMIC_REQUESTS": False,
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }


def mail_relay() -> str:
    """`EMAIL_URL`: `smtp://user:password@host:587` (with STARTTLS) or `smtps://…`; "" when no mail is sent."""
    url = text("EMAIL_URL", "")
    try:
        parts = urlsplit(url)
        is_relay = parts.scheme in {"smtp", "smtps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_relay = False
    if url and not is_relay:
        # The value may hold a password, so it is not repeated.
        raise ImproperlySet("EMAIL_URL is not smtp://user:password@host:587 or smtps://user:password@host:465.")
    return Hidden(url)
