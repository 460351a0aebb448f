"""The threat model has a row for each process that serves, and every test that it names is there."""

import re

import pytest

from tests.databases import CHECKOUT

TEXT = (CHECKOUT / "docs/threat-model.md").read_text("utf-8")


@pytest.mark.parametrize("process", ["web process", "gateway", "worker"])
def test_each_process_has_a_row_for_when_it_is_hijacked(process):
    (row,) = re.findall(rf"^\| \*\*hijacked {process}\*\*.*\|$", TEXT, re.MULTILINE)
    assert all(cell.strip() for cell in row.strip("|").split("|"))


def test_every_test_it_names_is_there():
    named = {pattern.removeprefix("tests/attacks/") for pattern in re.findall(r"`([\w/*]*test_[\w*]+\.py)`", TEXT)}
    assert named
    assert [pattern for pattern in named if not list((CHECKOUT / "tests/attacks").glob(pattern))] == []
