"""From a definition's text to typed steps, or to a list of everything that is wrong with it. Pure.

The published form is `schema.json` beside this file; what a schema cannot say (targets, cycles, who reads whom) is
checked here. What depends on the workspace (do agent and tool exist?) is checked by `readiness.py` at publication.
"""

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provenance.canonical import NotCanonical, canonical_json, digest
from provenance.errors import Invalid
from provenance.risk import Risk
from provenance.schemas import SchemaError, compiled, violations
from workflows import documents
from workflows.expressions import Expression, ExpressionError, compile_expression, holes

END = "end"
SCHEMA_VERSION = 1
DEFAULT_MINUTES = 43_200

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent / "schema.json").read_text("utf-8"))
"""The published JSON Schema of a definition."""


class InvalidDefinition(Invalid):
    """The definition cannot be used."""

    code = "invalid_definition"
    title = "Definition not valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStep:
    """An agent works on a task and answers in the form of `output`, a JSON Schema."""

    name: str
    title: str
    agent: str
    task: str
    data: Mapping[str, Any]
    output: dict[str, Any]
    next: str

    kind = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStep:
    """One call of one tool in the name of an agent."""

    name: str
    title: str
    agent: str
    tool: str
    arguments: dict[str, Any]
    next: str

    kind = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionStep:
    """Chooses the step that follows."""

    name: str
    title: str
    when: str
    then: str
    otherwise: str

    kind = "condition"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformStep:
    """Makes a value out of what is known."""

    name: str
    title: str
    output: Any
    next: str

    kind = "transform"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalStep:
    """Asks a person about the call of the tool step `authorizes`. `title` and `rationale` are templates."""

    name: str
    title: str
    authorizes: str
    risk: Risk
    sla_minutes: int
    rationale: str
    evidence: Any
    current: dict[str, Any]
    editable: tuple[str, ...]
    next: str

    kind = "approval"


Step = AgentStep | ToolStep | ConditionStep | TransformStep | ApprovalStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A checked definition. `source` is the value it was made from; its digest names the content."""

    name: str
    title: str
    description: str
    environment: str
    input: dict[str, Any]
    tokens: int | None
    minutes: int
    steps: tuple[Step, ...]
    output: Any
    source: dict[str, Any] = field(repr=False)

    @property
    def first(self) -> Step:
        """The step every run begins with."""
        return self.steps[0]

    @property
    def content_hash(self) -> str:
        """SHA-256 of the canonical source, in hex."""
        return digest(self.source)

    @property
    def agents(self) -> frozenset[str]:
        """Slugs of the agents that act in it."""
        return frozenset(step.agent for step in self.steps if isinstance(step, AgentStep | ToolStep))

    def step(self, name: str) -> Step:
        """The step of that name. Raises KeyError."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    def authorization_of(self, tool_step: str) -> ApprovalStep | None:
        """The approval step that asks about this tool step's call, if one does."""
        return next((s for s in self.steps if isinstance(s, ApprovalStep) and s.authorizes == tool_step), None)


def parse(source: str | Mapping[str, Any]) -> Definition:
    """A definition from its text or from the value a JSON body held. Raises `Invalid` listing all that is wrong.

    Each error is `{"path": "steps.needed.when", "message": …}`: the step by name, and what to do.
    """
    value = documents.read(source) if isinstance(source, str) else dict(source)
    if isinstance(source, Mapping):
        documents.check_size(value)
    _raise_if(_shape_errors(value))
    definition = _typed(value)
    _raise_if([*_schema_errors(definition), *_graph_errors(definition)])
    _raise_if(_reading_errors(definition))
    return definition


@functools.lru_cache(maxsize=256)
def load(source: str) -> Definition:
    """A published definition from its stored canonical JSON. It was checked when it was published."""
    return _typed(json.loads(source))


def successors(step: Step) -> tuple[str, ...]:
    """The names that may follow this step, `end` among them."""
    return (step.then, step.otherwise) if isinstance(step, ConditionStep) else (step.next,)


def templates(step: Step) -> dict[str, Any]:
    """The parts of a step that hold expressions, by the name of the part."""
    match step:
        case AgentStep():
            return {"task": step.task, "data": dict(step.data)}
        case ToolStep():
            return {"arguments": step.arguments}
        case TransformStep():
            return {"output": step.output}
        case ApprovalStep():
            return {
                "title": step.title,
                "rationale": step.rationale,
                "evidence": step.evidence,
                "current": step.current,
            }
        case ConditionStep():
            return {}


def _raise_if(errors: list[dict[str, str]]) -> None:
    if errors:
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise InvalidDefinition(f"{errors[0]['message']}{more}", errors=errors)


def _error(path: str, message: str) -> dict[str, str]:
    return {"path": path, "message": message}


def _shape_errors(value: Any) -> list[dict[str, str]]:
    if not isinstance(value, dict):
        return [_error("", "A definition is a mapping with name, title, environment, input and steps.")]
    errors = [_error(_with_step_names(path, value), message) for path, message in violations(SCHEMA, value)]
    try:
        canonical_json(value)
    except NotCanonical as error:
        errors.append(_error("", f"{error}. Write such a value as text, in quotes."))
    return errors


def _with_step_names(path: str, value: dict[str, Any]) -> str:
    """`steps.2.when` as `steps.needed.when`, because people know steps by name."""
    parts = path.split(".")
    if len(parts) > 1 and parts[0] == "steps" and parts[1].isdigit():
        step = value["steps"][int(parts[1])]
        if isinstance(step, dict) and isinstance(step.get("name"), str):
            parts[1] = step["name"][:63]
    return ".".join(parts)


def _typed(value: dict[str, Any]) -> Definition:
    names = [step["name"] for step in value["steps"]]
    limits = value.get("limits", {})
    return Definition(
        name=value["name"],
        title=value["title"],
        description=value.get("description", ""),
        environment=value["environment"],
        input=value["input"],
        tokens=limits.get("tokens"),
        minutes=limits.get("minutes", DEFAULT_MINUTES),
        steps=tuple(
            _typed_step(step, following) for step, following in zip(value["steps"], [*names[1:], END], strict=True)
        ),
        output=value.get("output"),
        source=value,
    )


def _typed_step(step: dict[str, Any], following: str) -> Step:
    name, title = step["name"], step.get("title", step["name"])
    after = step.get("next", following)
    match step["kind"]:
        case "agent":
            return AgentStep(
                name=name,
                title=title,
                agent=step["agent"],
                task=step["task"],
                data=step.get("data", {}),
                output=step["output"],
                next=after,
            )
        case "tool":
            return ToolStep(
                name=name, title=title, agent=step["agent"], tool=step["tool"], arguments=step["arguments"], next=after
            )
        case "condition":
            return ConditionStep(
                name=name,
                title=title,
                when=step["when"],
                then=step.get("then", following),
                otherwise=step.get("otherwise", following),
            )
        case "transform":
            return TransformStep(name=name, title=title, output=step["output"], next=after)
        case _:
            return ApprovalStep(
                name=name,
                title=title,
                authorizes=step["authorizes"],
                risk=Risk(step["risk"]),
                sla_minutes=step["sla_minutes"],
                rationale=step["rationale"],
                evidence=step.get("evidence", []),
                current=step.get("current", {}),
                editable=tuple(step.get("editable", ())),
                next=after,
            )


def _schema_errors(definition: Definition) -> list[dict[str, str]]:
    schemas = {"input": definition.input}
    schemas |= {f"steps.{step.name}.output": step.output for step in definition.steps if isinstance(step, AgentStep)}
    errors = []
    for path, schema in schemas.items():
        try:
            compiled(schema)
        except SchemaError as error:
            errors.append(_error(path, f"This is not a usable JSON Schema: {error}."))
    return errors


def _graph_errors(definition: Definition) -> list[dict[str, str]]:
    return (
        list(_naming_errors(definition))
        or [*_cycle_errors(definition), *_unreachable_errors(definition)]
        or list(_authorization_errors(definition))
    )


def _naming_errors(definition: Definition) -> Iterator[dict[str, str]]:
    names = [step.name for step in definition.steps]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield _error(f"steps.{name}", f"Two steps are called {name!r}. Rename one of them.")
    known = {*names, END}
    for step in definition.steps:
        parts = ("then", "otherwise") if isinstance(step, ConditionStep) else ("next",)
        for part in parts:
            if (target := getattr(step, part)) not in known:
                yield _error(
                    f"steps.{step.name}.{part}",
                    f"Step {step.name!r} goes on to {target!r}, which is not a step. Name a step, or `end`.",
                )
        if isinstance(step, ApprovalStep) and step.authorizes not in names:
            yield _error(
                f"steps.{step.name}.authorizes",
                f"Step {step.name!r} authorizes {step.authorizes!r}, which is not a step. Name a tool step.",
            )


def _cycle_errors(definition: Definition) -> list[dict[str, str]]:
    finished: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> list[str]:
        if name == END or name in finished:
            return []
        if name in path:
            return [*path[path.index(name) :], name]
        path.append(name)
        cycle = next((found for after in successors(definition.step(name)) if (found := visit(after))), [])
        path.pop()
        finished.add(name)
        return cycle

    for step in definition.steps:
        if cycle := visit(step.name):
            around = " → ".join(cycle)
            return [
                _error(
                    f"steps.{cycle[-2]}", f"The steps go round in a cycle: {around}. Let one of them go on elsewhere."
                )
            ]
    return []


def _unreachable_errors(definition: Definition) -> list[dict[str, str]]:
    reached = _reachable(definition, definition.first.name)
    return [
        _error(
            f"steps.{step.name}",
            f"Step {step.name!r} is never reached from {definition.first.name!r}. Lead a step to it, or remove it.",
        )
        for step in definition.steps
        if step.name not in reached
    ]


def _reachable(definition: Definition, start: str, *, without: str = "") -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in reached or name in {END, without}:
            continue
        reached.add(name)
        waiting.extend(successors(definition.step(name)))
    return reached


def _authorization_errors(definition: Definition) -> Iterator[dict[str, str]]:
    asked: dict[str, str] = {}
    for step in definition.steps:
        if not isinstance(step, ApprovalStep):
            continue
        path, target = f"steps.{step.name}.authorizes", step.authorizes
        if not isinstance(definition.step(target), ToolStep):
            yield _error(path, f"Step {step.name!r} authorizes {target!r}, which is not a tool step.")
        elif target in asked:
            yield _error(path, f"{asked[target]!r} and {step.name!r} both authorize {target!r}. Keep one of them.")
        elif target not in _reachable(definition, step.name):
            yield _error(path, f"Step {target!r} does not come after {step.name!r}, which authorizes it.")
        elif target in _reachable(definition, definition.first.name, without=step.name):
            yield _error(path, f"Step {target!r} can be reached without {step.name!r}, which authorizes it.")
        asked.setdefault(target, step.name)


def _reading_errors(definition: Definition) -> list[dict[str, str]]:
    """Errors in expressions: those that do not compile, and those that read what cannot be there yet."""
    earlier = {
        step.name: {other.name for other in definition.steps if step.name in _reachable(definition, other.name)}
        - {step.name}
        for step in definition.steps
    }
    errors = []
    for step in definition.steps:
        asked_at = definition.authorization_of(step.name)
        # A person decides about the values, so they must be there when the person is asked.
        known = earlier[asked_at.name if asked_at else step.name]
        for part, template in templates(step).items():
            errors += _template_errors(f"steps.{step.name}.{part}", template, known, definition)
        if isinstance(step, ConditionStep):
            errors += _expression_errors(f"steps.{step.name}.when", step.when, known, definition)
    everything = {step.name for step in definition.steps}
    return errors + _template_errors("output", definition.output, everything, definition)


def _template_errors(path: str, template: Any, known: set[str], definition: Definition) -> list[dict[str, str]]:
    try:
        found = holes(template)
    except ExpressionError as error:
        return [_error(path, f"In {path}: {error}.")]
    return [error for expression in found for error in _unknown_data(path, expression, known, definition)]


def _expression_errors(path: str, source: str, known: set[str], definition: Definition) -> list[dict[str, str]]:
    try:
        return list(_unknown_data(path, compile_expression(source), known, definition))
    except ExpressionError as error:
        return [_error(path, f"In {path}: {error}.")]


def _unknown_data(
    path: str, expression: Expression, known: set[str], definition: Definition
) -> Iterator[dict[str, str]]:
    names = {step.name for step in definition.steps}
    for name in sorted(expression.steps - known):
        problem = "does not run before it" if name in names else "is not a step"
        yield _error(path, f"`{expression.source}` in {path} reads step {name!r}, which {problem}.")
    if definition.input.get("additionalProperties") is False:
        for name in sorted(expression.inputs - set(definition.input.get("properties", {}))):
            yield _error(
                path, f"`{expression.source}` in {path} reads input {name!r}, which `input` does not describe."
            )
