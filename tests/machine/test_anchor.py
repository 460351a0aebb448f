"""The second place for checkpoints: named at set-up, and said by `doctor`."""

import pytest

from provenance.doctor import anchor
from provenance.home import HomeError
from provenance.lifecycle import _prepare_anchor
from provenance.processes import Installation


def installation(home, place=None):
    environ = {"PROVENANCE_HOME": str(home.root)} | ({"PROVENANCE_ANCHOR": str(place)} if place else {})
    return Installation.of(environ)


def test_the_set_up_makes_it_for_its_owner_alone(home):
    _prepare_anchor(installation(home))
    assert (home.root / "anchor").stat().st_mode & 0o777 == 0o700


def test_a_place_that_cannot_be_made_is_said_and_stops_nothing(home, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    _prepare_anchor(installation(home, tmp_path / "file" / "anchor"))
    assert "set PROVENANCE_ANCHOR to another directory" in capsys.readouterr().err
    (finding,) = anchor(installation(home, tmp_path / "file" / "anchor"))
    assert finding.fix


def test_inside_the_cluster_it_is_refused(home):
    with pytest.raises(HomeError, match="inside the database's own directory"):
        _prepare_anchor(installation(home, home.postgres / "anchor"))


def test_doctor_says_that_it_is_near_the_database(home):
    home.postgres.mkdir()
    (finding,) = anchor(installation(home))
    assert finding.fix == ""
    assert "on the disk of the database" in finding.found
