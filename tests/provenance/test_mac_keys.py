"""Each process gets the MAC keys that it signs with and those that it must verify with, and no others (T01, T15)."""

import ast
import base64

import pytest

from provenance.held_keys import PROCESSES
from provenance.home import Home
from provenance.role_keys import MAC_KEYS_OF
from tests.databases import CHECKOUT
from tests.provenance.environments import load

HELD = {
    "web": ["gateway-1", "retention-1", "sealer-1", "setup-1", "web-1", "worker-1"],
    "front": ["gateway-1", "retention-1", "sealer-1", "setup-1", "web-1", "worker-1"],
    "setup": ["gateway-1", "retention-1", "sealer-1", "setup-1", "web-1", "worker-1"],
    "gateway": ["gateway-1", "setup-1", "web-1"],
    "worker": ["web-1", "worker-1"],
    "sealer": ["gateway-1", "retention-1", "sealer-1", "setup-1", "web-1", "worker-1"],
    "retention": ["retention-1"],
    "keys": ["gateway-1", "retention-1", "sealer-1", "setup-1", "web-1", "worker-1"],
    "migrate": [],
    "examples": [],
    "scripted-model": [],
    "": [],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    made = Home(tmp_path_factory.mktemp("home").resolve()).ensure()
    made.ensure_keys()
    return made.root


@pytest.mark.parametrize(("role", "held"), HELD.items())
def test_a_role_holds_its_keys_and_no_others(home, role, held):
    done = load(home, "sorted(settings.AUDIT_MAC_KEYS)", PROVENANCE_ROLE=role)
    assert ast.literal_eval(done.stdout.strip()) == held, done.stderr


def test_a_role_signs_with_a_key_of_its_own_name():
    assert {role: held[0] for role, held in MAC_KEYS_OF.items()} == {
        role: {"front": "web", "keys": "setup"}.get(role, role) for role in MAC_KEYS_OF
    }


def test_whoever_signs_is_on_the_list_of_those_who_do():
    """The list is what `rotate_keys all` and `doctor` go by."""
    assert set(PROCESSES) == set(MAC_KEYS_OF["keys"])


@pytest.mark.parametrize("role", ["gateway", "worker"])
def test_a_key_too_many_stops_the_start_and_is_named_without_its_value(home, role):
    other = {"gateway": "worker", "worker": "gateway"}[role]
    key = base64.b64encode(b"k" * 32).decode()
    done = load(home, PROVENANCE_ROLE=role, AUDIT_MAC_KEYS=f"{role}-1:{key},web-1:{key},{other}-2:{key}")
    assert done.returncode != 0
    assert f"AUDIT_MAC_KEYS holds {other}-2" in done.stderr
    assert key not in done.stderr


def test_the_threat_model_says_who_holds_what():
    """The table of the document is the table of the settings."""
    text = (CHECKOUT / "docs/threat-model.md").read_text("utf-8")
    section = text.partition("## Who holds which signing key")[2]
    told = {}
    for line in section.splitlines():
        roles, *keys = [cell.strip().replace("`", "").split(", ") for cell in line.strip("|").split("|")]
        if roles[0] in MAC_KEYS_OF:
            told |= {role: {*keys[0], *keys[1]} for role in roles}
    assert told == {role: set(held) for role, held in MAC_KEYS_OF.items()}
