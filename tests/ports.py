"""Ports for processes that a test starts and that take theirs a moment later."""

import itertools
import os
import socket
from contextlib import ExitStack

_FIRST, _OF_EACH_WORKER = 21_000, 2_500
"""Below those that the kernel gives to whoever asks for any. No other worker of the suite looks among its own."""
_turns = itertools.count()


def free_ports(count: int) -> int:
    """The first of so many neighboring ports that nobody uses, and none that was given out a moment ago."""
    first = _FIRST + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) * _OF_EACH_WORKER
    groups = _OF_EACH_WORKER // count
    for _ in range(groups):
        port = first + next(_turns) % groups * count
        with ExitStack() as probes:
            try:
                for offset in range(count):
                    probes.enter_context(socket.create_server(("127.0.0.1", port + offset)))
            except OSError:
                continue
            return port
    raise AssertionError("no free ports")
