"""A network namespace without loopback: brought up where that is allowed, named where it is not."""

import subprocess
import sys

import pytest

from provenance.home import CHECKOUT
from provenance.loopback import ensure_loopback

SCRIPT = (
    "import sys; sys.path.insert(0, {checkout!r}); from provenance.loopback import *\n"
    "try: print(ensure_loopback(), ensure_loopback())\n"
    "except LoopbackDown as problem: print(problem)"
)


def in_new_namespace(*command):
    script = SCRIPT.format(checkout=str(CHECKOUT))
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", *command, sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare failed" in done.stderr:
        pytest.skip("this machine forbids network namespaces")
    return done.stdout.strip()


def test_where_it_is_up_nothing_is_done():
    assert ensure_loopback() is False


def test_where_it_is_down_it_is_brought_up_once():
    assert in_new_namespace() == "True False"


def test_without_the_right_to_the_error_says_what_to_do():
    assert in_new_namespace("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin") == (
        "the loopback interface is down. Bring it up: ip link set lo up"
    )
