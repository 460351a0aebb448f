"""A definition that cannot be used is refused, changes nothing, and is in the log (Bad input)."""

import pytest

from apikeys.services import issue_key
from audit.taxonomy import Event
from provenance.db import enter
from provenance.errors import PermissionDenied
from tests import factories
from tests.browsing import program
from tests.gateway.world import detail
from tests.workflows.samples import ADDING
from workflows import services
from workflows.definition import InvalidDefinition
from workflows.models import WorkflowVersion

pytestmark = pytest.mark.django_db(transaction=True)

BROKEN = ADDING.replace("next: end", "next: nowhere")


@pytest.fixture
def workspace(db):
    """Not in scope: the door brings it there."""
    return factories.make_workspace()


@pytest.fixture
def api(workspace, admin):
    with enter(workspace.id):
        _key, text = issue_key(actor=admin, name="ci", scopes=["workflows:read", "workflows:write"], expires_in_days=1)
        services.save_draft(actor=admin, slug="adding", source=BROKEN)
    return program(text)


def blocked(workspace, events):
    with enter(workspace.id):
        return [(event, detail(event)) for event in events(Event.WORKFLOW_PUBLISH_BLOCKED)]


def publish(api):
    return api.post("/api/v1/workflows/adding/publish", {}, content_type="application/json")


def test_a_definition_that_cannot_be_used_is_refused_and_in_the_log(workspace, admin, api, events):
    refused = publish(api)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_definition")
    assert refused["Content-Type"] == "application/problem+json"
    ((event, said),) = blocked(workspace, events)
    assert (event.outcome, event.object_type, event.actor_type) == ("blocked", "workflow", "integration")
    assert said["errors"] == refused.json()["errors"]
    assert said["workflow"] == "adding"
    with enter(workspace.id):
        assert not WorkflowVersion.objects.for_actor(admin).exists()


def test_what_is_published_leaves_no_such_event(workspace, admin, api, events):
    with enter(workspace.id):
        services.save_draft(actor=admin, slug="adding", source=ADDING)
    assert publish(api).status_code == 201
    assert blocked(workspace, events) == []


def test_only_who_may_publish_writes_that_it_was_blocked(workspace, viewer, api, events):
    with pytest.raises(PermissionDenied), enter(workspace.id):
        services.record_blocked_publication(actor=viewer, slug="adding", refused=InvalidDefinition("Not usable."))
    assert blocked(workspace, events) == []
