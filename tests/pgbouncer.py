"""A real PgBouncer before the database of this worker, which hands out a process of the server for one transaction."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from psycopg.conninfo import conninfo_to_dict

from provenance.roles import RUNTIME_ROLES
from tests import databases

AS_SOMEBODY_ELSE = ["--reuid=65534", "--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
"""It does not run as root; what root may read, it must be able to read all the same."""
BEFORE = ["setpriv", *AS_SOMEBODY_ELSE] if os.getuid() == 0 else []


def _runs() -> bool:
    """Whether there is one, and rights that it takes can be given to it."""
    tried = subprocess.run([*BEFORE, "true"], capture_output=True, check=False)
    return bool(shutil.which("pgbouncer")) and not tried.returncode


needs_pgbouncer = pytest.mark.skipif(not _runs(), reason="PgBouncer is not installed")


@dataclass(frozen=True)
class Pooler:
    """One that runs, behind a socket in this folder."""

    folder: Path

    def url(self, role: str) -> str:
        """With which a process of that role (`web`, `worker`, …, or `migrate`) signs in through it."""
        user, password = _account(role)
        return f"postgresql://{user}:{password}@/{settings.DATABASES['default']['NAME']}?host={self.folder}&port=6432"

    @contextmanager
    def used_by_django(self, role: str, **options: str) -> Iterator[None]:
        """Django's connections, those of other threads too, go through it as this role, which signs what it does."""
        user, password = _account(role)
        through = {"USER": user, "PASSWORD": password, "HOST": str(self.folder), "PORT": "6432", "OPTIONS": options}
        connection.close()
        here = (connection.settings_dict, settings.DATABASES["default"])
        before, signed_as = [dict(each) for each in here], settings.AUDIT_SIGNS_AS
        settings.AUDIT_SIGNS_AS = role
        for each in here:
            each.update(through)
        try:
            yield
        finally:
            connection.close()
            settings.AUDIT_SIGNS_AS = signed_as
            for each, was in zip(here, before, strict=True):
                each.update(was)

    def forget(self, role: str) -> None:
        """Take from a process that is free what a connection left in it, as if it were a new one."""
        with psycopg.connect(self.url(role), autocommit=True) as somebody:
            somebody.execute("DISCARD ALL")


@contextmanager
def pgbouncer(folder: Path, *, size: int) -> Iterator[Pooler]:
    """With so many processes of the server for each role, and hardly anything set."""
    server = conninfo_to_dict(databases.admin_url())
    accounts = [_account(role) for role in ("migrate", *RUNTIME_ROLES)]
    (folder / "users").write_text("".join(f'"{user}" "{password}"\n' for user, password in accounts))
    file = folder / "pgbouncer.ini"
    file.write_text(
        "[databases]\n"
        f"* = host={server['host']} port={server.get('port', 5432)}\n"
        "[pgbouncer]\n"
        f"pool_mode = transaction\ndefault_pool_size = {size}\n"
        f"listen_addr =\nunix_socket_dir = {folder}\nlogfile = {folder}/log\n"
        f"auth_type = plain\nauth_file = {folder}/users\n"
    )
    with subprocess.Popen([*BEFORE, "pgbouncer", "--quiet", str(file)], stderr=subprocess.PIPE) as running:
        try:
            _wait_for(folder / ".s.PGSQL.6432", running)
            yield Pooler(folder)
        finally:
            # At once, whoever is still connected.
            running.terminate()


def _account(role: str) -> tuple[str, str]:
    url = conninfo_to_dict(databases.role_url(role))
    return str(url["user"]), str(url["password"])


def _wait_for(socket: Path, running: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if socket.exists():
            return
        assert running.poll() is None, running.stderr.read() if running.stderr else ""
        time.sleep(0.1)
    raise AssertionError("PgBouncer does not start.")
