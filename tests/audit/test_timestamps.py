"""Checkpoints are stamped by an authority of somebody else's, and who doubts it asks OpenSSL (audit.md 4.5)."""

import hashlib
import stat
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from audit.anchors import AnchorFailed, timestamps
from audit.anchors.timestamps import TimeStampAuthority
from audit.taxonomy import Event
from tests.audit import sealing
from tests.audit.published import ORIGIN, note
from tests.audit.sealing import WORKSPACE, status, told
from tests.audit.telling import tell
from tests.fakes.time_stamps import stamping


@pytest.fixture
def authority(tmp_path):
    with stamping(tmp_path / "authority") as made:
        yield made


def place_of(authority, tmp_path, ca=None):
    return TimeStampAuthority.of(authority.url, (ca or authority.ca).read_text(), tmp_path / "kept" / "stamps", 3600)


@pytest.fixture
def place(authority, tmp_path):
    return place_of(authority, tmp_path)


def kept(place):
    return sorted(path.name for path in place.directory.iterdir()) if place.directory.exists() else []


def openssl(*arguments, cwd):
    done = subprocess.run(["openssl", "ts", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_what_is_kept_is_verified_by_openssl_alone(authority, place):
    place.carry({ORIGIN: note(7), "log.test/other": note(9, "log.test/other")})
    stamped, answer = kept(place)
    assert (stamped.rpartition(".")[0], answer.rpartition(".")[0]) == (answer.rpartition(".")[0],) * 2
    assert stamped.endswith("Z-7.note")
    assert (place.directory / stamped).read_text() == note(7)
    check = ("-verify", "-data", stamped, "-in", answer, "-CAfile", str(authority.ca))
    assert openssl(*check, cwd=place.directory)[0] == 0
    code, said = openssl("-reply", "-in", answer, "-text", cwd=place.directory)
    assert code == 0
    assert f"{datetime.now(UTC):%b %e}" in said
    (place.directory / stamped).write_text(note(8))
    assert openssl(*check, cwd=place.directory)[0] != 0
    assert len(authority.answers) == 1, "of the log of logs alone, which holds the others' checkpoints"


def test_files_are_for_their_owner_alone(place):
    place.carry({ORIGIN: note(1)})
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.directory.iterdir()} == {0o600}
    assert stat.S_IMODE(place.directory.stat().st_mode) == 0o700


def test_what_it_refuses_it_says_and_nothing_is_kept(authority, place):
    authority.digests("sha512")
    with pytest.raises(AnchorFailed, match=r"refused, status 2: .*algorithm"):
        place.carry({ORIGIN: note(1)})
    assert kept(place) == []


def test_an_older_answer_about_the_same_note_is_not_taken(authority, place):
    place.carry({ORIGIN: note(1)})
    authority.says = authority.answers[0]
    before = kept(place)
    with pytest.raises(AnchorFailed, match="Nonce mismatch"):
        place.carry({ORIGIN: note(1)})
    assert kept(place) == before


def test_a_stamp_on_something_else_is_not_taken(authority, place):
    ours, other = hashlib.sha256(note(1).encode()).digest(), hashlib.sha256(b"something else").digest()
    authority.before = lambda query: query.replace(ours, other)
    with pytest.raises(AnchorFailed, match="Mismatch between messages"):
        place.carry({ORIGIN: note(1)})
    assert kept(place) == []


def test_an_authority_that_is_not_the_named_one_is_not_believed(authority, tmp_path):
    with stamping(tmp_path / "another") as another:
        place = place_of(authority, tmp_path, ca=another.ca)
        with pytest.raises(AnchorFailed, match="Error while verifying certificates"):
            place.carry({ORIGIN: note(1)})
    assert kept(place) == []


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_is_wrong_is_said(place, monkeypatch, hours):
    class Elsewhen(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=hours)

    monkeypatch.setattr(timestamps, "datetime", Elsewhen)
    with pytest.raises(AnchorFailed, match="its clock or that of this host is wrong"):
        place.carry({ORIGIN: note(1)})
    assert kept(place) == []


@pytest.mark.parametrize("answer", [b"", b"no DER", b"\x30\x03\x02\x01\x00", b"\x30\x05\x30\x03\x02\x01\x00"])
def test_an_answer_that_is_none_is_not_kept(authority, place, answer):
    authority.says = answer
    with pytest.raises(AnchorFailed, match="does not verify"):
        place.carry({ORIGIN: note(1)})
    assert kept(place) == []


def test_a_directory_that_cannot_be_written_is_said(place):
    place.directory.parent.mkdir()
    place.directory.write_text("a file")
    with pytest.raises(AnchorFailed, match="takes no time stamps"):
        place.carry({ORIGIN: note(1)})


def test_a_file_without_a_certificate_is_refused(authority, tmp_path):
    with pytest.raises(ValueError, match="PEM"):
        place_of(authority, tmp_path, ca=authority.directory / "tsa.cnf")


# --- With a sealer ---------------------------------------------------------------------------------------------------


def with_sealer(test):
    return pytest.mark.django_db(transaction=True)(pytest.mark.workspaces(WORKSPACE)(test))


@with_sealer
def test_a_failure_shows_and_is_told_once_and_what_waited_is_stamped_later(authority, place):
    authority.digests("sha512")
    tell(WORKSPACE)
    with sealing.sealer(places=[place]) as one:
        one.work()
        (courier,) = one.couriers
        assert [courier.deliver(), courier.deliver()] == [False, False]
        assert "refused, status 2" in status(place.name)
        ((_log, detail),) = told(Event.AUDIT_ANCHOR_FAILED)
        assert (detail["name"], detail["place"]) == (place.name, authority.url)
        authority.digests("sha256")
        assert courier.deliver()
    assert status(place.name) == ""
    assert len(kept(place)) == 2


@with_sealer
def test_an_authority_that_hangs_holds_nobody_up(authority, place, monkeypatch):
    monkeypatch.setattr(timestamps, "TOTAL_SECONDS", 120.0)
    monkeypatch.setattr("audit.anchors.couriers.LOOK_SECONDS", 0.01)
    authority.hangs = True
    stop = threading.Event()
    with sealing.sealer(places=[place]) as one:
        thread = threading.Thread(target=one.run, args=(stop,))
        thread.start()
        deadline = time.monotonic() + 60
        for expected in (1, 2):
            tell(WORKSPACE)
            while len(sealing.leaves(WORKSPACE)) < expected and time.monotonic() < deadline:
                stop.wait(0.05)
            while not authority.server.requests and time.monotonic() < deadline:
                stop.wait(0.05)
        stop.set()
        thread.join(30)
    assert not thread.is_alive()
    assert authority.server.requests, "it was asked, and hangs"
    assert len(sealing.leaves(WORKSPACE)) == 2


@with_sealer
def test_an_authority_that_says_nothing_is_given_up(authority, place, monkeypatch):
    monkeypatch.setattr(timestamps, "TOTAL_SECONDS", 0.2)
    authority.hangs = True
    tell(WORKSPACE)
    with sealing.sealer(places=[place]) as one:
        one.work()
        assert not one.couriers[0].deliver()
    assert "does not answer" in status(place.name)
