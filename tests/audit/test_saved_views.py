"""Views that a member keeps: their own, under a name, recorded (audit page)."""

import pytest

from audit import saved_views
from audit.models import SavedView
from audit.taxonomy import Event
from provenance.db import enter, scope
from provenance.errors import Invalid, NotFound, PermissionDenied
from provenance.ids import uuid7
from tests import factories
from tests.browsing import browser


def test_a_view_is_kept_and_found_by_name(workspace, auditor, events):
    saved_views.save_view(actor=auditor, name="Trouble", query="risk=high")
    saved_views.save_view(actor=auditor, name="Agents", query="action=agent")
    assert [(view.name, view.query) for view in saved_views.saved_views(auditor)] == [
        ("Agents", "action=agent"),
        ("Trouble", "risk=high"),
    ]
    assert len(events(Event.AUDIT_VIEW_SAVED)) == 2


def test_the_same_name_gets_the_new_filters(workspace, auditor, events):
    saved_views.save_view(actor=auditor, name="Trouble", query="risk=high")
    saved_views.save_view(actor=auditor, name="Trouble", query="risk=critical")
    assert [view.query for view in saved_views.saved_views(auditor)] == ["risk=critical"]
    assert events(Event.AUDIT_VIEW_SAVED)[1].changed == ["query"]


def test_another_members_view_is_not_found(workspace, auditor, admin, events):
    view = saved_views.save_view(actor=auditor, name="Trouble", query="risk=high")
    assert not saved_views.saved_views(admin)
    with pytest.raises(NotFound):
        saved_views.remove_view(actor=admin, view_id=view.pk)
    assert not events(Event.AUDIT_VIEW_REMOVED)


def test_another_tenant_finds_none(workspace, auditor, other_workspace, stranger):
    view = saved_views.save_view(actor=auditor, name="Trouble", query="risk=high")
    with scope(other_workspace.pk):
        assert not saved_views.saved_views(stranger)
        with pytest.raises(NotFound):
            saved_views.remove_view(actor=stranger, view_id=view.pk)


def test_without_the_permission_there_are_no_views(workspace, viewer):
    with pytest.raises(PermissionDenied, match="audit:read"):
        saved_views.save_view(actor=viewer, name="Trouble", query="")
    with pytest.raises(PermissionDenied):
        saved_views.remove_view(actor=viewer, view_id=uuid7())


def test_a_program_keeps_no_views(workspace, auditor):
    from dataclasses import replace

    from provenance.actor import ActorKind

    with pytest.raises(PermissionDenied, match="members"):
        saved_views.save_view(actor=replace(auditor, kind=ActorKind.INTEGRATION), name="Trouble", query="")


def test_a_view_is_removed_once(workspace, auditor, events):
    view = saved_views.save_view(actor=auditor, name="Trouble", query="risk=high")
    saved_views.remove_view(actor=auditor, view_id=view.pk)
    with pytest.raises(NotFound):
        saved_views.remove_view(actor=auditor, view_id=view.pk)
    assert len(events(Event.AUDIT_VIEW_REMOVED)) == 1
    assert not SavedView.objects.for_actor(auditor)


def test_there_is_a_most(workspace, auditor, monkeypatch):
    monkeypatch.setattr(saved_views, "MOST", 1)
    saved_views.save_view(actor=auditor, name="One", query="")
    with pytest.raises(Invalid, match="Remove one"):
        saved_views.save_view(actor=auditor, name="Two", query="")
    saved_views.save_view(actor=auditor, name="One", query="risk=high")


@pytest.mark.django_db(transaction=True)
def test_the_page_keeps_exactly_the_filters_of_its_address():
    workspace = factories.make_workspace()
    client = browser(factories.make_member(workspace, roles={"auditor"}))
    address = f"/w/{workspace.slug}/audit/"
    answer = client.post(f"{address}views/save?risk=high&cursor=AAAA&at=evt_x&live=off&odd=1", {"name": "Trouble"})
    assert answer["Location"] == f"{address}?risk=high"
    page = client.get(address).text
    assert '<a class="link" href="?risk=high">Trouble</a>' in page
    with enter(workspace.pk):
        view = SavedView.objects.get()
    client.post(f"{address}views/{view.pk}/remove")
    assert ">Trouble</a>" not in client.get(address).text
    assert client.post(f"{address}views/save?risk=odd", {"name": "x"}).status_code == 422
    assert client.get(f"{address}views/save").status_code in {404, 405}
