"""What `doctor` says of keys: where they are, how old, closed to others or not, and which are due."""

import os
import time

import pytest

from provenance.doctor import keys
from provenance.home import write_once
from provenance.processes import Installation

DAY = 86_400


@pytest.fixture
def look(home):
    def found():
        installation = Installation.of({"PROVENANCE_HOME": str(home.root)})
        return {finding.subject: finding for finding in keys(installation)}

    return found


def test_before_the_first_start_there_are_none(look):
    assert look()["keys"].found == "will be made by the first start"


def test_each_signer_has_a_line(home, look):
    home.ensure_keys()
    found = look()
    assert "all of mode 0600" in found["keys"].found
    assert found["web key"].found == "web-1, a file of 0 days, due in 90"
    assert found["checkpoint key"].found == "checkpoint-1, a file of 0 days"
    assert not any(finding.fix for finding in found.values())
    assert not [name for name in home.all_keys() if home.read_key(name) in str(found)]


def test_an_old_key_is_due_and_a_new_one_ends_it(home, look):
    home.ensure_keys()
    past = time.time() - 100 * DAY
    os.utime(home.key_path("mac-worker"), (past, past))
    due = look()["worker key"]
    assert (due.found, due.fix) == ("worker-1, a file of 100 days, due since 10 days", "./manage.py rotate_keys worker")
    write_once(home.key_path("mac-worker-2"), home.read_key("mac-worker")[::-1].lstrip("=") + "=")
    assert look()["worker key"].found.startswith("worker-2, a file of 0 days")


def test_a_key_that_others_can_read_is_named_with_what_to_do(home, look):
    home.ensure_keys()
    home.key_path("vault-kek").chmod(0o644)
    assert "vault-kek has mode 0644" in look()["keys"].fix
