"""Rows that lie in the month of their run, whenever they were written (docs/decisions/0010)."""

from typing import ClassVar

from django.db import models


class OfRun(models.Model):
    """What one such row is read and changed by names its run too, so that Postgres looks in one month."""

    row_key: ClassVar[tuple[str, ...]] = ("run_id", "pk")

    class Meta:
        abstract = True
