"""The digest that binds an approval to one call: these arguments, this tool, this place, and nothing else (T05)."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self
from uuid import UUID

from provenance.canonical import MAX_SAFE_INTEGER, NotCanonical, canonical_json

_DOMAIN = b"provenance-action-v1\n"
_NUMBER = "$number"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFacts:
    """Everything but the arguments that makes a call the one that was approved.

    `call_key` names the call within its run, so that a replay is another call. `pin` is the digest of the tool's
    reviewed definition, `target` the upstream it reaches, `policy_digest` the rules it was judged by.
    """

    workspace_id: UUID
    call_key: str
    environment: str
    tool: str
    pin: str
    target: str
    workflow_version: str
    policy_digest: str

    def as_json(self) -> dict[str, str]:
        """The facts as they are stored with a request and sent between processes."""
        return {**asdict(self), "workspace_id": str(self.workspace_id)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The facts that `as_json` wrote. A missing, unknown or non-text member raises `ValueError`."""
        if set(value) != set(cls.__slots__):
            raise ValueError(f"action facts need exactly {', '.join(cls.__slots__)}; got {', '.join(sorted(value))}")
        if wrong := [name for name in value if not isinstance(value[name], str)]:
            raise ValueError(f"these action facts are not text: {', '.join(wrong)}")
        return cls(**{**value, "workspace_id": UUID(value["workspace_id"])})


def action_digest(facts: ActionFacts, arguments: Mapping[str, Any]) -> str:
    """SHA-256 in hex over the facts and the arguments a person saw; two calls share it only when they are the same.

    `arguments` are those of the editable payload: what the engine adds when it sends, such as an idempotency key, is
    not among them. Raises `NotCanonical` for a value that has no exact form (NaN, a number beyond 2^53, U+0000).
    """
    body = exact_bytes({"facts": facts.as_json(), "arguments": arguments})
    return hashlib.sha256(_DOMAIN + body).hexdigest()


def exact_bytes(value: Any) -> bytes:
    """One byte string for each JSON value, whatever wrote it. Raises `NotCanonical` like `action_digest`."""
    return canonical_json(_exact(value))


def _exact(value: Any) -> Any:
    """`value` in the canonical profile, one form for each JSON value.

    The profile knows no fractions, so 2.5 becomes {"$number": "2.5"}; keys that start with $ get another $, so that no
    argument can pass itself off as such a number. 1.0 is 1, as it is in JSON and after a round through the database.
    """
    match value:
        case bool():
            return value
        case float():
            return _exact_number(value)
        case list() | tuple():
            return [_exact(item) for item in value]
        case dict():
            return {_exact_key(key): _exact(item) for key, item in value.items()}
        case _:
            return value


def _exact_number(value: float) -> Any:
    if not math.isfinite(value) or abs(value) > MAX_SAFE_INTEGER:
        raise NotCanonical(f"{value} has no exact form; write it as a string")
    return int(value) if value.is_integer() else {_NUMBER: repr(value)}


def _exact_key(key: Any) -> str:
    if not isinstance(key, str):
        raise NotCanonical(f"the key {key!r} is not a string")
    escaped = key.encode("unicode_escape").decode("ascii")
    return f"${escaped}" if escaped.startswith("$") else escaped
