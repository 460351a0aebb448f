"""The loopback interface, over which everything of an embedded installation talks.

A machine has it up. A fresh network namespace (`unshare -n`, some sandboxes) has it down, and then every connection
fails with words that lead nobody to the cause.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct

LOOPBACK = "127.0.0.1"
_GET_FLAGS, _SET_FLAGS, _IS_UP = 0x8913, 0x8914, 1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP of Linux
_REQUEST = "16sh14x"


class LoopbackDown(Exception):
    """The loopback interface is down and this user may not bring it up."""


def ensure_loopback() -> bool:
    """Bring the loopback interface up if it is down; True when that was needed. Raises LoopbackDown."""
    if _answers():
        return False
    try:
        _bring_up()
    except OSError:
        raise LoopbackDown("the loopback interface is down. Bring it up: ip link set lo up") from None
    return True


def _answers() -> bool:
    with socket.socket() as server, socket.socket() as client:
        server.bind((LOOPBACK, 0))
        server.listen()
        found = client.connect_ex(server.getsockname())
    return found not in {errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}


def _bring_up() -> None:
    with socket.socket() as control:
        answer = fcntl.ioctl(control, _GET_FLAGS, struct.pack(_REQUEST, b"lo", 0))
        flags = struct.unpack(_REQUEST, answer)[1]
        fcntl.ioctl(control, _SET_FLAGS, struct.pack(_REQUEST, b"lo", flags | _IS_UP))
