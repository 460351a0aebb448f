"""The whole life of an installation: first start, processes that die, kill -9, second start, stop."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from provenance import pidfiles
from provenance.home import CHECKOUT, KEYS
from tests.machine.conftest import processes_mentioning
from tests.waiting import wait_until

PROCESSES = ("examples", "front", "postgres", "scripted-model", "sealer", "up", "valkey", "worker")


@pytest.fixture
def run(home):
    """Run one command of `./manage.py` on the test's data directory; (exit code, what it said)."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}

    def command(*arguments):
        done = subprocess.run(
            [sys.executable, str(CHECKOUT / "manage.py"), *arguments],
            env={**inherited, "PROVENANCE_HOME": str(home.root)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    yield command
    command("down")


def living(home):
    return {name: pidfiles.read(home.pids / f"{name}.pid") for name in PROCESSES}


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def count_of_events(run):
    return int(run("psql", "postgres", "-Atc", "SELECT count(*) FROM audit.event")[1])


def test_a_backup_is_put_back_while_nothing_serves_or_seals(home, run, three_free_ports):
    """A sealer that began on the empty database would sign another history under the log's name."""
    code, said = run("up", "--detach", "--servers", "--port", str(three_free_ports))
    assert code == 0, said
    assert "nothing that serves" in said
    assert {name for name, process in living(home).items() if process} == {"postgres", "up", "valkey"}
    make = "CREATE DATABASE provenance OWNER prov_owner TEMPLATE template0"
    assert run("psql", "postgres", "-d", "postgres", "-c", "DROP DATABASE provenance", "-c", make)[0] == 0
    assert run("psql", "postgres", "-Atc", "SELECT count(*) FROM pg_namespace WHERE nspname = 'audit'") == (0, "0\n")
    assert "nothing that serves" in run("up", "--detach")[1]
    assert run("status")[0] == 3
    assert list(home.anchor().iterdir()) == []


def test_the_life_of_an_installation(home, run, three_free_ports):
    """E1, E5, E6, E13: one command starts it; what dies comes back; nothing is lost, told or left behind."""
    code, said = run("up", "--detach", "--port", str(three_free_ports))
    assert code == 0, said
    assert f"ready http://127.0.0.1:{three_free_ports}" in said
    people = json.loads(home.demo_file.read_text())["people"]
    assert all(person["email"] in said and person["password"] in said for person in people)
    assert "Maya Lindqvist, approver and auditor " in said

    # No secret stands in an argument, an environment or a log of anything that runs.
    assert all(living(home).values())
    seen = b"".join(
        Path(f"/proc/{process.pid}/{part}").read_bytes()
        for process in living(home).values()
        for part in ("cmdline", "environ")
    ) + b"".join(log.read_bytes() for log in home.logs.iterdir())
    secrets = [home.read_key(name) for name in KEYS] + [person["password"] for person in people]
    assert [secret for secret in secrets if secret.encode() in seen] == []

    # A second `up` changes nothing and says where it runs.
    before = living(home)
    code, said = run("up", "--detach")
    assert (code, "running already" in said, living(home)) == (0, True, before)
    assert run("status")[0] == 0

    # The database can be looked through as each role, with no more rights than it has.
    roles = {"prov_web": "prov_web", "worker": "prov_worker", "prov_owner": "prov_owner", "postgres": "postgres"}
    for name, role in roles.items():
        assert run("psql", name, "-Atc", "SELECT current_user") == (0, f"{role}\n")
    code, said = run("psql", "web", "-c", "DELETE FROM audit.event")
    assert code != 0
    assert "permission denied" in said

    # What dies comes back.
    for name in ("front", "valkey", "postgres"):
        os.kill(before[name].pid, signal.SIGKILL)
    wait_until(lambda: is_ready(three_free_ports) and all(living(home).values()))
    assert all(living(home)[name] != before[name] for name in ("front", "valkey", "postgres"))

    # After a kill -9 of the supervisor the next start cleans up; the data is there and the demo is not filled again.
    events = count_of_events(run)
    os.kill(living(home)["up"].pid, signal.SIGKILL)
    wait_until(lambda: living(home)["up"] is None)
    code, said = run("up", "--detach")
    assert code == 0, said
    assert "Stopped what a killed start had left running" in (home.logs / "up.log").read_text()
    assert "Filling the demo workspace" not in said
    assert "Applying migrations" not in said
    assert count_of_events(run) >= events
    assert json.loads(home.demo_file.read_text())["people"] == people

    # And then nothing is left.
    supervisor = living(home)["up"].pid
    assert run("down") == (0, f"Stopping (pid {supervisor}) ...\nStopped.\n")
    assert processes_mentioning(home.root) == []
    assert [path.name for path in home.pids.iterdir()] == ["up.lock"]
    assert run("status")[0] == 3
    assert run("down") == (0, "Nothing was running.\n")
