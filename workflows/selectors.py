"""Reads of workflows and runs for pages, endpoints and services."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import yaml
from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone

from agents.models import Agent, AgentVersion
from gateway.models import McpServer, Tool, ToolGrant
from gateway.selectors import output_schema, refusals_of_run
from provenance.actor import Actor
from provenance.db import TenantQuerySet, database_now
from provenance.errors import NotFound
from provenance.ids import public_id
from provenance.permissions import Permission
from workflows import definition, unknown, values
from workflows.definition import Definition, ToolStep
from workflows.models import Call, Run, RunManifest, Step, Workflow, WorkflowAlias, WorkflowDraft, WorkflowVersion
from workflows.readiness import AgentFacts, Catalog, ToolFacts
from workflows.states import CallStatus, StepStatus

_DEFINITION_ORDER = ("name", "title", "description", "environment", "input", "limits", "steps", "output")
_STEP_ORDER = ("name", "kind", "title", "agent", "tool", "task", "arguments")

# --- Workflows -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDetail:
    """A workflow with its versions, newest first, the live one and the draft."""

    workflow: Workflow
    versions: list[WorkflowVersion]
    live: WorkflowVersion | None
    draft: WorkflowDraft | None


def workflows(actor: Actor) -> TenantQuerySet:
    """The workspace's workflows, each with `live_number` (None before the first publication)."""
    actor.require(Permission.WORKFLOWS_READ)
    live = WorkflowAlias.objects.filter(workflow=OuterRef("pk"), name=WorkflowAlias.LIVE)
    rows: TenantQuerySet = Workflow.objects.for_actor(actor).annotate(
        live_number=Subquery(live.values("version__number"))
    )
    return rows


def workflow_detail(actor: Actor, slug: str) -> WorkflowDetail:
    """One workflow by its slug."""
    actor.require(Permission.WORKFLOWS_READ)
    return _workflow_detail(actor, slug)


def _workflow_detail(actor: Actor, slug: str) -> WorkflowDetail:
    workflow = Workflow.objects.for_actor(actor).filter(slug=slug).first()
    if workflow is None:
        raise NotFound(f"There is no workflow {slug[:63]!r} here.")
    return WorkflowDetail(
        workflow=workflow,
        versions=list(WorkflowVersion.objects.for_actor(actor).filter(workflow=workflow).order_by("-number")),
        live=live_version(workflow),
        draft=WorkflowDraft.objects.for_actor(actor).filter(workflow=workflow).first(),
    )


def live_definition(detail: WorkflowDetail) -> dict[str, Any]:
    """The live definition, typed and as text: `definition` (None before the first publication) and `source`."""
    if detail.live is None:
        return {"definition": None, "source": detail.draft.source if detail.draft else ""}
    loaded = definition.load(detail.live.definition)
    source = yaml.safe_dump(_readable(loaded.source), sort_keys=False, allow_unicode=True, width=100)
    return {"definition": loaded, "source": source}


def _readable(source: dict[str, Any]) -> dict[str, Any]:
    """The definition in the order people write one: what is stored has all names in alphabetical order."""
    return {**_in_order(source, _DEFINITION_ORDER), "steps": [_in_order(step, _STEP_ORDER) for step in source["steps"]]}


def _in_order(value: dict[str, Any], order: tuple[str, ...]) -> dict[str, Any]:
    """The same value: names of `order` first, then the others as they stand."""
    first = [name for name in order if name in value]
    return {name: value[name] for name in [*first, *(name for name in value if name not in order)]}


def workflow_of(actor: Actor, slug: str) -> WorkflowDetail:
    """Like `workflow_detail`, for whoever may write it: a key that saves a draft gets to see it."""
    if not actor.may(Permission.WORKFLOWS_WRITE):
        actor.require(Permission.WORKFLOWS_READ)
    return _workflow_detail(actor, slug)


def definition_of(version: WorkflowVersion) -> dict[str, Any]:
    """The definition as a JSON value."""
    return definition.load(version.definition).source


def live_version(workflow: Workflow) -> WorkflowVersion | None:
    """The version that new runs use."""
    alias = live_alias(workflow)
    return alias.version if alias else None


def live_alias(workflow: Workflow) -> WorkflowAlias | None:
    """What says which version new runs use, with that version."""
    aliases = WorkflowAlias.objects.for_workspace(workflow.workspace_id).filter(
        workflow=workflow, name=WorkflowAlias.LIVE
    )
    alias: WorkflowAlias | None = aliases.select_related("version").first()
    return alias


def catalog(workspace_id: UUID, checked: Definition) -> Catalog:
    """What `readiness.problems` needs to know about the agents and tools that a definition names."""
    now = timezone.now()
    agents = {agent.pk: agent for agent in Agent.objects.for_workspace(workspace_id).filter(slug__in=checked.agents)}
    versions = AgentVersion.objects.for_workspace(workspace_id).filter(agent_id__in=agents).defer("system_prompt")
    current = {row.agent_id: row for row in versions if row.number == agents[row.agent_id].current_version}
    names = {step.tool for step in checked.steps if isinstance(step, ToolStep)}
    tools = _tools(workspace_id, names)
    grants = ToolGrant.objects.for_workspace(workspace_id).filter(
        tool_id__in=[tool.pk for tool in tools.values()], revoked_at=None, expires_at__gt=now
    )
    held: dict[UUID, set[str]] = {}
    for grant in grants:
        if grant.agent_id in agents:
            held.setdefault(grant.tool_id, set()).add(agents[grant.agent_id].slug)
    return Catalog(
        agents={
            agent.slug: AgentFacts(
                is_active=agent.is_active and agent.pk in current,
                trust_level=agent.trust_level,
                requested_tools=frozenset(
                    wanted["tool"] for wanted in (current[agent.pk].requested_tools if agent.pk in current else [])
                ),
            )
            for agent in agents.values()
        },
        tools={
            name: ToolFacts(
                is_usable=tool.status == Tool.Status.APPROVED and tool.server.status == McpServer.Status.APPROVED,
                effect=tool.effect,
                data_tier=tool.data_tier,
                input_schema=tool.input_schema,
                idempotency_argument=tool.idempotency_argument,
                granted_to=frozenset(held.get(tool.pk, set())),
            )
            for name, tool in tools.items()
        },
    )


def pins(workspace_id: UUID, names: set[str]) -> dict[str, dict[str, str]]:
    """The reviewed definitions that a run starts with, by full name of the tool."""
    return {name: {"pin": tool.pin} for name, tool in sorted(_tools(workspace_id, names).items())}


def _tools(workspace_id: UUID, names: set[str]) -> dict[str, Tool]:
    wanted = Q(pk__in=[])
    for name in names:
        server, _, tool = name.partition(".")
        wanted |= Q(server__slug=server, name=tool)
    rows = Tool.objects.for_workspace(workspace_id).filter(wanted).select_related("server")
    return {f"{tool.server.slug}.{tool.name}": tool for tool in rows}


def exact(value: Any) -> str:
    """A JSON value as one text, equal for equal values: what an idempotency key is compared by."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


# --- Calls of unknown outcome ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownCall:
    """A call of which nobody knows whether it happened, with all that a person needs to find out.

    `arguments` and `schema` (of the tool's answers; "" without one) are JSON text. `late_answer` is what the tool
    answered after the call had been given up, "" while it has not.
    """

    id: str
    step: str
    target: str
    effect: str
    agent: str
    call_key: str
    arguments: str
    reason: str
    started_at: datetime | None
    not_after: datetime | None
    retry_at: datetime
    may_retry: bool
    schema: str
    late_answer: str


def unknown_calls(actor: Actor, run_id: UUID) -> list[UnknownCall]:
    """The calls of a run that wait for a person's word, oldest first."""
    actor.require(Permission.RUNS_READ)
    calls = Call.objects.for_actor(actor).filter(run_id=run_id, status=CallStatus.INDETERMINATE.value)
    waiting = calls.filter(step__status=StepStatus.INDETERMINATE.value).select_related("step")
    return [_unknown_call(call) for call in waiting.order_by("id")]


def _unknown_call(call: Call) -> UnknownCall:
    schema, retry_at = output_schema(call.workspace_id, call.target), unknown.retry_from(call)
    answer = values.get(call.workspace_id, call.result_ref) or {}
    return UnknownCall(
        id=public_id("call", call.pk),
        step=call.step.node_key,
        target=call.target,
        effect=call.effect,
        agent=call.agent_slug,
        call_key=call.call_key,
        arguments=_text(answer.get("sent_arguments") or values.get(call.workspace_id, call.args_ref)),
        reason=call.reason,
        started_at=call.started_at,
        not_after=call.not_after,
        retry_at=retry_at,
        may_retry=retry_at <= database_now(),
        schema=_text(schema) if schema else "",
        late_answer=_late_answer(call),
    )


def _late_answer(call: Call) -> str:
    late = unknown.late_answer(call)
    if late is None:
        return ""
    said = late.text if late.structured_content is None else _text(late.structured_content)
    return f"It reported an error: {said}" if late.is_error else said


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


# --- Runs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CallView:
    """One call of a step, as a person sees it. `arguments` and `result` are what passed the gateway, after redaction."""

    id: str
    seq: int
    kind: str
    target: str
    agent: str
    status: str
    effect: str
    rule: str
    reason: str
    redactions: list[dict[str, Any]]
    arguments: Any
    result: Any
    tokens_in: int
    tokens_out: int
    cost: str
    started_at: datetime | None
    finished_at: datetime | None
    milliseconds: int | None
    is_pasted: bool = False
    # What the tool said after the call had been given up, as `result`; it changed nothing.
    late_result: Any = None
    late_result_at: datetime | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the gateway said no, or the person whom it asked, or again the gateway after the person."""
        return self.status in {"blocked", "rejected"} or (self.status == "canceled" and bool(self.rule))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One step of the definition: as far as it came, or still to come (`row` is None then)."""

    name: str
    title: str
    kind: str
    status: str
    row: Step | None
    output: Any = None
    calls: list[CallView] = field(default_factory=list)
    milliseconds: int | None = None

    @property
    def is_ahead(self) -> bool:
        """Whether the run has not come here."""
        return self.row is None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetail:
    """A run with everything its page shows. `agents` are the pinned agents of the manifest, without prompts."""

    run: Run
    definition: Definition
    input: Any
    output: Any
    steps: list[StepView]
    agents: dict[str, dict[str, Any]]
    tokens_in: int
    tokens_out: int
    cost: str
    milliseconds: int | None

    @property
    def may_be_canceled(self) -> bool:
        """Whether cancel would do anything."""
        return not self.run.is_terminal and self.run.status != "canceling"


def run_list(actor: Actor, *, status: str = "", workflow: str = "") -> TenantQuerySet:
    """The runs of the workspace with workflow and version; newest first when paged by `provenance.api.Paging`."""
    actor.require(Permission.RUNS_READ)
    rows: TenantQuerySet = Run.objects.for_actor(actor).select_related("workflow", "version").order_by("-id")
    if status:
        rows = rows.filter(status=status)
    if workflow:
        rows = rows.filter(workflow__slug=workflow)
    return rows


def run_summary(actor: Actor, run_id: UUID) -> Run:
    """One run with workflow and version, or `NotFound`."""
    found: Run | None = run_list(actor).filter(pk=run_id).first()
    if found is None:
        raise NotFound("There is no such run here.")
    return found


def summary_of(run: Run) -> Run:
    """The same run with workflow and version, for whoever just started or canceled it."""
    found: Run = Run.objects.for_workspace(run.workspace_id).select_related("workflow", "version").get(pk=run.pk)
    return found


def run_revision(actor: Actor, run_id: UUID) -> int:
    """The revision of a run, for `If-Match`."""
    revisions = Run.objects.for_actor(actor).filter(pk=run_id).values_list("audit_rev", flat=True)
    found: int | None = revisions.first()
    if found is None:
        raise NotFound("There is no such run here.")
    return found


def run_detail(actor: Actor, run_id: UUID) -> RunDetail:
    """A run with its steps in the order of the definition, their calls, times, tokens and cost."""
    run = run_summary(actor, run_id)
    loaded = definition.load(run.version.definition)
    rows = {row.node_key: row for row in Step.objects.for_actor(actor).filter(run=run).order_by("attempt")}
    calls = list(Call.objects.for_actor(actor).filter(run_id=run.pk).order_by("step_id", "seq", "id"))
    refusals = refusals_of_run(actor, run.pk)
    by_step: dict[UUID, list[CallView]] = {}
    for call in calls:
        by_step.setdefault(call.step_id, []).append(_call_view(call, refusals.get(call.pk)))
    manifest = RunManifest.objects.for_actor(actor).get(run=run)
    return RunDetail(
        run=run,
        definition=loaded,
        input=values.get(run.workspace_id, run.input_ref),
        output=values.get(run.workspace_id, run.output_ref),
        steps=[_step_view(step, rows.get(step.name), by_step) for step in loaded.steps],
        agents=manifest.content["agents"],
        tokens_in=sum(call.tokens_in for call in calls),
        tokens_out=sum(call.tokens_out for call in calls),
        cost=str(sum((call.cost for call in calls), start=type(calls[0].cost)(0)) if calls else 0),
        milliseconds=_milliseconds(run.started_at, run.finished_at),
    )


def _step_view(step: definition.Step, row: Step | None, calls: dict[UUID, list[CallView]]) -> StepView:
    if row is None:
        return StepView(name=step.name, title=step.title, kind=step.kind, status="pending", row=None)
    return StepView(
        name=step.name,
        title=step.title,
        kind=step.kind,
        status=row.status,
        row=row,
        output=values.get(row.workspace_id, row.output_ref),
        calls=calls.get(row.pk, []),
        milliseconds=_milliseconds(row.started_at, row.finished_at),
    )


def _call_view(call: Call, refusal: tuple[str, str] | None) -> CallView:
    answer = values.get(call.workspace_id, call.result_ref) or {}
    # A model call's arguments are numbers about the transcript; the transcript holds the system prompt (M080).
    return CallView(
        id=public_id("call", call.pk),
        seq=call.seq,
        kind=call.kind,
        target=call.target,
        agent=call.agent_slug,
        status=call.shown_status,
        effect=call.effect,
        rule=refusal[0] if refusal else call.rule,
        reason=refusal[1] if refusal else call.reason,
        redactions=call.redactions,
        arguments=answer.get("sent_arguments") or values.get(call.workspace_id, call.args_ref),
        result=answer.get("result"),
        tokens_in=call.tokens_in,
        tokens_out=call.tokens_out,
        cost=str(call.cost),
        started_at=call.started_at,
        finished_at=call.finished_at,
        milliseconds=_milliseconds(call.started_at, call.finished_at),
        is_pasted=call.status == CallStatus.RESOLVED_SUCCEEDED,
        late_result=values.get(call.workspace_id, call.late_result_ref),
        late_result_at=call.late_result_at,
    )


def _milliseconds(started_at: datetime | None, finished_at: datetime | None) -> int | None:
    if started_at is None or finished_at is None:
        return None
    return int((finished_at - started_at).total_seconds() * 1_000)
