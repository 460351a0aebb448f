"""Who may not read the log learns nothing of it: not its entries, not its size, not that it exists (audit.md 6.14, T09-T11)."""

import psycopg
import pytest

from apikeys import services as keys
from audit import tiles
from audit.taxonomy import Event
from provenance.db import enter
from provenance.errors import NotFound, PermissionDenied
from provenance.ids import public_id, uuid7
from tests import databases, factories
from tests.audit import sealing
from tests.browsing import browser, program

pytestmark = pytest.mark.django_db(transaction=True)

PLACES = ["checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1", "epoch/1/checkpoint"]


@pytest.fixture
def workspace(db):
    return factories.make_workspace()


@pytest.fixture
def theirs(other_workspace):
    """Another tenant's log, sealed."""
    sealing.seal()
    return other_workspace


def key(admin, workspace, *scopes):
    with enter(workspace.pk):
        return program(keys.issue_key(actor=admin, name="-".join(scopes), scopes=list(scopes))[1])


@pytest.mark.parametrize("place", PLACES)
def test_another_tenants_log_is_like_one_that_never_was(workspace, admin, theirs, place):
    client = key(admin, workspace, "audit:read")
    answers = [client.get(f"/api/v1/audit/log/{log}/{place}") for log in (theirs.pk, uuid7())]
    assert [answer.status_code for answer in answers] == [404, 404]
    told = [{**answer.json(), "request_id": ""} for answer in answers]
    assert told[0] == told[1]
    assert "X-Log" not in str(answers[0].headers)


@pytest.mark.parametrize("place", ["seal", *(f"log/%s/{place}" for place in PLACES)])
def test_a_key_without_the_scope_reads_no_log(workspace, admin, events, place):
    sealing.seal()
    client = key(admin, workspace, "runs:read")
    answer = client.get(f"/api/v1/audit/{place.replace('%s', str(workspace.pk))}")
    assert (answer.status_code, answer.json()["missing_scope"]) == (403, "audit:read")
    with enter(workspace.pk):
        assert len(events(Event.AUTHZ_DENIED)) == 1
        assert events(Event.AUDIT_VIEWED) == []


def test_the_service_itself_asks_for_the_permission_and_the_workspace(workspace, viewer, auditor, theirs):
    with enter(workspace.pk):
        with pytest.raises(PermissionDenied, match="audit:read"):
            tiles.published_log(actor=viewer, workspace_id=workspace.pk)
        with pytest.raises(NotFound):
            tiles.published_log(actor=auditor, workspace_id=theirs.pk)
        assert tiles.published_log(actor=auditor, workspace_id=workspace.pk).log.workspace_id == workspace.pk


def test_a_viewer_sees_no_seal_of_the_log(workspace, viewer, auditor):
    """Its foot tells how many events there are, so it is for those who may read them."""
    sealing.seal()
    page = browser(viewer).get(f"/w/{workspace.slug}/runs/").text
    assert "seal-mini" not in page
    assert "Log sealed" not in page
    assert "Log sealed" in browser(auditor).get(f"/w/{workspace.slug}/runs/").text


def test_another_tenants_events_cannot_be_opened_beside_ones_own(workspace, auditor, theirs):
    ((event_id,),) = sealing.rows("SELECT id FROM audit.event WHERE workspace_id = %s ORDER BY id LIMIT 1", theirs.pk)
    answer = browser(auditor).get(f"/w/{workspace.slug}/audit/?at={public_id('evt', event_id)}")
    assert answer.status_code == 404
    assert "workspace.created" not in answer.text


@pytest.mark.parametrize("role", ["web", "worker"])
def test_leaves_tell_no_tenant_how_much_another_one_does(workspace, theirs, role):
    """Counts and times of leaves say how busy somebody is: the table itself is closed, and the functions compare."""
    ((log_id,),) = sealing.rows("SELECT id FROM audit.log WHERE workspace_id = %s", theirs.pk)
    ids = [event_id for _hash, event_id in sealing.leaves(theirs.pk)]
    with databases.login(role) as reader:
        for table in ("leaf", "tile"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(f"SELECT count(*) FROM audit.{table}")
        with reader.transaction():
            reader.execute(f"SET LOCAL app.workspace_id = '{workspace.pk}'")
            for statement, parameters in (
                ("SELECT * FROM audit.positions(%s)", [ids]),
                ("SELECT * FROM audit.leaves(%s, 0, 9)", [log_id]),
                ("SELECT * FROM audit.tiles(%s, 0, '{0}')", [log_id]),
                ("SELECT * FROM audit.checkpoint WHERE log_id = %s", [log_id]),
            ):
                assert reader.execute(statement, parameters).fetchall() == []


def test_the_instance_log_has_no_address(workspace, admin):
    client = key(admin, workspace, "audit:read")
    for name in ("instance", "00000000-0000-0000-0000-000000000000"):
        assert client.get(f"/api/v1/audit/log/{name}/checkpoint").status_code == 404
