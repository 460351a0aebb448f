import pytest

from tests.workflows.company import company_in
from tests.workflows.desk import desk_in


@pytest.fixture
def company(transactional_db, tmp_path, as_role):
    """The demo's company in front of fresh example servers, a scripted model and a running gateway."""
    with company_in(tmp_path, as_role) as made:
        yield made


@pytest.fixture
def desk(transactional_db, as_role):
    """One helper with one tool at a fake server: the smallest place in which a call can go wrong."""
    with desk_in(as_role) as made:
        yield made
