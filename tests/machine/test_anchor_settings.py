"""Places for checkpoints are read from the environment, and what is wrong with one is said before a sealer starts."""

import pytest

from provenance.anchor_settings import time_stamps, witnesses
from provenance.doctor import more_anchors
from provenance.environment import ImproperlySet
from provenance.processes import Installation

TSA = "PROVENANCE_ANCHOR_TSA"


@pytest.fixture
def stamps(tmp_path):
    """An environment with a time stamp authority."""
    (tmp_path / "ca.pem").write_text("the certificate\n")
    return {TSA: "http://tsa.example/tsr", f"{TSA}_CA_FILE": str(tmp_path / "ca.pem")}


def test_without_one_nothing_is_stamped():
    assert time_stamps({}) is None
    assert time_stamps({TSA: ""}) is None
    assert witnesses({}) == ()


def test_an_authority_is_asked_every_hour_unless_told_otherwise(stamps):
    found = time_stamps(stamps)
    assert (found.url, found.authorities, found.every_seconds) == ("http://tsa.example/tsr", "the certificate", 3600)
    assert time_stamps({**stamps, f"{TSA}_SECONDS": "86400"}).every_seconds == 86400


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({TSA: "ftp://tsa.example"}, "PROVENANCE_ANCHOR_TSA is no address"),
        ({TSA: "https://"}, "PROVENANCE_ANCHOR_TSA is no address"),
        ({TSA: "https://me:word@tsa.example/"}, "PROVENANCE_ANCHOR_TSA is no address"),
        ({TSA: "https://tsa.example:x/"}, "PROVENANCE_ANCHOR_TSA is no address"),
        ({f"{TSA}_CA_FILE": ""}, "PROVENANCE_ANCHOR_TSA_CA_FILE is not"),
        ({f"{TSA}_CA_FILE": "/no/such/file"}, "cannot be read"),
        ({f"{TSA}_SECONDS": "hourly"}, "PROVENANCE_ANCHOR_TSA_SECONDS is 'hourly'"),
        ({f"{TSA}_SECONDS": "59"}, "60 or more"),
    ],
)
def test_what_is_wrong_is_said_by_settings_and_by_doctor(stamps, change, says, home):
    environ = {**stamps, **change}
    with pytest.raises(ImproperlySet, match=says) as refusal:
        time_stamps(environ)
    assert "word" not in str(refusal.value)
    (finding,) = more_anchors(Installation.of({"PROVENANCE_HOME": str(home.root), **environ}))
    assert says in finding.fix


def test_doctor_says_where_checkpoints_go_besides(stamps, home):
    environ = {"PROVENANCE_HOME": str(home.root), **stamps, "PROVENANCE_ANCHOR_COMMAND": "keep --token=hidden"}
    environ["PROVENANCE_WITNESSES"] = "https://witness.example/one witness.example+00+AA"
    found = list(more_anchors(Installation.of(environ)))
    assert [finding.fix for finding in found] == ["", "", ""]
    said = "\n".join(finding.found for finding in found)
    for place in ("https://witness.example/one", "http://tsa.example/tsr", "PROVENANCE_ANCHOR_COMMAND"):
        assert place in said
    assert "hidden" not in said


def test_the_sealer_is_handed_them_by_up_as_files(stamps, home):
    installation = Installation.of({"PROVENANCE_HOME": str(home.root), **stamps})
    assert installation.environment("sealer").items() >= stamps.items()
