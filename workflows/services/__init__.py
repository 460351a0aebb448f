"""Every write that people and integrations ask for, one room for each subject, and how it may fail."""

from workflows.errors import (
    CallIsLookedAt,
    CallIsSettled,
    InputRefused,
    NothingToPublish,
    NotPublished,
    RetryTooEarly,
    RunIsOver,
)
from workflows.services.canceling import cancel_run
from workflows.services.publishing import LONGEST_SOURCE, publish_version, record_blocked_publication, save_draft
from workflows.services.resolving import resolve_call
from workflows.services.starting import Started, start_run, start_run_once

__all__ = [
    "LONGEST_SOURCE",
    "CallIsLookedAt",
    "CallIsSettled",
    "InputRefused",
    "NotPublished",
    "NothingToPublish",
    "RetryTooEarly",
    "RunIsOver",
    "Started",
    "cancel_run",
    "publish_version",
    "record_blocked_publication",
    "resolve_call",
    "save_draft",
    "start_run",
    "start_run_once",
]
