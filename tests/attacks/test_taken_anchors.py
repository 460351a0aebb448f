"""Somebody who has the place where checkpoints are kept, empties it, puts something else there, or lets it hang.

What the place lost is not there to hold the database against any more, so that it was lost must not stay unsaid.
"""

import os
import shutil
import threading

import pytest

from audit.anchors import AnchorFailed, couriers
from audit.anchors.couriers import Courier
from audit.anchors.directory import DirectoryAnchor
from audit.condition import condition
from audit.taxonomy import Event
from tests import databases
from tests.audit import sealing
from tests.audit.published import ORIGIN, note, sizes
from tests.audit.sealing import WORKSPACE
from tests.audit.telling import tell
from tests.audit.verifying import verify

OTHER = "log.test/other"


@pytest.fixture
def anchor(tmp_path):
    return DirectoryAnchor(tmp_path / "kept")


@pytest.fixture
def theirs(anchor, tmp_path):
    """A file of the sealer's user elsewhere, and the name under which the anchor would write."""
    anchor.carry({ORIGIN: note(1)})
    (path,) = anchor.directory.iterdir()
    path.unlink()
    file = tmp_path / "key"
    file.write_text("the sealer's key\n")
    return file, path


class TestDirectory:
    def test_a_link_leads_no_checkpoint_into_another_file(self, anchor, theirs):
        file, path = theirs
        path.symlink_to(file)
        with pytest.raises(AnchorFailed, match="takes no checkpoints"):
            anchor.carry({ORIGIN: note(2)})
        assert file.read_text() == "the sealer's key\n"
        for read in (anchor.newest, lambda: list(anchor.kept(ORIGIN))):
            with pytest.raises(AnchorFailed, match="cannot be read"):
                read()

    def test_a_pipe_keeps_nobody_waiting(self, anchor, theirs):
        os.mkfifo(theirs[1])
        for ask in (lambda: anchor.carry({ORIGIN: note(2)}), anchor.newest, lambda: list(anchor.kept(ORIGIN))):
            with pytest.raises(AnchorFailed):
                ask()

    def test_a_checkpoint_for_half_of_which_there_is_room_is_not_taken(self, anchor, monkeypatch):
        anchor.carry({ORIGIN: note(1)})
        write = os.write
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
        with pytest.raises(AnchorFailed, match="No space left"):
            anchor.carry({ORIGIN: note(2)})
        monkeypatch.undo()
        anchor.carry({ORIGIN: note(2)})
        assert sizes(anchor.kept(ORIGIN)) == [1, 2]


def empty(anchor):
    shutil.rmtree(anchor.directory)


def put_older(anchor):
    empty(anchor)
    DirectoryAnchor(anchor.directory).carry({ORIGIN: note(2), OTHER: note(1, OTHER)})


@pytest.mark.django_db(transaction=True)
class TestCourier:
    @pytest.fixture
    def told(self):
        return []

    @pytest.fixture
    def courier(self, anchor, told, monkeypatch):
        monkeypatch.setattr(couriers, "LOOK_BACK_SECONDS", 0.0)
        return Courier(anchor, lambda: databases.login("sealer"), lambda *facts: told.append(facts))

    def deliver(self, courier, size):
        courier.offer(ORIGIN, note(size))
        assert courier.deliver()

    @pytest.mark.parametrize("attack", [empty, put_older])
    def test_what_is_not_kept_any_more_is_told_once(self, attack, courier, anchor, told):
        courier.offer(OTHER, note(9, OTHER))
        self.deliver(courier, 5)
        self.deliver(courier, 6)
        assert told == []
        attack(anchor)
        self.deliver(courier, 7)
        ((name, where, problem),) = told
        assert (name, where) == ("directory", str(anchor.directory))
        assert "somebody took away what was kept there" in problem
        self.deliver(courier, 8)
        assert len(told) == 1
        assert sizes([anchor.newest()[ORIGIN]]) == [8], "what comes later is kept"

    def test_a_place_that_hangs_shows_and_is_told_once(self, told, monkeypatch):
        monkeypatch.setattr(couriers, "HANGS_SECONDS", 0.0)
        asked, may_end = threading.Event(), threading.Event()

        class Hanging:
            name, where, every_seconds = "dead mount", "/mnt", 1.0

            def carry(self, _notes):
                asked.set()
                may_end.wait(60)

        courier = Courier(Hanging(), lambda: databases.login("sealer"), lambda *facts: told.append(facts))
        courier.look()
        courier.offer(ORIGIN, note(1))
        carrying = threading.Thread(target=courier.deliver)
        carrying.start()
        asked.wait(60)
        for _turn in range(3):
            courier.look()
        assert told == [("dead mount", "/mnt", "it does not answer")]
        assert any("dead mount: it does not answer" in warning for warning in condition().warnings)
        may_end.set()
        carrying.join(60)
        assert not condition().warnings, "it answers again"


@pytest.mark.django_db(transaction=True)
@pytest.mark.workspaces(WORKSPACE)
@pytest.mark.parametrize("puts_older", [False, True], ids=["emptied", "set back"])
def test_a_verification_and_the_next_sealer_miss_what_was_kept(puts_older, anchor, tmp_path):
    for copy in (tmp_path / "older", tmp_path / "newest"):
        tell(WORKSPACE, 3)
        with sealing.sealer(places=[anchor]) as one:
            one.work()
            assert all(courier.deliver() for courier in one.couriers)
        shutil.copytree(anchor.directory, copy)
    assert verify(anchor).is_good
    empty(anchor)
    if puts_older:
        shutil.copytree(tmp_path / "older", anchor.directory)
    (problem,) = verify(anchor).problems
    assert "somebody took away what was kept there" in problem
    with sealing.sealer(places=[anchor]) as one:
        assert one.lead()
    told = sealing.rows("SELECT outcome FROM audit.event WHERE action = %s", Event.AUDIT_ANCHOR_FAILED)
    assert len(told) == 1
