"""How tools are named: `erp.getVendor` is the tool `getVendor` of the server `erp`. Pure."""

import re

# ASCII only: a look-alike of an approved tool's name is no name.
_SERVER = r"[a-z][a-z0-9-]{0,39}"
# Without look-around: the schema of definitions has the same text, on an engine that knows none.
_TOOL = r"[A-Za-z0-9_-](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_-])?"
PATTERN = rf"{_SERVER}\.{_TOOL}"


def is_server_name(text: str) -> bool:
    """Whether a server may be called so: 1 to 40 lower-case letters, digits and dashes, a letter first."""
    return re.fullmatch(_SERVER, text) is not None


def is_tool_name(text: object) -> bool:
    """Whether a tool may be called so by its server: 1 to 128 letters, digits, `_`, `.`, `-`, no dot at either end."""
    return isinstance(text, str) and re.fullmatch(_TOOL, text) is not None


def is_full_name(text: str) -> bool:
    """Whether it names a tool of a server."""
    return re.fullmatch(PATTERN, text) is not None
