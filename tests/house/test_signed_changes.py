"""No service can sign a row that it did not hold against the log: each change of one goes through `save` and `record` (T06).

Postgres commits no change without an event that says `update` or `delete` of that row, so whoever makes such an event is
all there is to look at.
"""

import ast

import pytest
from django.apps import apps

from audit.governed import Governed, GovernedInstance
from tests.databases import CHECKOUT

APPS = ("agents", "apikeys", "approvals", "audit", "gateway", "secrets_vault", "streams", "workflows", "workspaces")
MAKERS = frozenset({"ObjectFacts", "RowChange"})
MAY_TELL_CHANGES = {
    "audit/governed.py": "what `save` did; `record` holds the row before it against the log",
    "audit/services.py": "what `RowChange` was given, and rows of third parties, whose events sign no state",
    "gateway/calls/asking.py": "an approval is used up, and is held against the log in the same statement",
}
GOVERNED = [model for model in apps.get_models() if issubclass(model, Governed | GovernedInstance)]


def told_changes(source):
    """Whether something here makes facts of an event that tells of a change."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return any(
        isinstance(call.func, ast.Name)
        and call.func.id in MAKERS
        and any(given.arg in {"op", None} for given in call.keywords)
        for call in calls
    )


def test_nothing_else_makes_an_event_of_a_change():
    files = [path for app in APPS for path in (CHECKOUT / app).rglob("*.py")]
    found = {str(path.relative_to(CHECKOUT)) for path in files if told_changes(path.read_text("utf-8"))}
    assert found == set(MAY_TELL_CHANGES)


@pytest.mark.parametrize(
    ("source", "tells"),
    [
        ("RowChange(type='a', id='1', rev=2, op='update')", True),
        ("ObjectFacts(**facts)", True),
        ("ObjectFacts(type='a', id='1')", False),
        ("record(actor=actor, event=event, target=row)", False),
    ],
)
def test_what_makes_one(source, tells):
    assert told_changes(source) is tells


@pytest.mark.parametrize("model", GOVERNED, ids=lambda model: model.__name__)
def test_no_model_goes_around_it(model):
    own = {name for name in ("_do_update", "_note", "locked", "take_change", "told_by") if name in vars(model)}
    assert not own
