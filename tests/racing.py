"""Several connections at the same moment, so that a race is run and not imagined."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from django.db import connection

from provenance.db import enter


def at_once(workspace_id: UUID, *works: Callable[[], Any]) -> list[Any]:
    """Run the works at the same time, each in a transaction of its own; give results or errors in their order."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> Any:
        try:
            start.wait(60)
            with enter(workspace_id):
                return work()
        except Exception as error:  # noqa: BLE001  the outcome is what the test looks at
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))
