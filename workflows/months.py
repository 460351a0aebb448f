"""Rows that lie in the month of their run, whenever they were written (docs/decisions/0010)."""

from typing import Any, Self
from uuid import UUID

from django.db import models


class OfRun(models.Model):
    """What one such row is read and changed by names its run too, so that Postgres looks in one month."""

    run_id: UUID

    class Meta:
        abstract = True

    def fresh(self) -> Self:
        """The same row as the database has it now."""
        return type(self)._default_manager.get(run_id=self.run_id, pk=self.pk)

    def _do_update(self, base_qs: Any, *how: Any) -> Any:
        """The UPDATE of `save`. Django asks for the row by its primary key alone."""
        return super()._do_update(base_qs.filter(run_id=self.run_id), *how)
