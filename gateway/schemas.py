"""What the gateway makes of the schemas that servers publish. Pure."""

from typing import Any

from provenance.schemas import Schema, SchemaError

CLOSED: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


def as_schema(value: Any) -> dict[str, Any]:
    """The schema that a server gave, or one that takes no arguments when it gave none."""
    return value if isinstance(value, dict) else CLOSED


def problem(schema: dict[str, Any]) -> str:
    """Why a schema cannot be used; "" when it can."""
    try:
        Schema(schema)
    except SchemaError as error:
        return str(error)
    return ""


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, refusing arguments that it does not name: an extra one reaches a server unchecked otherwise."""
    if "additionalProperties" in schema or "unevaluatedProperties" in schema or "patternProperties" in schema:
        return schema
    # `allOf` and friends may name properties of their own, which only `unevaluatedProperties` sees.
    keyword = (
        "unevaluatedProperties" if schema.keys() & {"allOf", "anyOf", "oneOf", "$ref", "if"} else "additionalProperties"
    )
    return {**schema, keyword: False}


def without(schema: dict[str, Any], argument: str) -> dict[str, Any]:
    """The schema as a caller sees it: without the argument that the gateway fills in."""
    if not argument or argument not in schema.get("properties", {}):
        return schema
    properties = {name: value for name, value in schema["properties"].items() if name != argument}
    required = [name for name in schema.get("required", []) if name != argument]
    return {**schema, "properties": properties, "required": required}
