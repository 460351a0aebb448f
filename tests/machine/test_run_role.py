"""`run` and `status` where the database is down or a port is taken: one sentence at once, and nothing starts."""

import os
import subprocess
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from provenance.bootstrap import CHECKOUT
from tests.machine.conftest import manage


@pytest.mark.parametrize("role", ["worker", "gateway", "front"])
def test_a_role_whose_database_is_down_says_where_it_looked_and_what_to_do(home, role, three_free_ports):
    home.ensure_keys()
    away = "postgresql://prov:canary-4711@127.0.0.1:9/provenance"
    ended = subprocess.run(
        [sys.executable, str(CHECKOUT / "manage.py"), "run", role],
        env={
            "PATH": os.environ["PATH"],
            "PROVENANCE_HOME": str(home.root),
            "PROVENANCE_ENV": "demo",
            "PROVENANCE_PORT": str(three_free_ports),
            "DATABASE_URL": away,
            "GATEWAY_DATABASE_URL": away,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    (sentence,) = ended.stderr.strip().splitlines()
    assert sentence.startswith(f"manage.py run {role}: the database at 127.0.0.1:9 does not answer")
    assert "Connection refused" in sentence
    assert "correct DATABASE_URL" in sentence
    assert "canary-4711" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "command",
    [
        *(["verify"], ["demo", "--headless"], ["migrate"], ["start-epoch", "--reason", "x"]),
        *(["audit_keys", "ws", "x.keys"], ["audit_export", "ws", "x.zip"], ["audit_stream", "x.cursor"]),
    ],
    ids=lambda command: command[0],
)
def test_a_command_with_nothing_running_says_so_at_once(home, command, three_free_ports):
    """Not after the ten seconds of a pool, and not with a traceback."""
    home.ensure_keys()
    ended = manage(*command, home=home, PROVENANCE_PORT=str(three_free_ports), PROVENANCE_ENV="demo")
    said, _ = ended.communicate(timeout=60)
    assert ended.returncode == 2
    (sentence,) = said.strip().splitlines()
    assert sentence.startswith(f"manage.py {command[0].replace('-', '_')}: the database at {home.run} does not answer")
    assert sentence.endswith("Start it: ./manage.py up")


@pytest.fixture
def foreign_server():
    """The port of somebody else's web server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("role", ["web", "front", "gateway"])
def test_a_taken_port_is_one_sentence_before_anything_starts(home, role, foreign_server):
    said, _ = (ended := manage("run", role, home=home, PROVENANCE_PORT=str(foreign_server))).communicate(timeout=60)
    assert ended.returncode == 1
    (sentence,) = said.strip().splitlines()
    assert sentence.startswith(f"manage.py run {role}: port {foreign_server} is taken by another program.")


def test_status_of_what_does_not_run_says_how_to_start_it(home, three_free_ports):
    said, _ = (ended := manage("status", home=home, PROVENANCE_PORT=str(three_free_ports))).communicate(timeout=60)
    assert (ended.returncode, said) == (3, "Provenance does not run. Start it: ./manage.py up\n")


def test_status_knows_a_foreign_server_and_does_not_show_its_page(home, foreign_server):
    said, _ = (ended := manage("status", home=home, PROVENANCE_PORT=str(foreign_server))).communicate(timeout=60)
    assert ended.returncode == 3
    assert f"port {foreign_server} belongs to another program" in said
    assert "<" not in said
