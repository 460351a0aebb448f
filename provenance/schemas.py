"""JSON Schemas that people, tools and strangers wrote: never fetched from anywhere, and no pattern stalls them. Pure."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import jsonschema_rs
from jsonschema_rs import ValidationErrorKind as Kind

MOST_VIOLATIONS = 20
LONGEST_SENTENCE = 500


class SchemaError(ValueError):
    """A JSON Schema that cannot be used; the text says why."""


class Violation(NamedTuple):
    """One place where a value breaks its schema: a dotted path ("" is the whole), and a sentence for people."""

    path: str
    message: str

    def __str__(self) -> str:
        """Both in one line."""
        return f"{self.path or '(root)'}: {self.message}"


class Schema:
    """A compiled schema: draft 2020-12 unless it names another one. Only references into itself are followed."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Raises `SchemaError`."""
        try:
            self._validator = jsonschema_rs.validator_for(
                dict(document),
                # What is wrong is said to logs, models and other people: the value itself is not repeated.
                mask="This value",
                validate_formats=True,
                offline=True,
                # The engine without backtracking.
                pattern_options=jsonschema_rs.RegexOptions(),
            )
        except (ValueError, TypeError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            raise SchemaError(str(error).split("\n", maxsplit=1)[0]) from None

    def violations(self, value: Any) -> list[Violation]:
        """What is wrong with the value, at most 20 places; empty when it fits. No sentence repeats the value."""
        return [_said(error) for error in islice(self._validator.iter_errors(value), MOST_VIOLATIONS)]


def compiled(document: Mapping[str, Any]) -> Schema:
    """The schema, compiled once for each text of it. Raises `SchemaError`."""
    return _compiled(json.dumps(document))


def violations(document: Mapping[str, Any], value: Any) -> list[Violation]:
    """What is wrong with the value by this schema. Raises `SchemaError`."""
    return compiled(document).violations(value)


@lru_cache(maxsize=512)
def _compiled(text: str) -> Schema:
    return Schema(json.loads(text))


def _said(error: jsonschema_rs.ValidationError) -> Violation:
    """For what is missing or not among the choices, the sentence names all that would do."""
    path = list(error.instance_path)
    match error.kind:
        case Kind.Enum(options=options):
            message = f"Allowed: {_listed(options)}."
        case Kind.Required(property=name):
            path, message = [*path, name], "This field is needed."
        case Kind.AdditionalProperties(unexpected=names) | Kind.UnevaluatedProperties(unexpected=names):
            message = f"Not a known field: {_listed(names)}."
        case _:
            message = f"{error.message}."
    return Violation(".".join(map(str, path)), message[:LONGEST_SENTENCE])


def _listed(options: Sequence[Any]) -> str:
    return ", ".join(map(str, options))
