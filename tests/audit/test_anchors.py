"""What was published is kept outside the database, whatever happens while it is written (audit.md 4.5)."""

import stat
from datetime import UTC, datetime, timedelta

import pytest

from audit.anchors import AnchorFailed
from audit.anchors.command import CommandAnchor
from audit.anchors.directory import DirectoryAnchor
from tests.audit.published import ORIGIN, note, sizes


class Clock:
    def __init__(self):
        self.now = datetime(2026, 11, 30, 8, 59, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def anchor(tmp_path, clock):
    return DirectoryAnchor(tmp_path / "kept", now=clock, recent_bytes=2000)


def test_the_newest_of_each_log_is_read_again(anchor):
    anchor.carry({ORIGIN: note(1), "log.test/other": note(7, "log.test/other")})
    anchor.carry({ORIGIN: note(2)})
    again = DirectoryAnchor(anchor.directory)
    assert again.newest() == {ORIGIN: note(2), "log.test/other": note(7, "log.test/other")}
    assert again.origins() == {ORIGIN, "log.test/other"}


def test_files_are_for_their_owner_alone(anchor):
    anchor.carry({ORIGIN: note(1)})
    modes = {stat.S_IMODE(path.stat().st_mode) for path in anchor.directory.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(anchor.directory.stat().st_mode) == 0o700


def test_an_origin_does_not_lead_out_of_the_directory(anchor):
    """It comes from a table, and a database administrator may write anything into it."""
    anchor.carry({"../../escaped": note(1, "../../escaped")})
    assert [path.parent for path in anchor.directory.rglob("*.jsonl")] == [anchor.directory]
    assert anchor.newest() == {"../../escaped": note(1, "../../escaped")}


def test_a_line_that_a_crash_cut_off_is_passed_over_and_spoils_nothing(anchor):
    anchor.carry({ORIGIN: note(1)})
    (path,) = anchor.directory.iterdir()
    with path.open("ab") as file:
        file.write(b'{"at":"2026-11-30T08:59:00+00:00","note":"log.te')
    again = DirectoryAnchor(anchor.directory, now=anchor.now)
    assert sizes(again.newest().values()) == [1]
    again.carry({ORIGIN: note(2)})
    assert sizes(again.newest().values()) == [2]
    assert sizes(again.kept(ORIGIN)) == [1, 2]


def test_the_files_stay_small_and_the_newest_of_each_hour_is_kept_for_ever(anchor, clock):
    for number in range(1, 61):
        anchor.carry({ORIGIN: note(number)})
        clock.now += timedelta(minutes=7)
    kept = set(sizes(anchor.kept(ORIGIN)))
    # 08:59, then every seven minutes: the last one of each full hour
    minutes = {number: (539 + 7 * (number - 1)) // 60 for number in range(1, 61)}
    newest_of_hour = {max(n for n in minutes if minutes[n] == hour) for hour in set(minutes.values())}
    assert newest_of_hour <= kept
    assert len(kept) < 60, "what is between the hours goes in time"
    recent = [path.stat().st_size for path in anchor.directory.iterdir() if "hourly" not in path.name]
    assert max(recent) < 3000


def test_after_a_restart_the_hour_before_is_not_forgotten(anchor, clock):
    anchor.carry({ORIGIN: note(1)})
    clock.now += timedelta(hours=1)
    DirectoryAnchor(anchor.directory, now=clock).carry({ORIGIN: note(2)})
    (hourly,) = anchor.directory.glob("*.hourly.jsonl")
    assert '"note":"log.test/instance\\n1\\n' in hourly.read_text()


def test_an_older_checkpoint_does_not_hide_a_newer_one(anchor):
    anchor.carry({ORIGIN: note(5)})
    anchor.carry({ORIGIN: note(3)})
    DirectoryAnchor(anchor.directory, now=anchor.now).carry({ORIGIN: note(5)})
    assert sizes(anchor.kept(ORIGIN)) == [5]


def test_who_cuts_off_what_is_recent_does_not_hide_the_hours_before(anchor, clock):
    anchor.carry({ORIGIN: note(5)})
    clock.now += timedelta(hours=1)
    anchor.carry({ORIGIN: note(6)})
    (recent,) = anchor.directory.glob("*.recent.jsonl")
    recent.unlink()
    assert sizes(DirectoryAnchor(anchor.directory).newest().values()) == [5]


def test_a_place_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    anchor = DirectoryAnchor(tmp_path / "file" / "kept")
    with pytest.raises(AnchorFailed, match="takes no checkpoints"):
        anchor.carry({ORIGIN: note(1)})
    assert DirectoryAnchor(tmp_path / "nowhere").newest() == {}


def test_a_place_that_cannot_be_read_says_so(anchor):
    anchor.carry({ORIGIN: note(1)})
    (path,) = anchor.directory.iterdir()
    path.unlink()
    path.mkdir()
    with pytest.raises(AnchorFailed, match="cannot be read"):
        anchor.newest()


def test_a_command_gets_the_note_of_the_instance_log(tmp_path):
    kept = tmp_path / "kept"
    command = CommandAnchor(f"tee {kept}")
    command.carry({"log.test/0190": note(9, "log.test/0190"), ORIGIN: note(3)})
    assert kept.read_text() == note(3)
    assert command.where == "tee"


@pytest.mark.parametrize(("command", "says"), [("false", "ended with 1"), ("/no/such/program", "cannot be run")])
def test_a_command_that_fails_says_so(command, says):
    with pytest.raises(AnchorFailed, match=says):
        CommandAnchor(command).carry({ORIGIN: note(3)})
