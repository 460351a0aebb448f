"""The processes of `up`: restarted when they die, stopped when it ends, cleaned up when it was killed."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from provenance import pidfiles
from provenance.children import Child, backoff_seconds, stop_leftovers
from provenance.home import CHECKOUT, KEYS, Ports
from provenance.listeners import refuse_taken_ports
from provenance.processes import COMMANDS, Installation, Program, StartError
from provenance.supervisor import Supervisor
from tests.machine.conftest import manage, processes_mentioning
from tests.waiting import wait_until


def installation(home, port=8420, **environ):
    return Installation.of({"PROVENANCE_HOME": str(home.root), **environ}, port=port)


@pytest.fixture
def child(home):
    """A process of ours that sleeps until it is stopped."""
    environment = {"PATH": os.environ["PATH"], "PROVENANCE_HOME": str(home.root)}
    made = Child(home, Program("sleeper", ("sleep", "60"), environment))
    yield made
    made.stop()


def test_a_dead_process_is_announced_once_and_started_again_after_its_pause(child):
    child.start()
    first = child.process.pid
    assert child.watch(now=child.started_at) == ""
    child.process.kill()
    child.process.wait()
    now = child.started_at + 1
    assert child.watch(now) == "sleeper ended (killed by SIGKILL); starting it again in 1 s"
    assert child.watch(now + 0.5) == ""
    assert child.exit_code() is not None
    assert child.watch(now + 1) == ""
    assert child.exit_code() is None
    assert child.process.pid != first
    assert pidfiles.read(child.record).pid == child.process.pid


def test_pauses_grow_and_are_forgotten_after_a_steady_life(child):
    assert [backoff_seconds(deaths) for deaths in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    child.start()
    child.deaths = 5
    child.process.kill()
    child.process.wait()
    assert child.watch(child.started_at + 61).endswith("in 1 s")


def test_a_process_that_ignores_the_request_is_ended_with_its_own_children(home, monkeypatch):
    monkeypatch.setattr("provenance.children.STOP_SECONDS", 0.3)
    script = (
        "import signal, subprocess, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "subprocess.Popen(['sleep', '61']); print('up', flush=True); time.sleep(60)"
    )
    environment = {"PATH": os.environ["PATH"], "PROVENANCE_HOME": str(home.root)}
    stubborn = Child(home, Program("stubborn", (sys.executable, "-c", script), environment))
    stubborn.start()
    wait_until(lambda: (home.logs / "stubborn.log").read_text() == "up\n")
    stubborn.stop()
    wait_until(lambda: processes_mentioning(home.root) == [])
    assert not stubborn.record.exists()


def test_what_a_killed_supervisor_left_is_stopped_and_strangers_are_not(home, child):
    child.start()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (home.pids / "worker.pid").write_text(f'{{"pid": {stranger.pid}, "started": "long ago"}}')
        assert stop_leftovers(home)
        assert stranger.poll() is None
        stranger.kill()
    assert child.process.wait() == -signal.SIGTERM
    assert not list(home.pids.glob("*.pid"))
    assert not stop_leftovers(home)


def test_a_taken_port_is_named_with_a_way_out(home, three_free_ports):
    refuse_taken_ports(installation(home, three_free_ports))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", three_free_ports + 1))
        taken.listen()
        with pytest.raises(StartError, match=rf"port {three_free_ports + 1} \(examples\) is taken.*up --port"):
            refuse_taken_ports(installation(home, three_free_ports))
        refuse_taken_ports(installation(home, three_free_ports, PROVENANCE_ENV="production"))


def test_a_database_that_is_down_is_one_sentence_without_the_password(home, three_free_ports):
    external = installation(
        home,
        three_free_ports,
        PROVENANCE_ENV="production",
        PROVENANCE_ADMIN_DATABASE_URL="postgresql://admin:canary-4711@127.0.0.1:9/postgres",
    )
    supervisor = Supervisor(external, on_ready=lambda: None)
    try:
        with pytest.raises(
            StartError, match=r"the database at 127\.0\.0\.1:9 does not answer .*Start it, or correct"
        ) as raised:
            supervisor.start()
    finally:
        supervisor.stop()
    assert "canary-4711" not in str(raised.value)


@pytest.mark.parametrize("role", sorted(COMMANDS))
def test_no_secret_is_in_the_command_or_environment_of_any_process(home, role):
    """Both can be read by others on the machine; files of mode 0600 cannot."""
    home.ensure_keys()
    ours = installation(
        home,
        DATABASE_URL="postgresql://admin:canary-4711@db.example/x",
        REDIS_URL="redis://:canary-4711@cache.example",
        OPENAI_API_KEY="canary-4711",
        PATH="/usr/bin",
    )
    ours.write_urls()
    program = ours.program(role)
    seen = " ".join((*program.command, *program.environment, *program.environment.values()))
    assert not [name for name in KEYS if home.read_key(name) in seen]
    assert "canary-4711" not in seen
    assert "OPENAI_API_KEY" not in program.environment


def test_each_role_gets_the_file_of_its_own_database_login(home):
    home.ensure_keys()
    ours = installation(
        home, PROVENANCE_ADMIN_DATABASE_URL="postgresql://admin@db.example:6432/postgres?sslmode=require"
    )
    ours.write_urls()
    worker = Path(ours.environment("worker")["DATABASE_URL_FILE"])
    password = home.read_key("db-prov_worker")
    assert worker.read_text() == f"postgresql://prov_worker:{password}@db.example:6432/provenance?sslmode=require"
    assert worker.stat().st_mode & 0o777 == 0o600
    assert "GATEWAY_DATABASE_URL_FILE" not in ours.environment("worker")
    assert "DATABASE_URL_FILE" not in ours.environment("examples")


def test_the_port_of_the_last_start_is_used_again(home):
    home.remember_ports(Ports(9000))
    assert installation(home, port=None).url == "http://127.0.0.1:9000"
    assert installation(home, port=None, PROVENANCE_PORT="9100").url == "http://127.0.0.1:9100"


@pytest.mark.parametrize(("number", "moment"), [(signal.SIGINT, "examples starts"), (signal.SIGTERM, "postgres runs")])
def test_stopping_in_the_middle_of_a_start_leaves_nothing(home, three_free_ports, number, moment):
    with manage("up", "--port", str(three_free_ports), home=home) as up:
        wait_for_line(up, moment)
        up.send_signal(number)
        said = up.communicate(timeout=60)[0]
    assert up.returncode == 0, said
    assert "Traceback" not in said
    assert processes_mentioning(home.root) == []
    assert [path.name for path in home.pids.iterdir()] == ["up.lock"]


def test_after_a_kill_the_next_down_cleans_up(home, three_free_ports):
    with manage("up", "--port", str(three_free_ports), home=home) as up:
        wait_for_line(up, "valkey runs")
        up.kill()
    assert processes_mentioning(home.root)
    with manage("down", home=home) as down:
        assert down.communicate(timeout=60)[0] == "Stopped.\n"
    assert processes_mentioning(home.root) == []


def test_a_second_up_says_that_one_is_starting(home, three_free_ports):
    with manage("up", "--port", str(three_free_ports), home=home) as first:
        wait_for_line(first, "postgres runs")
        with manage("up", home=home) as second:
            assert "another `up` is starting just now" in second.communicate(timeout=60)[0]
        assert second.returncode == 1
        first.terminate()
        first.communicate(timeout=60)


def test_psql_without_a_server_and_with_an_unknown_role_say_what_to_do(home):
    home.ensure_keys()
    with manage("psql", "web", home=home) as psql:
        assert psql.communicate()[0] == "Postgres does not run. Start it: ./manage.py up --detach\n"
    with manage("psql", "root", home=home) as psql:
        assert "There is no role 'root'. Roles: prov_migrate, prov_web" in psql.communicate()[0]


def wait_for_line(process, text):
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError("".join(seen))


def test_a_worker_loads_no_pages(home):
    """It serves none, and Celery would load them all to check them: a second of every start, and what could be called."""
    home.ensure_keys()
    question = (
        "import sys; from provenance.celery import app; from celery.fixups.django import DjangoWorkerFixup;"
        "DjangoWorkerFixup(app).validate_models(); print(sorted({'workflows.models', 'provenance.urls'} & {*sys.modules}))"
    )
    environment = installation(home, PATH=os.environ["PATH"]).environment("worker")
    done = subprocess.run(
        [sys.executable, "-c", question], env=environment, cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['workflows.models']\n"
