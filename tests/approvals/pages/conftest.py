"""A request as people have it in a browser. The workspace is not in scope: the doors bring it there."""

import pytest

from provenance.db import enter
from tests import factories
from tests.approvals.people import Person


@pytest.fixture
def workspace(db):
    """Not in scope: the doors bring it there."""
    return factories.make_workspace()


@pytest.fixture
def ask(workspace):
    def make(**changes):
        with enter(workspace.pk):
            return factories.make_approval(workspace, **changes)

    return make


@pytest.fixture
def approval(ask):
    return ask()


@pytest.fixture
def look(workspace):
    """The request as the database has it now."""

    def fresh(approval):
        with enter(workspace.pk):
            return approval.fresh()

    return fresh


@pytest.fixture
def recorded(workspace):
    def count(event):
        with enter(workspace.pk):
            return len(factories.events(event))

    return count


@pytest.fixture
def maya(approver, workspace, approval):
    return Person(approver, workspace, approval).open()
