"""Where published checkpoints of the log go besides the directory, as the environment says. Standard library only.

Read by the sealer, which carries them, and by `doctor`, which says what is set and what is wrong with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from provenance import keyfiles
from provenance.environment import ImproperlySet, text, words_of
from provenance.keyfiles import Hidden, KeyRefused
from provenance.loopback import LOOPBACK

HOUR = 3600
TEN_MINUTES = 600
SHORTEST_SECONDS = 60

ADDRESS = r"[\x21-\x3f\x41-\x7e]+@[a-zA-Z0-9.-]+"
"""Of a mail, plain: no name, no comment, no line break."""

Environ = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TimeStamps:
    """A time stamp authority (RFC 3161), and the certificates (PEM) that its answers must lead to."""

    url: str
    authorities: str
    every_seconds: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """An S3-compatible bucket with Object Lock, and the sealer's credentials (`key id:secret key`) in it."""

    url: str
    region: str
    credentials: str
    every_seconds: int


def witnesses(environ: Environ = os.environ) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """`PROVENANCE_WITNESSES`: a witness of the log on each line, its submission prefix and then its verifier keys."""
    found = []
    for line in text("PROVENANCE_WITNESSES", "", environ).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        url, *vkeys = line.split()
        if not vkeys:
            raise ImproperlySet(
                f"PROVENANCE_WITNESSES names {url} without a key. Put each witness on a line: its address, a space, and "
                "its verifier key, NAME+ID+KEY."
            )
        found.append((url, tuple(vkeys)))
    return tuple(found)


def time_stamps(environ: Environ = os.environ) -> TimeStamps | None:
    """`PROVENANCE_ANCHOR_TSA`, `PROVENANCE_ANCHOR_TSA_CA_FILE` and `PROVENANCE_ANCHOR_TSA_SECONDS`."""
    url = text("PROVENANCE_ANCHOR_TSA", "", environ)
    if not url:
        return None
    # Plain HTTP is what most authorities offer: request and answer hold nothing secret, and the answer is signed.
    _demand_address("PROVENANCE_ANCHOR_TSA", url, ("http", "https"))
    try:
        authorities = text("PROVENANCE_ANCHOR_TSA_CA", "", environ)
    except (OSError, UnicodeDecodeError) as problem:
        raise ImproperlySet(f"PROVENANCE_ANCHOR_TSA_CA_FILE names a file that cannot be read: {problem}.") from None
    if not authorities:
        raise ImproperlySet(
            "PROVENANCE_ANCHOR_TSA is set and PROVENANCE_ANCHOR_TSA_CA_FILE is not. Set it to a file with the certificate "
            "(PEM) of the authority's root, which its operator publishes."
        )
    return TimeStamps(url, authorities, _seconds("PROVENANCE_ANCHOR_TSA_SECONDS", HOUR, environ))


def bucket(environ: Environ = os.environ) -> Bucket | None:
    """`PROVENANCE_ANCHOR_BUCKET`, and `_REGION`, `_KEY_FILE` and `_SECONDS` of it."""
    name = "PROVENANCE_ANCHOR_BUCKET"
    url = text(name, "", environ).rstrip("/")
    if not url:
        return None
    _demand_address(name, url, ("https",) if urlsplit(url).hostname != LOOPBACK else ("http", "https"))
    if urlsplit(url).query or urlsplit(url).path.count("/") > 1:
        raise ImproperlySet(f"{name} is more than a bucket. Set it to https://bucket.host or https://host/bucket.")
    try:
        file = environ.get(f"{name}_KEY_FILE", "")
        credentials = environ.get(f"{name}_KEY") or (keyfiles.read(Path(file), is_named=True) if file else "")
    except FileNotFoundError:
        raise ImproperlySet(f"{name}_KEY_FILE names {file}, and there is no such file.") from None
    except KeyRefused as refused:
        raise ImproperlySet(f"{name}_KEY_FILE: {refused}") from None
    if not all(credentials.partition(":")):
        raise ImproperlySet(
            f"{name} is set and {name}_KEY_FILE names no credentials. Set it to a file that holds the access key id, a "
            "colon, and the secret access key."
        )
    region = text(f"{name}_REGION", "us-east-1", environ)
    return Bucket(url, region, Hidden(credentials), _seconds(f"{name}_SECONDS", TEN_MINUTES, environ))


def auditors(environ: Environ = os.environ) -> tuple[str, ...]:
    """`PROVENANCE_ANCHOR_MAIL`: the addresses that get checkpoints by mail once a day, with commas between them."""
    found = tuple(dict.fromkeys(words_of(text("PROVENANCE_ANCHOR_MAIL", "", environ))))
    for address in found:
        if not re.fullmatch(ADDRESS, address):
            raise ImproperlySet(
                f"PROVENANCE_ANCHOR_MAIL holds {address!r}. Set it to plain addresses, commas between them."
            )
    if found and not (environ.get("EMAIL_FROM") and (environ.get("EMAIL_URL") or environ.get("EMAIL_URL_FILE"))):
        raise ImproperlySet("PROVENANCE_ANCHOR_MAIL is set and no mail can be sent. Set EMAIL_FROM and EMAIL_URL_FILE.")
    return found


def _demand_address(name: str, url: str, schemes: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        is_address = False
    if not is_address:
        raise ImproperlySet(f"{name} is no address that can be called. Set it to {schemes[-1]}://host/path.")


def _seconds(name: str, default: int, environ: Environ) -> int:
    value = text(name, str(default), environ)
    if not value.isascii() or not value.isdecimal() or int(value) < SHORTEST_SECONDS:
        raise ImproperlySet(f"{name} is {value!r}. Set it to a number of seconds, {SHORTEST_SECONDS} or more.")
    return int(value)
