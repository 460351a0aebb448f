"""A decision wakes what waits for it, and a request shows its run; runs and workflows in searches, halts and the navigation."""

from approvals import origins
from audit import belongings, labels, names, narrative
from provenance.console import Link, register
from provenance.pages import add_panel
from provenance.permissions import Permission
from workflows import panels, run_log, wakes
from workflows.models import Run, Workflow, WorkflowAlias, WorkflowDraft, WorkflowVersion
from workspaces import scopes

origins.register("run_step", wakes.wake_step)
origins.register("tool_call", wakes.wake_call)
scopes.register(
    "workflow", lambda place, name: scopes.id_of(Workflow.objects.for_workspace(place), "wf", name, slug=name)
)
names.rows("workflow", Permission.WORKFLOWS_READ, Workflow.objects.for_actor, "slug", "title")
labels.rows("workflow", Permission.WORKFLOWS_READ, Workflow.objects.for_actor, "{title}")
labels.rows(
    "workflow_version", Permission.WORKFLOWS_READ, WorkflowVersion.objects.for_actor, "{workflow__slug} v{number}"
)
labels.rows("workflow_draft", Permission.WORKFLOWS_READ, WorkflowDraft.objects.for_actor, "{workflow__slug}, draft")
belongings.register("workflow", WorkflowVersion.objects.for_actor, "workflow_id", about="workflow_version")
belongings.register("workflow", WorkflowDraft.objects.for_actor, "workflow_id", about="workflow_draft")
belongings.register("workflow", WorkflowAlias.objects.for_actor, "workflow_id", about="workflow_alias")
belongings.register("workflow", Run.objects.for_actor, "workflow_id")
names.rows("run", Permission.RUNS_READ, Run.objects.for_actor, short="R")
narrative.register("workflows", run_log.teller)
add_panel("approval", "run", panels.run_of_request)
add_panel("approval.evidence", "call", panels.call_of_evidence)
register(
    Link(
        group="work",
        order=30,
        label="Runs",
        icon="list-tree",
        route="workflows:runs",
        permission=Permission.RUNS_READ,
        phone=True,
    )
)
register(
    Link(
        group="work",
        order=50,
        label="Workflows",
        icon="workflow",
        route="workflows:list",
        permission=Permission.WORKFLOWS_READ,
    )
)
