"""The pin of a tool: a digest over its whole definition, so that nothing about it changes unseen. Pure.

Every field counts, also those that only a model or a person reads (title, icons, annotations, output schema): each of
them has been used to slip new orders into an approved tool.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from typing import Any

PIN_PREFIX = b"provenance.tool-pin.v1\n"

# Said to a model rather than about a tool. A finding for the reviewer, never a verdict.
_ORDERS = (
    "ignore previous",
    "ignore all",
    "ignore the above",
    "disregard",
    "do not tell",
    "don't tell",
    "without telling",
    "system prompt",
    "you must",
    "before using this tool",
    "<important>",
    "instead of",
)
_HIDDEN_CATEGORIES = frozenset({"Cf", "Cc", "Co", "Cn"})


def pin(definition: dict[str, Any]) -> str:
    """SHA-256 of the definition in hex. Unlike canonical event bytes it takes any JSON, floats included."""
    encoded = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(PIN_PREFIX + encoded.encode()).hexdigest()


def findings(definition: dict[str, Any], other_tools: Iterable[str] = ()) -> list[str]:
    """What a reviewer should look at in a definition: hidden characters, orders to a model, other tools' names."""
    texts = list(_texts(definition))
    found = []
    if any(unicodedata.category(c) in _HIDDEN_CATEGORIES and c not in "\n\r\t" for text in texts for c in text):
        found.append("holds characters that people cannot see")
    joined = "\n".join(texts).lower()
    found += [f"speaks to a model: {order!r}" for order in _ORDERS if order in joined]
    own = str(definition.get("name", ""))
    found += [
        f"names another tool: {name}" for name in sorted(set(other_tools)) if name != own and name.lower() in joined
    ]
    return found


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
