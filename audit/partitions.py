"""Months are made ahead of time: a missing one would refuse every event, and every step, from its first second on."""

from datetime import datetime
from functools import lru_cache

from django.db import DatabaseError, connection, transaction

from audit.services import Target, record
from audit.taxonomy import Event
from provenance.actor import Actor


def keep_ahead(now: datetime) -> None:
    """Make sure of this month and the next two. A sweep: called often, it looks once an hour.

    When it cannot, and the next month is not there, that is told as a critical event, once an hour.
    """
    hour = now.replace(minute=0, second=0, microsecond=0)
    try:
        _ensured(hour)
    except DatabaseError as error:
        _tell_missing(hour, str(error).strip().partition("\n")[0])
        raise


@lru_cache(maxsize=1)
def _tell_missing(hour: datetime, problem: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT to_char(%s AT TIME ZONE 'UTC' + interval '1 month', '\"event_\"YYYY_MM')", [hour])
        (month,) = cursor.fetchone()
        cursor.execute("SELECT to_regclass(%s) IS NULL", [f"audit.{month}"])
        if cursor.fetchone() == (True,):
            record(
                actor=Actor.system("audit.partitions", None),
                event=Event.AUDIT_PARTITION_MISSING,
                target=Target("audit_month", month),
                detail={"problem": problem},
                outcome="failure",
            )


@lru_cache(maxsize=1)
def _ensured(_hour: datetime) -> None:
    # A failure is not remembered, so the next sweep tries again.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT audit.ensure_partitions()")
