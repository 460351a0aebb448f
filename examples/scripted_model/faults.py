"""Faults on demand, chosen by model id or by the header `X-Scripted-Fault`, so that clients can be tested against them."""

import hashlib
from collections import OrderedDict
from enum import StrEnum

REMEMBERED_REQUESTS = 1000


class Fault(StrEnum):
    """What goes wrong."""

    TOO_MANY_REQUESTS_ONCE = "429-once"  # each distinct request is refused once; its repetition is answered
    MALFORMED_ARGUMENTS = "malformed-arguments"  # the first tool call of a conversation is cut in half
    STALL = "stall"  # the answer never comes; a stream begins and falls silent
    SERVER_ERROR = "500"  # every request


class SeenRequests:
    """Which requests came before, by digest; the oldest are forgotten."""

    def __init__(self) -> None:
        self._digests: OrderedDict[str, None] = OrderedDict()

    def first_time(self, body: bytes) -> bool:
        """Whether this body was never shown before. Showing it counts."""
        digest = hashlib.sha256(body).hexdigest()
        if digest in self._digests:
            return False
        self._digests[digest] = None
        if len(self._digests) > REMEMBERED_REQUESTS:
            self._digests.popitem(last=False)
        return True
