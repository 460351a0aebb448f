"""Drafts and versions: anything may be saved, only what is right is published, and what is published stays."""

import pytest
from django.db import connection, transaction

from audit.taxonomy import Event
from provenance.db import scope
from provenance.errors import Conflict, Invalid, NotFound, PermissionDenied
from tests.workflows.samples import ADDING, VENDOR_TERMS
from workflows import selectors, services
from workflows.models import Workflow, WorkflowVersion

pytestmark = pytest.mark.django_db


def publish(actor, source=ADDING, slug="adding"):
    services.save_draft(actor=actor, slug=slug, source=source)
    return services.publish_version(actor=actor, slug=slug)


def test_a_draft_may_be_wrong(editor, events):
    draft = services.save_draft(actor=editor, slug="adding", source="name: [")
    assert draft.source == "name: ["
    assert len(events(Event.WORKFLOW_CREATED)) == len(events(Event.WORKFLOW_DRAFT_SAVED)) == 1


def test_saving_again_changes_the_one_draft(editor, events):
    first = services.save_draft(actor=editor, slug="adding", source="one")
    second = services.save_draft(actor=editor, slug="adding", source="two")
    assert first.pk == second.pk
    assert len(events(Event.WORKFLOW_DRAFT_SAVED)) == 2


@pytest.mark.parametrize("slug", ["", "Adding", "a b", "../x", "1st", "x" * 64])
def test_a_name_that_does_not_fit_addresses_is_refused(editor, slug):
    with pytest.raises(Invalid):
        services.save_draft(actor=editor, slug=slug, source=ADDING)
    assert not Workflow.objects.exists()


def test_a_draft_that_is_too_long_is_refused(editor):
    with pytest.raises(Invalid, match="128 KiB"):
        services.save_draft(actor=editor, slug="adding", source="x" * 200_000)


def test_publishing_makes_an_immutable_version_that_is_live(editor, events):
    version = publish(editor)
    workflow = Workflow.objects.get()
    assert (version.number, version.published_by, workflow.title) == (1, editor.id, "Adding")
    assert selectors.live_version(workflow) == version
    assert len(events(Event.WORKFLOW_PUBLISHED)) == 1
    with pytest.raises(Exception, match=r"denied|refused|append-only"), transaction.atomic():
        WorkflowVersion.objects.filter(pk=version.pk).update(number=7)
    transaction.set_rollback(False)


def test_publishing_the_same_content_again_changes_nothing(editor, events):
    assert publish(editor).pk == publish(editor).pk
    assert len(events(Event.WORKFLOW_PUBLISHED)) == 1


def test_a_change_becomes_the_next_version_and_the_old_one_stays(editor):
    first = publish(editor)
    second = publish(editor, ADDING.replace("> 10", "> 20"))
    detail = selectors.workflow_detail(editor, "adding")
    assert [version.number for version in detail.versions] == [2, 1]
    assert detail.live == second
    assert first.fresh().definition != second.definition


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("next: end", "next: nowhere", "not a step"),
        ("next: end", "next: sum", "cycle"),
        ("steps.sum.output.value > 10", "steps.sum.output.value >", "does not compile"),
        ("name: adding", "name: other", "called 'other'"),
        ("title: Adding", "title: secret://erp-token", "secret"),
        ("name: adding", "name: &a adding", "anchors"),
    ],
)
def test_a_wrong_draft_is_not_published(editor, events, old, new, says):
    with pytest.raises(Invalid) as refused:
        publish(editor, ADDING.replace(old, new, 1))
    assert says in str(refused.value.data["errors"])
    assert not WorkflowVersion.objects.exists()
    assert not events(Event.WORKFLOW_PUBLISHED)


def test_agents_and_tools_that_do_not_exist_are_named(editor):
    with pytest.raises(Invalid) as refused:
        publish(editor, VENDOR_TERMS, "vendor-terms")
    found = {error["path"]: error["message"] for error in refused.value.data["errors"]}
    assert "'ledger-ops', which does not exist" in found["steps.assess.agent"]
    assert "'erp.getVendor', which is not a tool" in found["steps.vendor.tool"]


def test_publishing_what_somebody_else_changed_meanwhile_is_a_conflict(editor):
    services.save_draft(actor=editor, slug="adding", source=ADDING)
    with pytest.raises(Conflict, match="not the one you looked at"):
        services.publish_version(actor=editor, slug="adding", expected_hash="0" * 64)


def test_without_the_permission_nothing_is_saved_or_published(viewer, approver):
    for actor in (viewer, approver):
        with pytest.raises(PermissionDenied):
            services.save_draft(actor=actor, slug="adding", source=ADDING)
        with pytest.raises(PermissionDenied):
            services.publish_version(actor=actor, slug="adding")


def test_another_workspace_does_not_find_it(editor, stranger, other_workspace):
    publish(editor)
    with scope(other_workspace.id), pytest.raises(NotFound):
        services.publish_version(actor=stranger, slug="adding")


def test_the_worker_can_neither_publish_nor_read_drafts(editor, as_role):
    """T01: a process that drives runs cannot change what they do."""
    publish(editor)
    with as_role("worker"):
        for statement in (
            "SELECT 1 FROM workflows_workflowdraft",
            "UPDATE workflows_workflowalias SET name = name",
            "UPDATE workflows_run SET version_id = version_id",
        ):
            with (
                pytest.raises(Exception, match="permission denied"),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute(statement)
