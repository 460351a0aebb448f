"""`./manage.py doctor`: what could keep this machine from running Provenance, one line each, with the way out.

Works before anything is installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from provenance import anchor_settings, bootstrap, pidfiles
from provenance.binaries import EmbeddedError, broker, cluster_major, postgres_for
from provenance.children import SUPERVISOR_RECORD
from provenance.embedded import EmbeddedPostgres, EmbeddedValkey, unprivileged_prefix
from provenance.environment import ImproperlySet
from provenance.held_keys import LOG_FILES, PROCESSES
from provenance.home import CHECKOUT, LONGEST_SOCKET_NAME, LONGEST_SOCKET_PATH_BYTES, NEXT, Home, HomeError
from provenance.keyfiles import ROTATION_DUE_DAYS
from provenance.listeners import not_ready, refuse_taken_ports, warnings
from provenance.migrated import is_migrated
from provenance.processes import Installation, StartError
from provenance.terminal import say

NEEDED_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. Without a fix it is fine."""

    subject: str
    found: str
    fix: str = ""


def doctor(arguments: Sequence[str]) -> int:
    """Look at everything `up` needs; 0 when nothing stands in its way."""
    argparse.ArgumentParser(prog="./manage.py doctor", description=doctor.__doc__).parse_args(arguments)
    installation = Installation.of(os.environ)
    findings = [finding for look in LOOKS for finding in look(installation)]
    for finding in findings:
        say(f"{'!!' if finding.fix else 'ok'}  {finding.subject:<12} {finding.found}")
        if finding.fix:
            say(f"    {'':<12} -> {finding.fix}")
    return 1 if any(finding.fix for finding in findings) else 0


def python(_installation: Installation) -> Iterator[Finding]:
    """The interpreter."""
    yield Finding("Python", f"{sys.version.split()[0]} at {sys.executable}")


def environment(_installation: Installation) -> Iterator[Finding]:
    """The packages, or whether they could be installed."""
    ours = bootstrap.Environment(CHECKOUT)
    if ours.has(bootstrap.BASE):
        yield Finding("packages", f"installed in {ours.folder}, as locked")
        return
    try:
        installer = bootstrap.choose_installer(os.environ)
    except bootstrap.BootstrapError as problem:
        yield Finding("packages", "not installed", str(problem))
        return
    yield Finding("packages", f"not installed yet; {installer.name} will do it", "./manage.py up")


def disk(installation: Installation) -> Iterator[Finding]:
    """Room for packages and data."""
    root = installation.home.root
    free = shutil.disk_usage(next(path for path in (root, *root.parents) if path.exists())).free
    fix = "" if free > NEEDED_BYTES else "free 1 GB, or set PROVENANCE_HOME to a bigger disk"
    yield Finding("disk", f"{free / 1e9:.1f} GB free at {root}", fix)


def sockets(installation: Installation) -> Iterator[Finding]:
    """Whether the sockets' paths fit."""
    home = installation.home
    fits = len(os.fsencode(home.run / LONGEST_SOCKET_NAME)) <= LONGEST_SOCKET_PATH_BYTES
    detour = "" if home.run == home.pids else " (the path of the data directory is too long for sockets)"
    yield Finding("sockets", f"in {home.run}{detour}", "" if fits else "set PROVENANCE_HOME to a shorter path")


def privileges(installation: Installation) -> Iterator[Finding]:
    """How Postgres runs for this user."""
    if os.geteuid():
        yield Finding("user", "an ordinary one")
    elif installation.database:
        yield Finding("user", "root; the database runs elsewhere")
    else:
        try:
            yield Finding("user", f"root; Postgres runs without its rights by {Path(unprivileged_prefix()[0]).name}")
        except EmbeddedError as problem:
            yield Finding("user", "root", str(problem))


def ports(installation: Installation) -> Iterator[Finding]:
    """Whether somebody else listens where we would."""
    numbers = ", ".join(map(str, installation.ports.named().values()))
    if pidfiles.read(installation.home.pids / SUPERVISOR_RECORD):
        yield Finding("ports", f"{numbers}, in use by this installation")
        return
    try:
        refuse_taken_ports(installation)
    except StartError as problem:
        yield Finding("ports", "not all free", str(problem))
    else:
        yield Finding("ports", f"{numbers} are free")


def postgres(installation: Installation) -> Iterator[Finding]:
    """The database server and the cluster's version."""
    if installation.database:
        yield Finding("Postgres", f"external, at {installation.database.address}")
        return
    cluster = installation.home.postgres
    try:
        binaries = postgres_for(cluster)
    except EmbeddedError as problem:
        yield _not_found("Postgres", problem)
        return
    made_by = cluster_major(cluster)
    if made_by and made_by != str(binaries.major):
        yield Finding(
            "Postgres", f"{cluster} was made by Postgres {made_by}", "./manage.py up says how to carry it over"
        )
        return
    state = "runs" if EmbeddedPostgres(installation.home).is_running() else "is installed"
    yield Finding("Postgres", f"{binaries.major}, {binaries.origin}, {state}")


def valkey(installation: Installation) -> Iterator[Finding]:
    """The broker."""
    if installation.redis_url:
        yield Finding("Valkey", "external, by REDIS_URL")
        return
    try:
        origin = broker().origin
    except EmbeddedError as problem:
        yield _not_found("Valkey", problem)
        return
    state = "runs" if EmbeddedValkey(installation.home).is_running() else "is installed"
    yield Finding("Valkey", f"{origin}, {state}")


def _not_found(subject: str, problem: EmbeddedError) -> Finding:
    """Before the packages are there a missing server is no fault: they bring it."""
    if bootstrap.Environment(CHECKOUT).has(bootstrap.BASE):
        return Finding(subject, "none found", str(problem))
    return Finding(subject, "comes with the packages")


def anchor(installation: Installation) -> Iterator[Finding]:
    """Whether published checkpoints of the log are kept where a restore of the database does not reach."""
    place = installation.anchor
    there = next(path for path in (place, *place.parents) if path.exists())
    if not os.access(there, os.W_OK) or not there.is_dir():
        yield Finding("anchor", f"{place} cannot be written", "make it writable, or set PROVENANCE_ANCHOR")
        return
    cluster = installation.home.postgres
    is_near = not installation.database and cluster.exists() and cluster.stat().st_dev == there.stat().st_dev
    where = "; on the disk of the database, so set PROVENANCE_ANCHOR to another in production" if is_near else ""
    yield Finding("anchor", f"checkpoints of the log are kept in {place}{where}")


def more_anchors(installation: Installation) -> Iterator[Finding]:
    """What else gets checkpoints of the log, and whether it is set so that a sealer starts with it."""
    environ = installation.environ
    try:
        found = [f"the witness {url}" for url, _keys in anchor_settings.witnesses(environ)]
        if stamps := anchor_settings.time_stamps(environ):
            found.append(f"the time stamp authority {stamps.url}, at most every {stamps.every_seconds} seconds")
        if bucket := anchor_settings.bucket(environ):
            found.append(f"the bucket {bucket.url}, at most every {bucket.every_seconds} seconds")
        if auditors := anchor_settings.auditors(environ):
            found.append(f"{', '.join(auditors)}, by mail once a day")
    except ImproperlySet as problem:
        yield Finding("anchor", "a place for checkpoints is not set as it must be", str(problem))
        return
    if environ.get("PROVENANCE_ANCHOR_COMMAND"):
        found.append("PROVENANCE_ANCHOR_COMMAND")
    yield from (Finding("anchor", f"checkpoints also go to {place}") for place in found)


def migrations(installation: Installation) -> Iterator[Finding]:
    """Whether the database has today's shape."""
    if installation.database:
        yield Finding("migrations", "looked at by every start, because the database is external")
    elif not installation.home.migrated_file.exists():
        yield Finding("migrations", "will be applied by the first start")
    elif is_migrated(installation.home):
        yield Finding("migrations", "applied")
    else:
        yield Finding("migrations", "the code changed since the last start; the next start applies them")


def service(installation: Installation) -> Iterator[Finding]:
    """Whether it runs and is ready."""
    if not pidfiles.read(installation.home.pids / SUPERVISOR_RECORD):
        yield Finding("service", "not running; ./manage.py up starts it")
        return
    problem = not_ready(installation)
    yield Finding(
        "service", problem or f"ready at {installation.url}", f"look into {installation.home.logs}" if problem else ""
    )
    for warning in [] if problem else warnings(installation):
        yield Finding("warning", warning, f"{installation.home.logs / 'sealer.log'} may say more")


def keys(installation: Installation) -> Iterator[Finding]:
    """Where keys come from, whether they are closed to others, and which are due for replacement."""
    home = installation.home
    if not home.keys.is_dir() or not any(home.keys.iterdir()):
        yield Finding("keys", "will be made by the first start")
        return
    try:
        held = home.all_keys()
    except HomeError as problem:
        yield Finding("keys", f"not all in {home.keys} can be used", str(problem))
        return
    modes = sorted({f"{stat.S_IMODE(home.key_path(name).stat().st_mode):04o}" for name in held})
    yield Finding("keys", f"{len(held)} files in {home.keys}, all of mode {' or '.join(modes)}")
    if "AUDIT_MAC_KEYS" in os.environ or "AUDIT_MAC_KEYS_FILE" in os.environ:
        yield Finding("event keys", "from AUDIT_MAC_KEYS; the sealer reminds of those that are due")
    else:
        yield from (_key(home, process, f"mac-{process}", ROTATION_DUE_DAYS) for process in PROCESSES)
    yield from (_key(home, name, file, None) for name, file in LOG_FILES.items() if home.key_versions(file))


def _key(home: Home, name: str, file: str, due_days: int | None) -> Finding:
    """By its file: a copy that was put back counts from then. The database knows better, and the sealer asks it."""
    versions = {int(version): path for version, path in home.key_versions(file).items() if not version.endswith(NEXT)}
    if not versions:
        return Finding(f"{name} key", "not here")
    number = max(versions)
    days = int((time.time() - versions[number].stat().st_mtime) // 86_400)
    found = f"{name}-{number}, a file of {days} days"
    if due_days is None:
        return Finding(f"{name} key", found)
    if days >= due_days:
        return Finding(f"{name} key", f"{found}, due since {days - due_days} days", f"./manage.py rotate_keys {name}")
    return Finding(f"{name} key", f"{found}, due in {due_days - days}")


LOOKS: tuple[Callable[[Installation], Iterator[Finding]], ...] = (
    python,
    environment,
    disk,
    sockets,
    privileges,
    ports,
    postgres,
    valkey,
    anchor,
    more_anchors,
    keys,
    migrations,
    service,
)
