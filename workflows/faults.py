"""Named points at which a test may kill the process, so that every gap between two commits is tried.

`FAULT=point:nth` makes the process kill itself with SIGKILL when it passes the point for the nth time. Only where
`PROVENANCE_ENV=test`: elsewhere the variable is not even read.
"""

import os
import signal
from collections import Counter
from enum import StrEnum

from django.conf import settings

KILLED = -signal.SIGKILL
"""How such a process ended, as `Popen.returncode` says it."""


class Point(StrEnum):
    """Every point there is; tests enumerate them, so that a new one cannot be forgotten."""

    DOORBELL_RECEIVED = "doorbell.received"
    CLAIMED = "token.claimed"
    STEP_BEGUN = "step.begun"
    CALL_STARTED = "call.started"
    CALL_SENT = "call.sent"
    MODEL_ANSWERING = "model.answering"
    CALL_ANSWERED = "call.answered"
    CALL_RECORDED = "call.recorded"
    MESSAGE_STORED = "message.stored"
    APPROVAL_REQUESTED = "approval.requested"
    STEP_SETTLED = "step.settled"
    PARKED = "token.parked"
    YIELDED = "token.yielded"
    RUN_ENDED = "run.ended"


_passed: Counter[str] = Counter()


def reach(point: Point) -> None:
    """Pass a point; die here when a test asked for it."""
    if settings.ENVIRONMENT != "test" or not (wanted := os.environ.get("FAULT", "")):
        return
    name, _, nth = wanted.partition(":")
    if name != point:
        return
    _passed[point] += 1
    if _passed[point] == int(nth or "1"):
        # A real `kill -9`: no finally, no atexit, no flush, and connections are torn down by the kernel.
        os.kill(os.getpid(), signal.SIGKILL)
