"""Public keys and MAC keys as they are given to the verifier: nothing in a bundle stands in for them (T30)."""

import json
import shutil

import pytest

from tests.audit.bundles import forged, kinds, verified
from tests.vectors.cases import GOOD, PLACE, said
from tests.vectors.forgeries import without_mldsa


def test_a_proof_without_mac_keys_says_that_the_mac_was_not_checked():
    report = said(PLACE / "event.tlog-proof", key=PLACE / "workspace.pub")
    assert (report["verdict"], [text[:4] for text in report["not_checked"]]) == ("ok", ["MACs"])


@pytest.mark.parametrize("text", ["nothing", "a+00000000+AQ==", "log.test/x+00000000+" + "A" * 44])
def test_a_key_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "bad.pub"
    path.write_text(text)
    assert said(PLACE / "whole.zip", key=path)["verdict"] == "unusable"


def test_a_key_file_that_is_not_there_is_said_to_be_missing(tmp_path):
    report = said(PLACE / "whole.zip", key=tmp_path / "log.pub")
    assert (report["verdict"], "log.pub is not there" in report["message"]) == ("unusable", True)


def test_keys_from_before_a_rotation_are_no_keys_and_the_report_says_what_to_ask_for(tmp_path):
    """M112: the verifier cannot tell a key that came later from an invented one, and the reader can."""
    held = json.loads((PLACE / "workspace.keys").read_text())
    del held["keys"]["web-1"]
    older = tmp_path / "older.keys"
    older.write_text(json.dumps(held))
    report = said(**{**GOOD["whole"], "mac-keys": older})
    assert (report["verdict"], kinds(report)) == ("failed", {"unknown key"})
    assert "no key web-1 was given: it is newer than these keys" in report["findings"][0]["message"]
    assert "./manage.py audit_keys" in report["findings"][0]["message"]


def test_keys_of_another_workspace_are_refused():
    wrong = {**GOOD["whole"], "mac-keys": PLACE / "instance.keys"}
    assert said(**wrong)["verdict"] == "unusable"


@pytest.mark.parametrize("text", ["[]", '{"workspace": "x"}', '{"workspace": null, "keys": []}', "[" * 100_000])
def test_mac_keys_that_are_none_are_refused(tmp_path, text):
    path = tmp_path / "bad.keys"
    path.write_text(text)
    assert said(**{**GOOD["whole"], "mac-keys": path})["verdict"] == "unusable"


def test_a_key_in_the_bundle_is_not_trusted_without_being_told_so():
    """T30. Consistent is not authentic: anybody can make a log of their own."""
    assert said(PLACE / "whole.zip")["verdict"] == "incomplete"
    code, report = verified(PLACE / "whole.zip", "--trust-bundle-keys")
    assert (code, report["verdict"]) == (0, "ok")


def test_keys_of_both_kinds_are_both_needed_and_of_one_kind_that_one(tmp_path):
    """A record of seven years outlives Ed25519 only if who has the other key does not take the first one's word."""
    ed25519, mldsa = (PLACE / "instance.pub").read_text().splitlines()
    bare = forged(shutil.copy(PLACE / "instance.zip", tmp_path), without_mldsa)
    found = {}
    for name, key in (("ed25519", ed25519), ("mldsa", mldsa)):
        path = tmp_path / f"{name}.pub"
        path.write_text(f"{key}\n")
        found[name] = [said(file, key=path)["verdict"] for file in (PLACE / "instance.zip", bare)]
    assert found == {"ed25519": ["ok", "ok"], "mldsa": ["ok", "failed"]}
    message = said(bare, key=PLACE / "instance.pub")["findings"][0]["message"]
    assert message == "no given ML-DSA-44 key of vectors.example/log/instance signed the checkpoint"
