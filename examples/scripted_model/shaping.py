"""Pours what a script knows into the JSON Schema the caller asked for."""

from collections.abc import Mapping
from typing import Any

EMPTY: dict[str, Any] = {
    "string": "",
    "array": [],
    "object": {},
    "boolean": False,
    "integer": 0,
    "number": 0,
    "null": None,
}


def shape(facts: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The declared properties of an object schema, taken from `facts` by name at any depth.

    A required property that no fact fills gets null where the schema allows it, else the empty value of its type.
    A schema without properties gets every fact.
    """
    return _object(facts, schema, schema.get("$defs", {}))


def _object(facts: Mapping[str, Any], schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    if not properties:
        return dict(facts)
    required = schema.get("required", [])
    shaped = {}
    for name, declared in properties.items():
        inner = _resolve(declared, definitions)
        if facts.get(name) is not None:
            shaped[name] = _value(facts[name], inner, definitions)
        elif "properties" in inner:
            shaped[name] = _object(facts, inner, definitions)
        elif name in required:
            shaped[name] = _empty(inner)
    return shaped


def _value(value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return _object(value, schema, definitions)
    if isinstance(value, list):
        items = _resolve(schema.get("items", {}), definitions)
        return [_value(item, items, definitions) for item in value]
    return value


def _resolve(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a local reference, as schema generators write them."""
    reference = str(schema.get("$ref", ""))
    resolved: Mapping[str, Any] = definitions.get(reference.removeprefix("#/$defs/"), schema) if reference else schema
    return resolved


def _empty(schema: Mapping[str, Any]) -> Any:
    kinds = schema.get("type", "null")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return None if "null" in kinds else EMPTY.get(kinds[0])
