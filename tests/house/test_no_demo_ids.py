"""The scripted model compares what it reads: no id, name or value of the demo's data stands in its code (part 9)."""

import re
from functools import cache
from pathlib import Path

import pytest

from examples import vendors
from examples.crm import data as crm
from examples.docs import data as docs
from examples.erp import data as erp
from provenance.home import CHECKOUT

CODE = sorted((CHECKOUT / "examples" / "scripted_model").rglob("*.py"))
IDS = re.compile(r"\b(?:V-\d{5}|CON-\d{4}|ACC-\d{5}|INV-\d+)\b")
SPECIAL = (vendors.HALDEN, vendors.UNSIGNED, vendors.APPLIED, vendors.HOSTILE)
DATES = re.compile(r"\b20\d\d-\d\d-\d\d\b")


@cache
def sources():
    """The text of everything that writes the demo's data."""
    return "\n".join(Path(module.__file__).read_text("utf-8") for module in (crm, docs, erp, vendors))


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.name)
def test_no_id_of_the_demo_stands_in_the_script(path):
    text = path.read_text("utf-8")
    assert IDS.findall(text) == []
    assert not [number for number in SPECIAL if str(number) in text]


@cache
def names():
    """Two words in a row, as people and companies are called, and the first words of generated names such as Halden."""
    found = set(re.findall(r'"([A-Z][\w&]+(?: [A-Z][\w&]*)+)"', sources()))
    found |= set(re.findall(r'"([A-Z][a-z]{5,})"', Path(vendors.__file__).read_text("utf-8")))
    assert {"Halden", "Birkwood"} <= found
    return found


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.name)
def test_no_name_or_date_of_the_demo_stands_in_the_script(path):
    text = path.read_text("utf-8")
    assert [name for name in names() if name in text and re.search(rf"\b{re.escape(name)}\b", text)] == []
    assert not set(DATES.findall(text)) & set(DATES.findall(sources()))


def test_the_demo_has_such_ids_to_look_for():
    assert len(set(IDS.findall(sources() + (CHECKOUT / "examples" / "demo.yaml").read_text("utf-8")))) >= 3
