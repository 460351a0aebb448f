"""Values that a run leaves behind (inputs, outputs, arguments, messages), as encrypted blobs known by reference."""

from typing import Any
from uuid import UUID

import orjson

from workspaces import blobs

LARGEST_BYTES = 4 * 2**20


class ValueTooLarge(ValueError):
    """A value of a run passes 4 MiB; it was not stored."""


def put(workspace_id: UUID, value: Any) -> str:
    """Store a JSON value and return its reference. Call it inside the workspace. Raises `ValueTooLarge`."""
    data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    if len(data) > LARGEST_BYTES:
        raise ValueTooLarge(f"{len(data)} bytes; a value of a run has at most {LARGEST_BYTES}.")
    return blobs.put(workspace_id, data)


def get(workspace_id: UUID, ref: str) -> Any:
    """The value behind a reference; None for "". Call it inside the workspace."""
    return orjson.loads(blobs.get(workspace_id, ref)) if ref else None
