"""Is the database's shape the one of this code? A start that knows it is need not load Django to look.

Standard library only, because `doctor` asks too.
"""

from __future__ import annotations

import hashlib

from provenance.home import CHECKOUT, Home, replace_text


def is_migrated(home: Home) -> bool:
    """Were the migrations of this very code applied to the cluster that is there?"""
    try:
        return home.migrated_file.read_text("ascii") == _digest(home)
    except FileNotFoundError:
        return False


def remember_migrated(home: Home) -> None:
    """Note that the migrations of this code were applied."""
    replace_text(home.migrated_file, _digest(home))


def _digest(home: Home) -> str:
    """What the database's shape depends on: our migrations and guards, third-party versions, and which cluster it is."""
    digest = hashlib.sha256()
    sources = [
        *CHECKOUT.glob("*/migrations/*.py"),
        *CHECKOUT.glob("audit/*.py"),
        *CHECKOUT.glob("audit/schema/*.py"),
        *CHECKOUT.glob("provenance/postgres/*.py"),
        CHECKOUT / "requirements" / "base.txt",
        CHECKOUT / "provenance" / "settings.py",
    ]
    for source in sorted(sources):
        digest.update(str(source.relative_to(CHECKOUT)).encode() + b"\0" + source.read_bytes() + b"\0")
    control = home.postgres / "global" / "pg_control"
    if control.exists():
        with control.open("rb") as file:
            digest.update(file.read(8))  # the system identifier, made by initdb
    return digest.hexdigest()
