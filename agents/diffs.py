"""What two versions of an agent differ in, for people and the log. Prompts appear as digests only (M016, M080). Pure."""

import hashlib
from typing import Any, Protocol


class VersionLike(Protocol):
    """What is compared (`agents.models.AgentVersion`)."""

    model: str
    system_prompt: str
    forbidden_actions: list[str]
    forbidden_tools: list[str]
    requested_tools: list[dict[str, str]]
    max_turns: int
    token_budget: int

    @property
    def provider_name(self) -> str: ...


Change = dict[str, Any]


def prompt_digest(prompt: str) -> str:
    """`sha256:…` of the prompt's UTF-8 bytes: who keeps the prompt in a repository can compare it with `sha256sum`."""
    return f"sha256:{hashlib.sha256(prompt.encode()).hexdigest()}"


def version_diff(former: VersionLike | None, latter: VersionLike) -> list[Change]:
    """The changes from one version to another, in a fixed order.

    A single value gives `{"field", "before", "after"}`, a list `{"field", "added", "removed"}`. Without a former version
    everything counts as new.
    """
    changes = [
        _value("provider", former and former.provider_name, latter.provider_name),
        _value("model", former and former.model, latter.model),
        _value("system_prompt", former and prompt_digest(former.system_prompt), prompt_digest(latter.system_prompt)),
        _items("forbidden_actions", former.forbidden_actions if former else [], latter.forbidden_actions),
        _items("forbidden_tools", former.forbidden_tools if former else [], latter.forbidden_tools),
        _items("requested_tools", _requests(former), _requests(latter)),
        _value("max_turns", former and former.max_turns, latter.max_turns),
        _value("token_budget", former and former.token_budget, latter.token_budget),
    ]
    return [change for change in changes if change]


def _requests(version: VersionLike | None) -> list[str]:
    return [f"{tool['tool']}: {tool['reason']}" for tool in version.requested_tools] if version else []


def _value(field: str, before: Any, after: Any) -> Change:
    return {} if before == after else {"field": field, "before": before, "after": after}


def _items(field: str, before: list[str], after: list[str]) -> Change:
    added = [item for item in after if item not in before]
    removed = [item for item in before if item not in after]
    return {"field": field, "added": added, "removed": removed} if added or removed else {}
