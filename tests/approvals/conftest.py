from datetime import timedelta

import pytest

from approvals import rules
from tests import factories


@pytest.fixture
def approval(workspace):
    """A high-risk request that waits for a person."""
    return factories.make_approval(workspace)


@pytest.fixture
def second_approver(workspace):
    return factories.make_member(workspace, roles={"approver"}, name="Tom Alvarez")


@pytest.fixture
def settled(monkeypatch):
    """Everybody counts in a critical quorum at once: nothing can set back the log that says who came when (T22)."""
    monkeypatch.setattr(rules, "SETTLED_AFTER", timedelta(0))
