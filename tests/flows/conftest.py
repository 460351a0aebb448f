"""`story`: one whole installation for all stories of a test process."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests import databases
from tests.flows.installation import Story, installed


@pytest.fixture(scope="session")
def story(
    request: pytest.FixtureRequest,
    django_db_setup: None,
    django_db_blocker: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    """Example servers, scripted model, front and worker as real processes over a filled database of their own."""
    worker = getattr(request.config, "workerinput", {}).get("workerid", "main")
    with (
        databases.worker_database(f"{worker}_story") as database,
        installed(tmp_path_factory.mktemp("story"), database, django_db_blocker) as running,
    ):
        yield running
