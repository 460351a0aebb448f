from django.apps import AppConfig

from provenance.console import Place, register
from provenance.permissions import Permission


class WorkflowsConfig(AppConfig):
    name = "workflows"

    def ready(self) -> None:
        """Plug into approvals (a decision wakes what waits for it, a request shows its run), halts and the navigation."""
        from approvals import origins  # noqa: PLC0415  its models are loaded by now
        from audit import names, narrative  # noqa: PLC0415  as above
        from provenance.pages import add_panel  # noqa: PLC0415  as above
        from workflows import panels, run_log, wakes  # noqa: PLC0415  as above
        from workflows.models import Run, Workflow  # noqa: PLC0415  loaded by now
        from workspaces import scopes  # noqa: PLC0415  as above

        origins.register("run_step", wakes.wake_step)
        origins.register("tool_call", wakes.wake_call)
        scopes.register(
            "workflow", lambda place, name: scopes.id_of(Workflow.objects.for_workspace(place), "wf", name, slug=name)
        )
        names.rows("workflow", Permission.WORKFLOWS_READ, Workflow.objects.for_actor, "slug", "title")
        names.rows("run", Permission.RUNS_READ, Run.objects.for_actor, short="R")
        narrative.register("workflows", run_log.teller)
        add_panel("approval", "run", panels.run_of_request)
        add_panel("approval.evidence", "call", panels.call_of_evidence)
        register(
            Place(
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
            Place(
                group="work",
                order=50,
                label="Workflows",
                icon="workflow",
                route="workflows:list",
                permission=Permission.WORKFLOWS_READ,
            )
        )
