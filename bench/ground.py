"""Where it is measured: an installation of its own on throw-away servers, entered as the roles that processes have."""

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import django
import psycopg

from bench.peers import answering
from provenance.embedded import EmbeddedPostgres
from provenance.held_keys import PROCESSES
from provenance.home import CHECKOUT, DATABASE
from provenance.processes import Installation
from provenance.quality import throw_away_servers
from provenance.servers import ensure_roles

cpu_seconds = answering.cpu_seconds

CPU_BOUND = "-c synchronous_commit=off"
"""Nobody waits for the disk: what remains is work."""
SLOW_FLUSH = "-c commit_delay=2000 -c commit_siblings=0"
"""Everybody waits for the disk: a flush takes at least two milliseconds, as with a volume behind a network or a standby
that confirms. It is slept while the lock of the log is held, so that others wait for it as they would for the disk (decision 0025)."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A migrated installation on durable servers that are thrown away."""

    installation: Installation

    def url(self, role: str, database: str = DATABASE) -> str:
        """The URL of a Postgres role; `postgres` is the superuser."""
        if role == "postgres":
            return EmbeddedPostgres(self.installation.home).admin_url(database)
        return self.installation.home.database_url(f"prov_{role}", database=database)

    def connect(self, role: str, *, options: str = "", database: str = DATABASE) -> psycopg.Connection[Any]:
        """A connection signed in as that role, in autocommit."""
        return psycopg.connect(self.url(role, database), autocommit=True, options=options)

    def workspace(self) -> UUID:
        """A new workspace."""
        from bench.events import make_workspace

        with self.connect("postgres") as admin:
            return make_workspace(admin)

    def keys(self, process: str) -> Any:
        """Every MAC key of the installation, to sign as this process."""
        from audit.signing import KeyRing

        read = self.installation.home.read_key
        return KeyRing.parse({f"{name}-1": read(f"mac-{name}") for name in PROCESSES}, process)

    def signer(self) -> Any:
        """The log's keys of the installation: one database takes no others."""
        from audit.notes import LogSigner

        seeds = (self.installation.home.read_key(name) for name in ("log-ed25519", "log-mldsa44"))
        return LogSigner(*(base64.b64decode(seed) for seed in seeds))

    def sealer(self) -> Any:
        """A sealer in this process, to be led and closed by whoever asks for it."""
        from audit.sealer import Sealer
        from audit.sealing.log_keys import LogKeys

        return Sealer(
            connect=lambda: self.connect("sealer"),
            keys=self.keys("sealer"),
            log_keys=LogKeys(self.signer()),
            origin=self.installation.home.log_origin(),
        )

    def start(self, role: str) -> subprocess.Popen[bytes]:
        """A real process of the installation."""
        program = self.installation.program(role)
        return subprocess.Popen(program.command, env=dict(program.environment), cwd=CHECKOUT)


@contextmanager
def ground() -> Iterator[Ground]:
    """Servers, roles, migrations; Django in this process is a web process of that installation."""
    with throw_away_servers(durable=True) as environment:
        installation = Installation.of(environment)
        ensure_roles(installation, EmbeddedPostgres(installation.home).admin_url())
        program = installation.command("migrate", "migrate", "--noinput", "--skip-checks", "--verbosity", "0")
        subprocess.run(program.command, env=dict(program.environment), cwd=CHECKOUT, check=True)
        os.environ.update(installation.environment("web"))
        django.setup()
        yield Ground(installation)
