"""`./manage.py psql ROLE`: a database shell as one of the Postgres roles, to see the walls from where they stand."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Sequence

from provenance.binaries import postgres_for
from provenance.embedded import EmbeddedPostgres
from provenance.home import CHECKOUT, DATABASE, DATABASE_ROLES, SUPERUSER, Home, replace_text
from provenance.processes import ExternalDatabase
from provenance.terminal import complain

OWNER = "prov_owner"
# The owner cannot sign in: it is reached, as in migrations, by the one role that may become it.
SIGNS_IN_AS = {OWNER: "prov_migrate"}


def psql(arguments: Sequence[str]) -> int:
    """Open psql as a role, or run one command with -c; psql's exit code."""
    parser = argparse.ArgumentParser(prog="./manage.py psql", description=psql.__doc__)
    parser.add_argument("role", help=f"{', '.join((*DATABASE_ROLES, OWNER, SUPERUSER))}; prov_ may be left out")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="for psql itself, such as -c SQL")
    options = parser.parse_args(arguments)
    role = full_role(options.role)
    if role is None:
        complain(f"There is no role {options.role!r}. Roles: {', '.join((*DATABASE_ROLES, OWNER, SUPERUSER))}.")
        return 2
    home = Home.locate()
    external = ExternalDatabase.of(os.environ)
    if not external and not EmbeddedPostgres(home).is_running():
        complain("Postgres does not run. Start it: ./manage.py up --detach")
        return 1
    # A file of mode 0600, because arguments and environment of a process can be read by others.
    password_file = home.key_path("psql-passwords")
    replace_text(
        password_file, "".join(f"*:*:*:{user}:{home.read_key(f'db-{user}')}\n" for user in (*DATABASE_ROLES, SUPERUSER))
    )
    environment = {**os.environ, "PGPASSFILE": str(password_file)}
    user = SIGNS_IN_AS.get(role, role)
    if user != role:
        environment["PGOPTIONS"] = f"-c role={role}"
    command = [str(postgres_for(home.postgres).folder / "psql"), "--no-psqlrc", "--set=ON_ERROR_STOP=1"]
    if external:
        command.append(external.url(user))
    else:
        # By variables, so that psql's own -d can still name another database.
        environment |= {"PGHOST": str(home.run), "PGUSER": user, "PGDATABASE": DATABASE}
    command += options.options
    try:
        return subprocess.run(command, env=environment, cwd=CHECKOUT, check=False).returncode
    except KeyboardInterrupt:
        return 130


def full_role(name: str) -> str | None:
    """The Postgres role for what a person typed; None when there is none."""
    known = (*DATABASE_ROLES, OWNER, SUPERUSER)
    return next((role for role in (name, f"prov_{name.replace('-', '_')}") if role in known), None)
