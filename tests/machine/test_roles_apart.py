"""The operations manual's table of files is enough for each role to start, and nothing in it is too much."""

import ast
import re

import pytest

from provenance.home import Home, write_once
from provenance.role_keys import MAC_KEYS_OF
from tests.databases import CHECKOUT
from tests.provenance.environments import load

MANUAL = (CHECKOUT / "docs/operations.md").read_text("utf-8").partition("### Roles apart")[2]
FILES = {
    row[1]: re.findall(r"`([\w-]+)`", row[2])
    for row in re.finditer(r"^\| `(web|gateway|worker|sealer)` \| (.+?) \|", MANUAL, re.MULTILINE)
}
OPTIONAL = {"url-redis"}


@pytest.fixture
def apart(tmp_path):
    """A data directory that holds the secrets of one role, as the manual lists them, without those named."""
    whole = Home(tmp_path / "whole").ensure()
    whole.ensure_keys()

    def made(role, without=()):
        own = Home(tmp_path / role).ensure()
        for name in set(FILES[role]) - set(without):
            is_url = name.startswith("url-")
            write_once(own.key_path(name), f"postgresql://{name[4:]}@db/x" if is_url else whole.read_key(name))
        return own

    return made


def start(own, role):
    expression = (
        "settings.DATABASES['default']['USER'], sorted(settings.AUDIT_MAC_KEYS), bool(settings.VAULT_KEK), "
        "bool(settings.CALL_TOKEN), bool(settings.BLOB_KEY)"
    )
    environ = {
        "PROVENANCE_ROLE": role,
        "PROVENANCE_ENV": "production",
        "PROVENANCE_URL": "https://console.example.com",
        "DATABASE_URL_FILE": str(own.key_path(f"url-prov_{role}")),
    }
    return load(own.root, expression, **environ)


def test_the_manual_lists_every_role():
    assert set(FILES) == {"web", "gateway", "worker", "sealer"}


@pytest.mark.parametrize("role", ["web", "gateway", "worker", "sealer"])
def test_the_files_of_the_manual_are_enough(apart, role):
    done = start(apart(role), role)
    assert done.returncode == 0, done.stderr
    user, kids, vault, token, blobs = ast.literal_eval(done.stdout.strip())
    assert (user, kids) == (f"prov_{role}", sorted(f"{name}-1" for name in MAC_KEYS_OF[role]))
    assert (vault, token, blobs) == (role in {"web", "gateway"}, role in {"gateway", "worker"}, role != "sealer")


@pytest.mark.parametrize(
    ("role", "name"),
    [
        (role, name)
        for role, names in FILES.items()
        for name in names
        if not name.startswith("mac-") and name not in OPTIONAL
    ],
)
def test_each_is_needed(apart, role, name):
    assert start(apart(role, without=[name]), role).returncode != 0
