"""JSON about workflows and runs: publish definitions, start runs once per key, watch them, cancel them."""

from http import HTTPStatus
from typing import Any

from django.db import transaction
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from provenance.api import (
    ApiRequest,
    Endpoint,
    Input,
    demand_match,
    etag,
    page_response,
    problem_response,
    repeatable,
)
from provenance.ids import parse_public_id, public_id
from provenance.permissions import Permission
from workflows import selectors, services
from workflows.definition import InvalidDefinition, parse
from workflows.models import Run, Workflow, WorkflowVersion
from workflows.states import CallStatus, RunStatus, StepStatus

LONGEST_REASON = 500


# --- What goes in ----------------------------------------------------------------------------------------------------


class RunInput(Input):
    """What a run is started with; it must fit the workflow's input schema."""

    input = serializers.JSONField(default=dict)


class CancelInput(Input):
    """Why a run is stopped."""

    reason = serializers.CharField(max_length=LONGEST_REASON, allow_blank=True, default="")


class DraftInput(Input):
    """A definition: its text as `source` (YAML or JSON), or its value as `definition`."""

    # The types take the field for the base class's own `source`; at run time declared fields are set aside.
    source = serializers.CharField(  # type: ignore[assignment]  # a field named like a property of fields
        max_length=services.LONGEST_SOURCE, required=False, trim_whitespace=False
    )
    definition = serializers.JSONField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Exactly one of the two."""
        if len(attrs) != 1:
            raise serializers.ValidationError("Give either source or definition.")
        return attrs


class CreateInput(DraftInput):
    """A definition under its name."""

    name = serializers.CharField(max_length=63)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The name, and exactly one of the two."""
        super().validate({name: value for name, value in attrs.items() if name != "name"})
        return attrs


class PublishInput(Input):
    """Which content is meant: publishing fails when the draft has become another one. Empty: whatever it is now."""

    content_hash = serializers.CharField(max_length=64, allow_blank=True, default="")


# --- What comes out --------------------------------------------------------------------------------------------------


class WorkflowVersionOutput(serializers.Serializer[Any]):
    """An immutable version."""

    id = serializers.CharField()
    number = serializers.IntegerField()
    content_hash = serializers.CharField()
    published_by = serializers.CharField()
    published_at = serializers.DateTimeField()


class WorkflowOutput(serializers.Serializer[Any]):
    """A workflow; `live` is the number of the version that new runs use, null before the first publication."""

    id = serializers.CharField()
    name = serializers.CharField()
    title = serializers.CharField()
    live = serializers.IntegerField(allow_null=True)


class WorkflowDetailOutput(WorkflowOutput):
    """A workflow with its versions, the live definition and the draft."""

    versions = WorkflowVersionOutput(many=True)
    # Any JSON includes null; `allow_null` would describe it twice, and nothing fits two of `oneOf`.
    definition = serializers.JSONField(help_text="null before the first publication.")
    draft = serializers.CharField(allow_null=True)


class DraftOutput(WorkflowDetailOutput):
    """A workflow whose draft was just saved; `errors` is what would keep it from being published."""

    errors = serializers.ListField(child=serializers.DictField())  # type: ignore[assignment]  # named like a property; DRF takes fields out of the class


class RunOutput(serializers.Serializer[Any]):
    """A run. `waiting_on` says what a waiting one waits for, `failure_code` and `failure_reason` why one failed."""

    id = serializers.CharField()
    workflow = serializers.CharField()
    version = serializers.IntegerField()
    environment = serializers.CharField()
    status = serializers.ChoiceField(choices=[(status.value, status.name) for status in RunStatus])
    waiting_on = serializers.ListField(child=serializers.CharField())
    failure_code = serializers.CharField()
    failure_reason = serializers.CharField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class CallOutput(serializers.Serializer[Any]):
    """One call of a tool or a model. Arguments and results are in the log's detail, for those who may read it."""

    id = serializers.CharField()
    kind = serializers.CharField()
    target = serializers.CharField()
    agent = serializers.CharField()
    status = serializers.ChoiceField(choices=[(status.value, status.name) for status in CallStatus])
    effect = serializers.CharField()
    rule = serializers.CharField()
    reason = serializers.CharField()
    tokens_in = serializers.IntegerField()
    tokens_out = serializers.IntegerField()
    cost = serializers.CharField()
    milliseconds = serializers.IntegerField(allow_null=True)


class StepOutput(serializers.Serializer[Any]):
    """One step as far as it came; `pending` is still to come."""

    name = serializers.CharField()
    title = serializers.CharField()
    kind = serializers.CharField()
    status = serializers.ChoiceField(choices=[(status.value, status.name) for status in StepStatus])
    milliseconds = serializers.IntegerField(allow_null=True)
    calls = CallOutput(many=True)


class RunDetailOutput(RunOutput):
    """A run with its input, output, steps and calls, and what it used."""

    input = serializers.JSONField()
    output = serializers.JSONField(help_text="null before the end.")
    steps = StepOutput(many=True)
    tokens_in = serializers.IntegerField()
    tokens_out = serializers.IntegerField()
    cost = serializers.CharField()


# --- Workflows -------------------------------------------------------------------------------------------------------


class WorkflowList(Endpoint):
    """The workflows of the workspace, and a new one."""

    permission = {"GET": Permission.WORKFLOWS_READ, "POST": Permission.WORKFLOWS_WRITE}

    @extend_schema(responses=WorkflowOutput(many=True))
    def get(self, request: ApiRequest) -> Response:
        """A page of workflows, newest first."""
        return page_response(request, selectors.workflows(request.actor), lambda row: _workflow(row, row.live_number))

    @extend_schema(request=CreateInput, responses={201: DraftOutput})
    def post(self, request: ApiRequest) -> Response:
        """Save the draft of a new workflow. Nothing runs before it is published; a text that cannot be read is refused."""
        data = CreateInput.parse(request.data)
        source = _source(data)
        errors = _errors(source)
        services.save_draft(actor=request.actor, slug=data["name"], source=source)
        return Response({**_workflow_detail(request, data["name"]), "errors": errors}, status=HTTPStatus.CREATED)


class WorkflowDetail(Endpoint):
    """One workflow."""

    permission = Permission.WORKFLOWS_READ

    @extend_schema(responses=WorkflowDetailOutput)
    def get(self, request: ApiRequest, slug: str) -> Response:
        """The workflow with its versions, its live definition and its draft."""
        return Response(_workflow_detail(request, slug))


class WorkflowDraft(Endpoint):
    """The draft of a workflow."""

    permission = Permission.WORKFLOWS_WRITE

    @extend_schema(request=DraftInput, responses=DraftOutput)
    def put(self, request: ApiRequest, slug: str) -> Response:
        """Replace the draft. A text that cannot be read is refused and the old draft stays.

        `errors` lists what would keep it from being published; it is saved all the same.
        """
        source = _source(DraftInput.parse(request.data))
        errors = _errors(source)
        draft = services.save_draft(actor=request.actor, slug=slug, source=source)
        response = Response({**_workflow_detail(request, slug), "errors": errors})
        response["ETag"] = etag(draft.audit_rev)
        return response


class WorkflowPublish(Endpoint):
    """Publication of the draft."""

    permission = Permission.WORKFLOWS_WRITE

    @extend_schema(request=PublishInput, responses={201: WorkflowVersionOutput})
    def post(self, request: ApiRequest, slug: str) -> HttpResponse:
        """Make the draft an immutable version that new runs use. 422 lists all that is wrong."""
        data = PublishInput.parse(request.data)
        try:
            with transaction.atomic():
                version = services.publish_version(actor=request.actor, slug=slug, expected_hash=data["content_hash"])
        except InvalidDefinition as refused:
            # Answered here, not by the door: raised on, it would take the event with it.
            services.record_blocked_publication(actor=request.actor, slug=slug, refused=refused)
            return problem_response(refused, request.actor.request_id)
        return Response(_version(version), status=HTTPStatus.CREATED)


# --- Runs ------------------------------------------------------------------------------------------------------------


class RunStart(Endpoint):
    """Starting runs of one workflow."""

    permission = Permission.RUNS_WRITE

    @extend_schema(
        request=RunInput,
        responses={201: RunOutput},
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
    )
    def post(self, request: ApiRequest, slug: str) -> Response:
        """Queue a run of the live version. The same `Idempotency-Key` with the same body gives the same run again."""
        data = RunInput.parse(request.data)
        started = services.start_run_once(
            actor=request.actor, workflow_slug=slug, input=data["input"], idempotency_key=repeatable(request)
        )
        run = selectors.summary_of(started.run)
        response = Response(_run(run), status=HTTPStatus.CREATED)
        response["Location"] = f"/api/v1/runs/{run.public_id}"
        if started.is_repeat:
            response["Idempotency-Replayed"] = "true"
        return response


class RunList(Endpoint):
    """The runs of the workspace."""

    permission = Permission.RUNS_READ

    @extend_schema(
        responses=RunOutput(many=True),
        parameters=[
            OpenApiParameter("status", str, enum=[status.value for status in RunStatus]),
            OpenApiParameter("workflow", str, description="Name of the workflow."),
        ],
    )
    def get(self, request: ApiRequest) -> Response:
        """A page of runs, newest first; of one status or one workflow when the address says so."""
        rows = selectors.run_list(
            request.actor, status=request.GET.get("status", ""), workflow=request.GET.get("workflow", "")
        )
        return page_response(request, rows, _run)


class RunDetail(Endpoint):
    """One run."""

    permission = Permission.RUNS_READ

    @extend_schema(responses=RunDetailOutput)
    def get(self, request: ApiRequest, run_id: str) -> Response:
        """The run with its steps and calls."""
        detail = selectors.run_detail(request.actor, parse_public_id("run", run_id))
        response = Response(_run_detail(detail))
        response["ETag"] = etag(detail.run.audit_rev)
        return response


class RunCancel(Endpoint):
    """Stopping a run. Steps already sent to a tool are not undone."""

    permission = Permission.RUNS_WRITE

    @extend_schema(request=CancelInput, responses={202: RunOutput})
    def post(self, request: ApiRequest, run_id: str) -> Response:
        """Ask the run to stop. It is `canceled` at once, or `canceling` until its worker has let go."""
        data = CancelInput.parse(request.data)
        number = parse_public_id("run", run_id)
        if "HTTP_IF_MATCH" in request.META:
            demand_match(request, selectors.run_revision(request.actor, number))
        run = services.cancel_run(actor=request.actor, run_id=number, reason=data["reason"])
        return Response(_run(selectors.summary_of(run)), status=HTTPStatus.ACCEPTED)


# --- Shapes ----------------------------------------------------------------------------------------------------------


def _source(data: dict[str, Any]) -> str:
    return data["source"] if "source" in data else selectors.exact(data["definition"])


def _errors(source: str) -> list[dict[str, str]]:
    """What is wrong with a definition. Raises `UnreadableDocument` for a text that is none at all (an alias bomb)."""
    try:
        parse(source)
    except InvalidDefinition as error:
        found: list[dict[str, str]] = error.data["errors"]
        return found
    return []


def _workflow(workflow: Workflow, live: int | None) -> dict[str, Any]:
    return WorkflowOutput(
        {"id": public_id("wf", workflow.pk), "name": workflow.slug, "title": workflow.title, "live": live}
    ).data


def _workflow_detail(request: ApiRequest, slug: str) -> dict[str, Any]:
    detail = selectors.workflow_of(request.actor, slug)
    return WorkflowDetailOutput(
        {
            **_workflow(detail.workflow, detail.live.number if detail.live else None),
            "versions": [_version(version) for version in detail.versions],
            "definition": selectors.definition_of(detail.live) if detail.live else None,
            "draft": detail.draft.source if detail.draft else None,
        }
    ).data


def _version(version: WorkflowVersion) -> dict[str, Any]:
    return WorkflowVersionOutput(
        {
            "id": public_id("wfv", version.pk),
            "number": version.number,
            "content_hash": version.content_hash,
            "published_by": version.published_by,
            "published_at": version.published_at,
        }
    ).data


def _run_facts(run: Run) -> dict[str, Any]:
    return {
        "id": run.public_id,
        "workflow": run.workflow.slug,
        "version": run.version.number,
        "environment": run.environment,
        "status": run.status,
        "waiting_on": run.waiting_on,
        "failure_code": run.failure_code,
        "failure_reason": run.failure_reason,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
    }


def _run(run: Run) -> dict[str, Any]:
    return RunOutput(_run_facts(run)).data


def _run_detail(detail: selectors.RunDetail) -> dict[str, Any]:
    return RunDetailOutput(
        {
            **_run_facts(detail.run),
            "input": detail.input,
            "output": detail.output,
            "steps": detail.steps,
            "tokens_in": detail.tokens_in,
            "tokens_out": detail.tokens_out,
            "cost": detail.cost,
        }
    ).data
