"""Drafts become versions, and a version becomes the one that new runs use."""

from audit.loading import demand_as_signed
from audit.services import EventContext, record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.canonical import canonical_json
from provenance.db import database_now, service, workspace_of
from provenance.errors import Conflict, Invalid, NotFound
from provenance.permissions import Permission
from provenance.schemas import violations
from secrets_vault import references
from workflows import definition, readiness, selectors
from workflows.definition import Definition, InvalidDefinition
from workflows.errors import NothingToPublish
from workflows.models import Workflow, WorkflowAlias, WorkflowDraft, WorkflowVersion

LONGEST_SOURCE = 128 * 1024
MOST_ERRORS_KEPT = 20


@service
def save_draft(*, actor: Actor, slug: str, source: str) -> WorkflowDraft:
    """Keep the text as the workflow's one draft, right or wrong; a new slug makes a new workflow.

    Only what no publication could ever accept is refused here: text that is too long, or holds U+0000.
    """
    actor.require(Permission.WORKFLOWS_WRITE)
    if len(source.encode("utf-8", "replace")) > LONGEST_SOURCE or "\0" in source:
        raise Invalid(f"A draft is text of at most {LONGEST_SOURCE // 1024} KiB without U+0000.")
    workflow = _workflow_for_draft(actor, slug, source)
    draft = WorkflowDraft.locked(actor, workflow_id=workflow.pk)
    if draft is None:
        draft = WorkflowDraft(workspace_id=workflow.workspace_id, workflow=workflow)
    draft.source, draft.saved_by, draft.saved_at = source, actor.id, database_now()
    draft.save()
    record(actor=actor, event=Event.WORKFLOW_DRAFT_SAVED, target=draft, detail={"workflow": workflow.slug})
    return draft


def _workflow_for_draft(actor: Actor, slug: str, source: str) -> Workflow:
    workflow = Workflow.locked(actor, slug=slug)
    if workflow is not None:
        return workflow
    if wrong := violations({"type": "string", "pattern": "^[a-z][a-z0-9-]{0,62}$"}, slug):
        raise Invalid(
            "A workflow's name has 1 to 63 lower-case letters, digits and hyphens, and starts with a letter.",
            errors=[{"path": path or "name", "message": message} for path, message in wrong],
        )
    workflow = Workflow(workspace_id=workspace_of(actor), slug=slug, title=_title_in(source) or slug)
    workflow.save()
    record(actor=actor, event=Event.WORKFLOW_CREATED, target=workflow)
    return workflow


def _title_in(source: str) -> str:
    try:
        return definition.parse(source).title
    except Invalid:
        return ""


@service
def publish_version(*, actor: Actor, slug: str, expected_hash: str = "") -> WorkflowVersion:
    """Make the draft an immutable version and the one that new runs use. Runs in flight keep theirs.

    Raises `InvalidDefinition` listing all that is wrong, in the text and with agents, tools and approvals. A draft with
    the content of the live version publishes nothing and returns that version. `expected_hash`: refuse to publish
    anything but this content.
    """
    actor.require(Permission.WORKFLOWS_WRITE)
    workflow = _locked_workflow(actor, slug)
    draft = WorkflowDraft.objects.for_actor(actor).filter(workflow=workflow).first()
    if draft is None:
        raise NothingToPublish
    # What is published is what somebody wrote (T06).
    demand_as_signed(draft)
    checked = definition.parse(draft.source)
    _demand_ready(actor, checked, slug)
    if expected_hash and expected_hash != checked.content_hash:
        raise Conflict("The draft is not the one you looked at. Read it again before you publish it.")
    live = selectors.live_version(workflow)
    if live is not None and live.content_hash == checked.content_hash:
        return live
    version = _new_version(actor, workflow, checked)
    _point_live_at(actor, workflow, version)
    if workflow.title != checked.title:
        workflow.title = checked.title
        workflow.save(update_fields=["title"])
        record(actor=actor, event=Event.WORKFLOW_UPDATED, target=workflow)
    return version


@service
def record_blocked_publication(*, actor: Actor, slug: str, refused: InvalidDefinition) -> None:
    """Write down that a draft was not published, and for which errors. Its publication was rolled back before this."""
    actor.require(Permission.WORKFLOWS_WRITE)
    errors = refused.data.get("errors", [])
    record(
        actor=actor,
        event=Event.WORKFLOW_PUBLISH_BLOCKED,
        target=_locked_workflow(actor, slug),
        outcome="blocked",
        reason=refused.message,
        detail={"workflow": slug, "error_count": len(errors), "errors": errors[:MOST_ERRORS_KEPT]},
    )


def _demand_ready(actor: Actor, checked: Definition, slug: str) -> None:
    errors = readiness.problems(checked, selectors.catalog(workspace_of(actor), checked))
    if checked.name != slug:
        errors.append({"path": "name", "message": f"The definition is called {checked.name!r}, the workflow {slug!r}."})
    try:
        references.refuse_in(checked.source)
    except references.ReferenceInArguments as error:
        message = "A secret reference stands here. Secrets belong to servers and providers, never to a definition."
        errors.append({"path": str(error.data["path"]), "message": message})
    if errors:
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise InvalidDefinition(f"{errors[0]['message']}{more}", errors=errors)


def _new_version(actor: Actor, workflow: Workflow, checked: Definition) -> WorkflowVersion:
    newest = WorkflowVersion.objects.for_actor(actor).filter(workflow=workflow).order_by("-number").first()
    version = WorkflowVersion(
        workspace_id=workflow.workspace_id,
        workflow=workflow,
        number=newest.number + 1 if newest else 1,
        content_hash=checked.content_hash,
        definition=canonical_json(checked.source).decode(),
        schema_version=definition.SCHEMA_VERSION,
        published_by=actor.answerable,
        published_at=database_now(),
    )
    version.save()
    record(
        actor=actor,
        event=Event.WORKFLOW_PUBLISHED,
        target=version,
        detail={"workflow": workflow.slug, "version": version.number, "content_hash": version.content_hash},
        context=EventContext(workflow_version=str(version.pk), environment=checked.environment),
    )
    return version


def _point_live_at(actor: Actor, workflow: Workflow, version: WorkflowVersion) -> None:
    alias = WorkflowAlias.objects.for_actor(actor).filter(workflow=workflow, name=WorkflowAlias.LIVE).first()
    before = alias.version_id if alias else None
    if alias is None:
        alias = WorkflowAlias(workspace_id=workflow.workspace_id, workflow=workflow)
    alias.version = version
    alias.save()
    record(
        actor=actor,
        event=Event.WORKFLOW_UPDATED,
        target=alias,
        detail={"alias": alias.name, "from": str(before) if before else None, "to": str(version.pk)},
    )


def _locked_workflow(actor: Actor, slug: str) -> Workflow:
    workflow = Workflow.locked(actor, slug=slug)
    if workflow is None:
        raise NotFound(f"There is no workflow {slug[:63]!r} here.")
    return workflow
