"""The schema `audit` as SQL: its tables and their months, and who may do what with them.

The migration runs it and readiness compares the database with it, so a function that somebody changed in place is found.
"""

from audit.schema import (
    coverage,
    events,
    functions,
    keys,
    months,
    newest_changes,
    refusals,
    retention,
    timelines,
    tree,
)
from audit.schema.months import MONTHLY, of_the_month

__all__ = ["FUNCTIONS", "MONTHLY", "install", "of_the_month", "walls"]

_SUBJECTS = (events, keys, refusals, tree, retention, months, timelines)
"""Each has tables, functions, triggers and rights of its own; what comes after others refers to them."""
FUNCTIONS = tuple(function for room in (functions, newest_changes, coverage, *_SUBJECTS) for function in room.FUNCTIONS)
"""What readiness compares with the database, besides those that name the current month."""


def install() -> str:
    """The schema with its tables, functions, triggers and first partitions, in the order in which they can be made."""
    stored = "".join(subject.TABLES for subject in _SUBJECTS)
    made = "\n".join(function.create() for function in FUNCTIONS)
    triggers = "".join(subject.TRIGGERS for subject in _SUBJECTS)
    return f"CREATE SCHEMA audit;\n{stored}\n{made}\n{triggers}\nSELECT audit.ensure_partitions();"


def walls() -> str:
    """Row security and rights. Without them nobody but the owner reaches anything."""
    return "".join(subject.RIGHTS for subject in _SUBJECTS)
