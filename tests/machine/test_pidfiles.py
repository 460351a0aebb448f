"""Only the process that was recorded is ever signaled."""

import json
import os
import signal
import subprocess
import sys

import pytest

from provenance import pidfiles
from provenance.pidfiles import Process

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_recorded_process_is_found_while_it_lives(tmp_path, sleeper):
    pidfiles.write(tmp_path / "x.pid", sleeper.pid)
    assert pidfiles.read(tmp_path / "x.pid").pid == sleeper.pid
    sleeper.kill()
    sleeper.wait()
    assert pidfiles.read(tmp_path / "x.pid") is None


def test_a_number_that_now_belongs_to_another_process_names_nobody(tmp_path, sleeper):
    started = Process.of(sleeper.pid).started
    (tmp_path / "x.pid").write_text(json.dumps({"pid": sleeper.pid, "started": f"{started}0"}))
    assert pidfiles.read(tmp_path / "x.pid") is None


def test_a_recycled_number_is_not_signaled(sleeper):
    stranger = Process(sleeper.pid, "another boot/1")
    assert not stranger.send(signal.SIGKILL)
    assert stranger.stop((signal.SIGKILL, 1.0))
    assert sleeper.poll() is None


def test_a_process_that_ended_and_was_not_collected_counts_as_gone(sleeper):
    process = Process.of(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not process.is_alive


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x", "started": "y"}', '{"pid": 1}'])
def test_a_damaged_record_names_nobody(tmp_path, text):
    (tmp_path / "x.pid").write_text(text)
    assert pidfiles.read(tmp_path / "x.pid") is None


def test_stopping_goes_on_to_what_cannot_be_refused():
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert Process.of(process.pid).stop((signal.SIGTERM, 0.1), (signal.SIGKILL, 5.0))
        assert process.wait() == -signal.SIGKILL


def test_records_are_for_their_owner_alone(tmp_path, sleeper):
    pidfiles.write(tmp_path / "x.pid", sleeper.pid)
    assert (tmp_path / "x.pid").stat().st_mode & 0o777 == 0o600
