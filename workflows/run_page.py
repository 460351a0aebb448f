"""What the page of one run shows: facts, the rows of the timeline, and the step or call that the address selects."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from audit.selectors import EventRow
from workflows.run_log import sentence
from workflows.selectors import CallView, RunDetail, StepView
from workflows.waterfall import Axis, Bar, Span, words

LONGEST_TEXT = 64 * 1024
TABS = ("output", "input", "redactions", "decision", "events")

_STEP_ICONS = {
    "succeeded": ("circle-check", "emerald", "c-ok"),
    "running": ("loader-circle", "accent", "c-ok"),
    "waiting": ("hand", "amber", "c-wait"),
    "failed": ("circle-x", "rose", "c-fail"),
    "indeterminate": ("circle-alert", "amber", "c-wait"),
    "canceled": ("ban", "slate", "c-model"),
    "skipped": ("minus", "slate", "c-model"),
}
_EVENT_LOOKS = {
    "approval": ("hand", "amber"),
    "authz": ("shield-x", "rose"),
    "egress": ("arrow-up-right", ""),
    "mcp": ("wrench", ""),
    "model": ("sparkles", "accent"),
    "policy": ("eye-off", "amber"),
    "run": ("list-tree", ""),
    "secret": ("key-round", ""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One row of the timeline. `key` selects it in the address."""

    key: str
    level: int
    icon: str
    tone: str
    name: str
    is_code: bool
    note: str
    lane: str
    bar: Bar | None
    duration: str
    is_selected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One figure of the head: what, how much, and what it is made of."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPane:
    """A value as text, cut at 64 KiB; `left_out` characters are not shown. `by` wrote it, when a stranger did."""

    text: str
    left_out: int = 0
    by: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One event of the decision log: what happened as a sentence, and how it looks."""

    row: EventRow
    told: str
    icon: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """The selected step or call, with one pane open."""

    key: str
    title: str
    is_code: bool
    status: str
    kind: str
    effect: str
    duration: str
    agent: str
    tab: str
    tabs: list[tuple[str, str, int]]
    pane: TextPane | None
    redactions: list[dict[str, Any]]
    rule: str
    reason: str
    events: list[LogLine] = field(default_factory=list)


def axis_of(detail: RunDetail, now: datetime) -> Axis:
    """The time axis of the run, with its waits for people set apart."""
    start = detail.run.started_at or detail.run.created_at
    end = max(start, detail.run.finished_at or now)
    waits = [_span(step, end) for step in detail.steps if step.row and step.kind == "approval"]
    return Axis(Span(start, end), waits)


def nodes(detail: RunDetail, axis: Axis, selected: str) -> list[Node]:
    """The rows of the timeline: each step, and below it its calls."""
    rows = []
    for number, step in enumerate(detail.steps, start=1):
        rows.append(_step_node(step, number, axis, selected))
        rows.extend(_call_node(call, axis, selected) for call in step.calls)
    return rows


def facts(detail: RunDetail, axis: Axis, events: int, scripted: frozenset[str]) -> list[Fact]:
    """The figures of the head."""
    calls = [call for step in detail.steps for call in step.calls]
    models = [call for call in calls if call.kind == "model"]
    tools = [call for call in calls if call.kind == "tool"]
    refused = sum(call.is_refused for call in tools)
    redacted = sum(bool(call.redactions) for call in tools)
    waiting = words(axis.waiting_seconds) if axis.waiting_seconds else ""
    return [
        Fact(
            label="Active time", value=words(axis.active_seconds), note=f"waited {waiting}" if waiting else "no waiting"
        ),
        Fact(label="Model calls", value=str(len(models)), note=_models(detail, models, scripted)),
        Fact(
            label="Tokens",
            value=f"{detail.tokens_in + detail.tokens_out:,}",
            note=f"in {detail.tokens_in:,}, out {detail.tokens_out:,}",
        ),
        Fact(label="Cost", value=_money(detail.cost), note="at the provider's listed prices"),
        Fact(label="Tool calls", value=str(len(tools)), note=f"{refused} refused, {redacted} redacted"),
        Fact(label="Events", value=str(events), note="each signed"),
    ]


def inspected(detail: RunDetail, log: Iterable[LogLine], selected: str, tab: str, now: datetime) -> Inspected | None:
    """The selected step or call; the one that waits, or the last one, when the address selects none."""
    for step in detail.steps:
        for call in step.calls:
            if call.id == selected:
                return _inspected_call(call, tab)
    chosen = next((step for step in detail.steps if step.name == selected), None) or _liveliest(detail)
    return _inspected_step(chosen, log, tab, now) if chosen else None


def step_title(step: StepView) -> str:
    """What a step is called; the title of an approval is a template for its request, so its name serves here."""
    if step.title and "${" not in step.title:
        return step.title
    return step.name.replace("_", " ").replace("-", " ").capitalize()


def log_lines(events: Iterable[EventRow], detail: RunDetail) -> list[LogLine]:
    """Each event with its sentence, its icon and its tone."""
    titles = {step.name: step_title(step) for step in detail.steps}
    return [LogLine(row, sentence(row, titles), *_event_look(row)) for row in events]


def _event_look(row: EventRow) -> tuple[str, str]:
    """Icon and tone of an event on the decision log."""
    icon, tone = _EVENT_LOOKS.get(row.event.action.split(".", 1)[0], ("circle-dot", ""))
    if row.event.outcome in {"blocked", "failure"}:
        return ("shield-x" if row.event.outcome == "blocked" else "circle-x"), "rose"
    return icon, "emerald" if row.event.action in {"approval.approved", "run.succeeded"} else tone


def _step_node(step: StepView, number: int, axis: Axis, selected: str) -> Node:
    icon, tone, lane = _STEP_ICONS.get(step.status, ("circle-dashed", "slate", ""))
    span = _span(step, axis.whole.end) if step.row else None
    if step.kind == "approval" and step.row:
        lane = "c-wait"
    return Node(
        key=step.name,
        level=1,
        icon=icon,
        tone=tone,
        name=f"{number} {step_title(step)}",
        is_code=False,
        note="not started" if step.is_ahead else step.kind,
        lane=lane,
        bar=axis.bar(span) if span else None,
        duration=words(span.seconds) if span else "",
        is_selected=step.name == selected,
    )


def _call_node(call: CallView, axis: Axis, selected: str) -> Node:
    is_refused = call.is_refused
    is_model = call.kind == "model"
    start = call.started_at or call.finished_at
    span = Span(start, max(start, call.finished_at or axis.whole.end)) if start else None
    icon = "shield-x" if is_refused else "sparkles" if is_model else "wrench"
    return Node(
        key=call.id,
        level=2,
        icon=icon,
        tone="rose" if is_refused or call.status == "failed" else "slate",
        name="Model call" if is_model else call.target,
        is_code=not is_model,
        note=_call_note(call),
        lane="c-fail" if is_refused else "c-model" if is_model else "c-tool",
        bar=axis.bar(span) if span else None,
        duration=words(span.seconds) if span else "",
        is_selected=call.id == selected,
    )


def _call_note(call: CallView) -> str:
    if call.is_refused:
        return f"refused: {call.reason or call.rule}"
    if call.kind == "model":
        return f"{call.tokens_in + call.tokens_out:,} tokens, {_money(call.cost)}"
    withheld = sum(int(entry.get("count", 1)) for entry in call.redactions)
    return f"tool, {withheld} values withheld" if withheld else "tool"


def _inspected_call(call: CallView, tab: str) -> Inspected:
    withheld = sum(int(entry.get("count", 1)) for entry in call.redactions)
    tabs = [
        ("output", "Output", 0),
        ("input", "Input", 0),
        ("redactions", "Withheld", withheld),
        ("decision", "Decision", 0),
    ]
    tab = tab if tab in TABS[:4] else "decision" if call.is_refused else "output"
    return Inspected(
        key=call.id,
        title="Model call" if call.kind == "model" else call.target,
        is_code=call.kind != "model",
        status=call.status,
        kind=call.kind,
        effect=call.effect,
        duration=words(call.milliseconds / 1000) if call.milliseconds is not None else "",
        agent=call.agent,
        tab=tab,
        tabs=tabs,
        pane=_call_pane(call, tab),
        redactions=call.redactions,
        rule=call.rule,
        reason=call.reason,
    )


def _call_pane(call: CallView, tab: str) -> TextPane | None:
    if tab == "input":
        return _pane(call.arguments)
    if tab == "output" and call.result is not None:
        return _pane(_shown_result(call.result), by=_said_by(call))
    return None


def _said_by(call: CallView) -> str:
    if call.is_pasted:
        return f"a person who looked at what {call.target} did"
    return call.agent or "a model" if call.kind == "model" else call.target


def _shown_result(result: Any) -> Any:
    """Structured content says what the text items say again."""
    if isinstance(result, dict) and result.get("structured_content") is not None:
        return result["structured_content"]
    return result


def _inspected_step(step: StepView, log: Iterable[LogLine], tab: str, now: datetime) -> Inspected:
    own = [line for line in log if line.row.event.signed.get("context", {}).get("step") == step.name]
    tab = tab if tab in {"output", "events"} else "output"
    error = f"{step.row.error_code}: {step.row.error_message}" if step.row and step.row.error_code else ""
    span = _span(step, now) if step.row else None
    return Inspected(
        key=step.name,
        title=step_title(step),
        is_code=False,
        status="pending_step" if step.is_ahead else step.status,
        kind=step.kind,
        effect="",
        duration=words(span.seconds) if span else "",
        agent="",
        tab=tab,
        tabs=[("output", "Output", 0), ("events", "Events", len(own))],
        pane=_pane(step.output, by=step.name if step.kind == "agent" else "")
        if step.output is not None and tab == "output"
        else None,
        redactions=[],
        rule="",
        reason=error,
        events=own,
    )


def _liveliest(detail: RunDetail) -> StepView | None:
    begun = [step for step in detail.steps if step.row]
    waiting = [step for step in begun if step.status in {"waiting", "running", "failed", "indeterminate"}]
    return waiting[0] if waiting else begun[-1] if begun else None


def _span(step: StepView, end: datetime) -> Span:
    assert step.row is not None  # noqa: S101  callers ask only for steps that began
    return Span(step.row.started_at, max(step.row.started_at, step.row.finished_at or end))


def _pane(value: Any, *, by: str = "") -> TextPane:
    text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return TextPane(text=text[:LONGEST_TEXT], left_out=max(0, len(text) - LONGEST_TEXT), by=by)


def _models(detail: RunDetail, calls: list[CallView], scripted: frozenset[str]) -> str:
    used = {call.agent for call in calls}
    names = sorted(
        f"{agent['model']}{' (scripted, no language model)' if agent['provider'] in scripted else ''}"
        for slug, agent in detail.agents.items()
        if slug in used
    )
    return ", ".join(names) or "none"


def _money(amount: str) -> str:
    value = float(amount)
    return f"${value:.4f}" if value else "$0"
