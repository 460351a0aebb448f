"""What a version of an agent may say, and what its content hashes to. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from agents.pinning import pin_problem
from provenance.canonical import canonical_json, digest
from provenance.tool_names import is_full_name

LONGEST_PROMPT = 100_000
MOST_TOOLS = 100
MOST_FORBIDDEN = 100
MOST_TURNS = 100
LARGEST_TOKEN_BUDGET = 200_000
SHORTEST_REASON = 10

Problem = dict[str, str]


@dataclass(frozen=True, slots=True)
class RequestedTool:
    """A tool that a version asks for, and why it needs it, in a sentence (M015). Asking gives no right."""

    tool: str
    reason: str


class Wanted(Protocol):
    """What a version is made of (`agents.services.Configuration`)."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def system_prompt(self) -> str: ...
    @property
    def requested_tools(self) -> Sequence[RequestedTool]: ...
    @property
    def forbidden_actions(self) -> Sequence[str]: ...
    @property
    def forbidden_tools(self) -> Sequence[str]: ...
    @property
    def max_turns(self) -> int: ...
    @property
    def token_budget(self) -> int: ...


def problems(wanted: Wanted) -> list[Problem]:
    """Everything that is wrong, each with its path; empty when the version may be published."""
    return [{"path": path, "message": message} for path, message in _problems(wanted)]


def content_hash(wanted: Wanted) -> str:
    """SHA-256 over everything that decides how the agent behaves. Order counts where the model sees it."""
    return digest(
        {
            "provider": wanted.provider,
            "model": wanted.model,
            "system_prompt": wanted.system_prompt,
            "requested_tools": [asdict(tool) for tool in wanted.requested_tools],
            "forbidden_actions": list(wanted.forbidden_actions),
            "forbidden_tools": sorted(set(wanted.forbidden_tools)),
            "max_turns": wanted.max_turns,
            "token_budget": wanted.token_budget,
        }
    )


def _problems(wanted: Wanted) -> Iterator[tuple[str, str]]:
    if problem := pin_problem(wanted.model):
        yield "model", problem
    yield from _prompt_problems(wanted.system_prompt)
    yield from _tool_problems(wanted.requested_tools)
    yield from _forbidden_problems(wanted)
    if not 1 <= wanted.max_turns <= MOST_TURNS:
        yield "max_turns", f"between 1 and {MOST_TURNS}"
    if not 1 <= wanted.token_budget <= LARGEST_TOKEN_BUDGET:
        yield "token_budget", f"between 1 and {LARGEST_TOKEN_BUDGET} tokens a run"


def _prompt_problems(prompt: str) -> Iterator[tuple[str, str]]:
    if not prompt.strip():
        yield "system_prompt", "may not be empty: without it the model only has the task"
    if len(prompt) > LONGEST_PROMPT:
        yield "system_prompt", f"longer than {LONGEST_PROMPT} characters"
    try:
        canonical_json(prompt)
    except ValueError as error:
        yield "system_prompt", f"not plain text: {error}"


def _tool_problems(requested: Sequence[RequestedTool]) -> Iterator[tuple[str, str]]:
    if len(requested) > MOST_TOOLS:
        yield "requested_tools", f"more than {MOST_TOOLS} tools"
    seen = set()
    for index, request in enumerate(requested):
        path = f"requested_tools.{index}"
        if problem := _name_problem(request.tool):
            yield f"{path}.tool", problem
        if request.tool in seen:
            yield f"{path}.tool", f"{request.tool} is requested twice"
        seen.add(request.tool)
        if len(request.reason.strip()) < SHORTEST_REASON:
            yield f"{path}.reason", f"say in at least {SHORTEST_REASON} characters what the agent needs the tool for"


def _forbidden_problems(wanted: Wanted) -> Iterator[tuple[str, str]]:
    requested = {request.tool for request in wanted.requested_tools}
    if max(len(wanted.forbidden_actions), len(wanted.forbidden_tools)) > MOST_FORBIDDEN:
        yield "forbidden_actions", f"more than {MOST_FORBIDDEN}"
    for index, action in enumerate(wanted.forbidden_actions):
        if not action.strip():
            yield f"forbidden_actions.{index}", "may not be empty"
    for index, tool in enumerate(wanted.forbidden_tools):
        if problem := _name_problem(tool):
            yield f"forbidden_tools.{index}", problem
        if tool in requested:
            yield f"forbidden_tools.{index}", f"{tool} is requested and forbidden at once"


def _name_problem(tool: str) -> str:
    if "*" in tool or "?" in tool:
        return f"{tool[:64]!r} is a pattern; name each tool"
    if not is_full_name(tool):
        return f"{tool[:64]!r} is not a tool; write server.tool, for example erp.getVendor"
    return ""
