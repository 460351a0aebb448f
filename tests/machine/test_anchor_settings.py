"""Places for checkpoints are read from the environment, and what is wrong with one is said before a sealer starts."""

import pytest

from provenance.anchor_settings import auditors, bucket, time_stamps, witnesses
from provenance.doctor import more_anchors
from provenance.environment import ImproperlySet
from provenance.processes import Installation

TSA, BUCKET = "PROVENANCE_ANCHOR_TSA", "PROVENANCE_ANCHOR_BUCKET"


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


@pytest.fixture
def locked(tmp_path):
    """An environment with a bucket."""
    key = tmp_path / "bucket-key"
    key.write_text("AKIDEXAMPLE:invented\n")
    key.chmod(0o600)
    return {BUCKET: "https://anchors.s3.example/", f"{BUCKET}_KEY_FILE": str(key)}


def test_a_bucket_is_its_address_and_a_file_with_credentials(locked):
    assert bucket({}) is None
    found = bucket({**locked, f"{BUCKET}_REGION": "eu-central-1"})
    assert (found.url, found.region, found.every_seconds) == ("https://anchors.s3.example", "eu-central-1", 600)
    assert str(found.credentials) == "AKIDEXAMPLE:invented"
    assert "invented" not in repr(found)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({BUCKET: "http://anchors.s3.example"}, "PROVENANCE_ANCHOR_BUCKET is no address"),
        ({BUCKET: "https://s3.example/bucket/folder"}, "more than a bucket"),
        ({BUCKET: "https://s3.example/?list-type=2"}, "more than a bucket"),
        ({f"{BUCKET}_KEY_FILE": ""}, "names no credentials"),
        ({f"{BUCKET}_KEY_FILE": "/no/such/file"}, "no such file"),
        ({f"{BUCKET}_KEY": "onlyonepart"}, "names no credentials"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_said(locked, change, says, home):
    with pytest.raises(ImproperlySet, match=says):
        bucket({**locked, **change})
    (finding,) = more_anchors(Installation.of({"PROVENANCE_HOME": str(home.root), **locked, **change}))
    assert says in finding.fix


def test_credentials_that_others_can_read_are_refused(locked, tmp_path):
    (tmp_path / "bucket-key").chmod(0o644)
    with pytest.raises(ImproperlySet, match="PROVENANCE_ANCHOR_BUCKET_KEY_FILE: "):
        bucket(locked)


def test_on_this_machine_a_store_may_speak_plain_http(locked):
    assert bucket({**locked, BUCKET: "http://127.0.0.1:9000/anchors"}).url == "http://127.0.0.1:9000/anchors"


@pytest.fixture
def mailing(tmp_path):
    """An environment in which auditors get mail."""
    (tmp_path / "relay").write_text("smtp://127.0.0.1:25")
    relay = {"EMAIL_FROM": "provenance@example.com", "EMAIL_URL_FILE": str(tmp_path / "relay")}
    return {"PROVENANCE_ANCHOR_MAIL": "one@audit.example, two@audit.example", **relay}


def test_each_auditor_is_a_plain_address(mailing):
    assert auditors({}) == ()
    assert auditors(mailing) == ("one@audit.example", "two@audit.example")
    with pytest.raises(ImproperlySet, match="plain addresses"):
        auditors({**mailing, "PROVENANCE_ANCHOR_MAIL": "one@audit.example\nBcc: evil@evil.example"})


@pytest.mark.parametrize("missing", ["EMAIL_FROM", "EMAIL_URL_FILE"])
def test_mail_needs_a_sender_and_a_relay(mailing, missing, home):
    del mailing[missing]
    with pytest.raises(ImproperlySet, match="no mail can be sent"):
        auditors(mailing)
    (finding,) = more_anchors(Installation.of({"PROVENANCE_HOME": str(home.root), **mailing}))
    assert "Set EMAIL_FROM and EMAIL_URL_FILE" in finding.fix


def test_the_sealer_knows_the_relay_only_when_it_mails(mailing, home):
    there = {"PROVENANCE_HOME": str(home.root), **mailing}
    assert Installation.of(there).environment("sealer")["EMAIL_URL_FILE"] == mailing["EMAIL_URL_FILE"]
    del there["PROVENANCE_ANCHOR_MAIL"]
    assert "EMAIL_URL_FILE" not in Installation.of(there).environment("sealer")
    assert "EMAIL_URL_FILE" in Installation.of(there).environment("front")


def test_doctor_says_where_checkpoints_go_besides(stamps, locked, mailing, home):
    environ = {
        "PROVENANCE_HOME": str(home.root),
        **stamps,
        **locked,
        **mailing,
        "PROVENANCE_ANCHOR_COMMAND": "keep --token=hidden",
    }
    environ["PROVENANCE_WITNESSES"] = "https://witness.example/one witness.example+00+AA"
    found = list(more_anchors(Installation.of(environ)))
    assert [finding.fix for finding in found] == [""] * 5
    said = "\n".join(finding.found for finding in found)
    for place in (
        "https://witness.example/one",
        "http://tsa.example/tsr",
        "https://anchors.s3.example",
        "PROVENANCE_ANCHOR_COMMAND",
    ):
        assert place in said
    assert "hidden" not in said


def test_the_sealer_is_handed_them_by_up_as_files(stamps, locked, home):
    installation = Installation.of({"PROVENANCE_HOME": str(home.root), **stamps, **locked})
    assert installation.environment("sealer").items() >= {**stamps, **locked}.items()
    assert f"{BUCKET}_KEY_FILE" not in installation.environment("worker")
