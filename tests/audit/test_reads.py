"""Reading the log is told in the log, in one place, and does not fill it (audit.md 6.17, 6.20; M119)."""

import pytest

from apikeys import services as keys
from audit.taxonomy import Event
from provenance.api import endpoint_of
from provenance.db import enter
from provenance.ids import public_id
from provenance.pages import door_of
from provenance.permissions import Permission
from tests import factories
from tests.addresses import ADDRESSES
from tests.audit import sealing
from tests.browsing import browser, program

pytestmark = pytest.mark.django_db(transaction=True)

TOLD_OTHERWISE = {
    "w/<slug:workspace>/audit/export": "exporting is an event of its own",
    "w/<slug:workspace>/audit/exports/ask": "asking for an export is an event of its own",
    "w/<slug:workspace>/audit/exports/<str:export_id>/fetch": "fetching a bundle is an event of its own",
    "w/<slug:workspace>/audit/views/save": "saving a view is an event of its own, and shows nothing",
    "w/<slug:workspace>/audit/views/<uuid:view_id>/remove": "removing a view is an event of its own, and shows nothing",
    "api/v1/audit/export": "exporting is an event of its own",
    "api/v1/audit/evidence": "which events support which control is the same everywhere",
    "api/v1/audit/evidence/<slug:framework_id>": "taking a pack is an event of its own",
    "w/<slug:workspace>/audit/evidence/": "which events support which control is the same everywhere",
    "w/<slug:workspace>/audit/evidence/<slug:framework_id>": "taking a pack is an event of its own",
}
SHOWS_NOTHING_OF_IT = (
    *("w/<slug:workspace>/streams/", "api/v1/audit/sinks", "api/v1/audit/digests"),
    *("w/<slug:workspace>/audit/retention/", "api/v1/audit/retention"),
)
"""Receivers, digests and what is kept are set up and shown there."""


@pytest.fixture
def workspace(db):
    return factories.make_workspace()


@pytest.fixture
def views(workspace, events):
    """What was told about reading: (kind of object, its id) of each event."""

    def read():
        with enter(workspace.pk):
            return [(event.object_type, event.object_id) for event in events(Event.AUDIT_VIEWED)]

    return read


def needs_the_log(pattern):
    endpoint, door = endpoint_of(pattern.callback), door_of(pattern.callback)
    wanted = endpoint.permission if endpoint else door and door.permission
    return wanted is Permission.AUDIT_READ


def test_every_view_of_the_log_tells_that_it_was_read():
    views = [
        (address, pattern)
        for address, pattern in ADDRESSES
        if needs_the_log(pattern) and not address.startswith(SHOWS_NOTHING_OF_IT)
    ]
    silent = [
        address
        for address, pattern in views
        if not getattr(endpoint_of(pattern.callback) or pattern.callback, "tells_reading", False)
    ]
    assert set(silent) == set(TOLD_OTHERWISE)
    assert len(views) > 8


def test_a_page_and_its_events_are_told_once_an_hour(workspace, auditor, views, events):
    client = browser(auditor)
    for _ in range(3):
        assert client.get(f"/w/{workspace.slug}/audit/").status_code == 200
    assert views() == [("audit_log", str(workspace.pk))]
    assert ">this workspace<" in client.get(f"/w/{workspace.slug}/audit/").text
    with enter(workspace.pk):
        opened = events()[0]
    for _ in range(2):
        assert client.get(f"/w/{workspace.slug}/audit/{public_id('evt', opened.pk)}/").status_code == 200
    assert views()[1:] == [("audit_event", str(opened.pk))]
    # Somebody else who reads the same is told too.
    browser(factories.make_member(workspace, roles={"auditor"})).get(f"/w/{workspace.slug}/audit/")
    assert len(views()) == 3


def test_a_program_that_fetches_everything_writes_one_event_for_each_kind_of_reading(workspace, admin, views, events):
    with enter(workspace.pk):
        _key, text = keys.issue_key(actor=admin, name="siem", scopes=["audit:read"])
        ids = [public_id("evt", event.pk) for event in events()]
    sealing.seal()
    client = program(text)
    for event_id in ids:
        client.get(f"/api/v1/audit/events/{event_id}")
    for _ in range(3):
        client.get("/api/v1/audit/events")
        client.get(f"/api/v1/audit/log/{workspace.pk}/checkpoint")
        client.get(f"/api/v1/audit/log/{workspace.pk}/tile/0/000.p/1")
    assert sorted(kind for kind, _id in views()) == ["audit_log", "audit_tree"]


def test_what_was_not_shown_is_not_told(workspace, auditor, views):
    client = browser(auditor)
    assert client.get(f"/w/{workspace.slug}/audit/{public_id('evt', workspace.pk)}/").status_code == 404
    assert client.get(f"/w/{workspace.slug}/audit/?risk=odd").status_code == 422
    assert views() == []
