"""Every secret of an installation is a canary: after the story it is searched for wherever data comes to rest (T02)."""

import base64
import binascii
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote_plus

import psycopg
import pytest

from provenance.pidfiles import read as read_pid
from provenance.roles import in_database
from tests import databases

SHORTEST_CANARY = 12


def spellings(value: bytes) -> Iterator[bytes]:
    """The value as it is, in base64 wherever it may stand inside a longer text, URL-encoded and in hex."""
    yield value
    yield quote_plus(value).encode()
    yield value.hex().encode()
    for shift in range(3):
        # What stands before and after decides the first and last characters, so those are left out.
        encoded = base64.b64encode(bytes(shift) + value + bytes(3))
        core = encoded[-(-shift * 8 // 6) : (shift + len(value)) * 8 // 6]
        yield core
        yield core.replace(b"+", b"-").replace(b"/", b"_")


def found(canaries: dict[str, bytes], content: bytes) -> set[str]:
    """The names of the secrets that stand in the content."""
    return {name for name, value in canaries.items() if any(spelling in content for spelling in spellings(value))}


@pytest.fixture(scope="module")
def played(story):
    """The installation after its whole story, and after somebody mistyped a password and a key."""
    play = story.command("demo", "--headless")
    assert play.returncode == 0, play.stdout + play.stderr
    with story.api(story.sign_ins.api_key[:-1]) as api:
        assert api.get("/runs").status_code == 401
    return story


@pytest.fixture(scope="module")
def canaries(played):
    # Addresses are searched for by their passwords; what the logs call themselves is public.
    named = [path for path in played.home.keys.iterdir() if "url" not in path.name]
    secrets = {path.name: path.read_bytes().strip() for path in named}
    for name, value in list(secrets.items()):
        try:
            raw = base64.b64decode(value, validate=True)
        except binascii.Error:
            continue
        if len(raw) == 32:
            secrets[f"{name} (raw)"] = raw
    secrets |= {f"password of {person.email}": person.password.encode() for person in played.sign_ins.people}
    secrets["API key"] = played.sign_ins.api_key.encode()
    assert all(len(value) >= SHORTEST_CANARY for value in secrets.values())
    assert len(secrets) > 20
    return secrets


@pytest.mark.parametrize("form", ["plain", "base64", "url", "in a token"])
def test_the_search_finds_what_is_there(canaries, form):
    value = canaries["model-key"]
    hidden = {
        "plain": b"key=" + value,
        "base64": base64.b64encode(b"Bearer " + value + b"\r\n"),
        "url": quote_plus(b"a+b=" + value).encode(),
        "in a token": base64.urlsafe_b64encode(json.dumps({"k": value.decode()}).encode()),
    }[form]
    assert found(canaries, b"..." + hidden + b"...") == {"model-key"}


def test_no_table_holds_a_secret(played, canaries):
    """All tables of both schemas, byte for byte, bytea columns included."""
    leaks = {}
    with connected(played) as admin:
        for table in tables(admin):
            with admin.cursor().copy(f"COPY (SELECT * FROM {table}) TO STDOUT (FORMAT binary)") as copy:
                content = b"".join(bytes(block) for block in copy)
            if names := found(canaries, content):
                leaks[table] = names
    assert not leaks


def test_no_stored_value_holds_a_secret_once_it_is_opened(played, canaries):
    """Arguments, results and transcripts rest encrypted; inside they must be clean too."""
    from workspaces import blobs
    from workspaces.models import Blob

    leaks, count = set(), 0
    with played.inside() as operator:
        for blob in Blob.objects.for_workspace(operator.workspace_id):
            content = blobs.get(operator.workspace_id, bytes(blob.key).hex())
            leaks |= found(canaries, content)
            count += 1
    assert count > 10
    assert not leaks


def test_the_broker_holds_no_secret(played, canaries):
    content = [b""]
    broker = played.valkey()
    for key in broker.scan_iter():
        content += [key, *everything_under(broker, key)]
    assert not found(canaries, b"\n".join(content))


def test_no_file_holds_a_secret(played, canaries):
    """Everything in the data directory but the two places that are for secrets: keys/ and the sign-ins."""
    leaks = {}
    for path in files(played.home.root):
        if played.home.keys in path.parents or path == played.home.demo_file:
            continue
        if names := found(canaries, content_of(path)):
            leaks[str(path)] = names
    assert not leaks


def content_of(path):
    """Of a file that is gone meanwhile, nothing: databases at work make such and remove them."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def test_logs_were_written(played):
    assert all((played.home.logs / f"{role}.log").exists() for role in played.running)


def test_no_process_shows_a_secret(played, canaries):
    """Command lines and environments can be read by every process of the same user."""
    pids = {role: process.pid for role, process in played.running.items()}
    pids["valkey"] = read_pid(played.home.pids / "valkey.pid").pid
    pids |= postgres_processes(played)
    assert {"front", "worker", "examples", "scripted-model", "valkey", "postmaster"} <= set(pids)
    assert b"postgres" in shown_by(pids["postmaster"], "cmdline")
    assert b"PATH=" in shown_by(pids["postmaster"], "environ")
    for role, pid in pids.items():
        for name in ("cmdline", "environ"):
            assert not found(canaries, shown_by(pid, name)), (role, name)


def shown_by(pid, name):
    """What `/proc` shows of a process; nothing of one that has ended: connections come and go."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def postgres_processes(played):
    """The server's own process and those behind its connections, which name themselves after what they do."""
    with connected(played) as admin:
        connections = [pid for (pid,) in admin.execute("SELECT pid FROM pg_stat_activity").fetchall()]
        (own,) = admin.execute("SELECT pg_backend_pid()").fetchone()
        parent = int(Path(f"/proc/{own}/stat").read_text().rpartition(")")[2].split()[1])
    return {"postmaster": parent, **{f"postgres {pid}": pid for pid in connections}}


# --- Where to look ---------------------------------------------------------------------------------------------------


@contextmanager
def connected(story):
    with psycopg.connect(in_database(databases.admin_url(), story.database), autocommit=True) as admin:
        yield admin


def tables(admin):
    rows = admin.execute(
        "SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname IN ('public', 'audit') AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1"
    )
    names = [name for (name,) in rows.fetchall()]
    assert {"audit.event", "audit.detail", "public.secrets_vault_secretversion"} <= set(names)
    return names


def everything_under(broker, key):
    match broker.type(key):
        case b"string":
            return [broker.get(key)]
        case b"list" | b"none":  # of a key that was taken out meanwhile there is nothing
            return broker.lrange(key, 0, -1)
        case b"set":
            return list(broker.smembers(key))
        case b"zset":
            return broker.zrange(key, 0, -1)
        case b"hash":
            return [part for pair in broker.hgetall(key).items() for part in pair]
        case b"stream":
            return [part for _, fields in broker.xrange(key) for pair in fields.items() for part in pair]
        case other:
            raise AssertionError(f"{key} is a {other}, and nobody has looked into one yet")


def files(root):
    return [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
