"""CEL expressions and `${…}` templates over a run's `input` and `steps`. Pure.

The engine that evaluates has no cost limit, so cost is bounded before it compiles: length, nesting, no macro inside a
macro, known variables and functions only (runs.md, "What was learned").
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cel
import orjson

MAX_LENGTH = 1_000
MAX_NESTING = 12
MAX_OPERATORS = 100
MAX_LIST = 1_000
# In one string. From each `${` the end is looked for, and where quotes hide it, that is the rest of the string.
MAX_HOLES = 100

ROOTS = frozenset({"input", "steps"})
_MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_FUNCTIONS = frozenset(
    {
        "size",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "int",
        "uint",
        "double",
        "string",
        "timestamp",
        "duration",
    }
    | {"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes"}
    | {"_+_", "_-_", "_*_", "_/_", "_%_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_&&_", "_||_", "!_", "-_"}
    | {"_?_:_", "_[_]", "@in", "@not_strictly_false", "max", "min"}
)
_TOKEN = re.compile(
    r"""(?P<text>[rR]?'(?:[^'\\]|\\.)*'|[rR]?"(?:[^"\\]|\\.)*")|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>[0-9][0-9.eExX]*)"""
    r"""|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<dot>\.)|(?P<comma>,)|(?P<operator>[-+*/%<>=!&|?:]+)|(?P<space>\s+)""",
    re.DOTALL,
)
_HOLE = re.compile(r"\$\{((?:[^{}'\"]|'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\"|\{[^{}]*+\})*+)\}")
_WHOLE = re.compile(rf"\s*{_HOLE.pattern}\s*")


class ExpressionError(ValueError):
    """An expression that cannot be compiled, or that could not be evaluated on this data; the text says why."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. `steps` are the steps whose output it reads, `inputs` the fields of the run's input."""

    source: str
    program: cel.Program
    steps: frozenset[str]
    inputs: frozenset[str]

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """The value over `{"input": …, "steps": {name: {"output": …}}}`. Raises `ExpressionError`."""
        read = {"input": variables["input"], "steps": {name: variables["steps"].get(name) for name in self.steps}}
        known = {**read, "steps": {name: value for name, value in read["steps"].items() if value is not None}}
        _check_lists(known)
        try:
            return _plain(self.program.execute(known))
        except KeyError as error:
            raise ExpressionError(f"there is no {error.args[0]!r} in the data that `{self.source}` reads") from error
        except (ValueError, TypeError, ArithmeticError, RuntimeError, IndexError) as error:
            raise ExpressionError(f"`{self.source}` could not be evaluated: {error}") from error


@lru_cache(maxsize=2_048)
def compile_expression(source: str) -> Expression:
    """Compile within the static limits. Raises `ExpressionError` naming what is wrong."""
    tokens = _tokens_within_limits(source)
    steps, bound = _steps_read(source, tokens), _bound_names(source, tokens)
    try:
        program = cel.compile(source)
    except ValueError as error:
        problem = str(error).split("ERROR: ", 1)[-1].split("\n", 1)[0].removeprefix("<input>:")
        raise ExpressionError(f"`{source}` does not compile ({problem})") from error
    references = program.references()
    if unknown := set(references["variables"]) - ROOTS - bound:
        raise ExpressionError(f"`{source}` reads {_names(unknown)}; known are `input` and `steps.<name>.output`")
    if unknown := set(references["functions"]) - _FUNCTIONS - _MACROS:
        raise ExpressionError(f"`{source}` calls {_names(unknown)}, which does not exist here")
    return Expression(source, program, frozenset(steps), frozenset(_fields_of("input", tokens)))


def holes(template: Any) -> list[Expression]:
    """Every expression inside a template: a value of any shape whose strings may hold `${…}`."""
    if isinstance(template, str):
        _refuse_too_many(template)
        _refuse_unclosed(template)
        return [compile_expression(source.strip()) for source in _HOLE.findall(template)]
    if isinstance(template, dict):
        return [expression for value in template.values() for expression in holes(value)]
    if isinstance(template, list):
        return [expression for value in template for expression in holes(value)]
    return []


def render(template: Any, variables: Mapping[str, Any]) -> Any:
    """The template with its expressions replaced. A string that is one `${…}` keeps the type of its value.

    What an expression yields is inserted as data and never looked at for further `${…}`.
    """
    if isinstance(template, dict):
        return {key: render(value, variables) for key, value in template.items()}
    if isinstance(template, list):
        return [render(value, variables) for value in template]
    if not isinstance(template, str):
        return template
    if whole := _WHOLE.fullmatch(template):
        return compile_expression(whole.group(1).strip()).evaluate(variables)
    return _HOLE.sub(lambda hole: _text(compile_expression(hole.group(1).strip()).evaluate(variables)), template)


def _refuse_too_many(template: str) -> None:
    if template.count("${") > MAX_HOLES:
        raise ExpressionError(
            f"`{template[:40]}…` holds more than {MAX_HOLES} expressions; split it over several fields"
        )


def _refuse_unclosed(template: str) -> None:
    if "${" in _HOLE.sub("", template):
        raise ExpressionError(f"`{template[:80]}` holds a `${{` that is never closed, or nested braces")


def _tokens_within_limits(source: str) -> list[tuple[str, str]]:
    if not source:
        raise ExpressionError("an expression is empty")
    if len(source) > MAX_LENGTH:
        raise ExpressionError(f"`{source[:40]}…` is longer than {MAX_LENGTH} characters")
    tokens = _tokens(source)
    if sum(kind in {"operator", "dot", "comma"} for kind, _ in tokens) > MAX_OPERATORS:
        raise ExpressionError(f"`{source[:40]}…` has more than {MAX_OPERATORS} operators")
    return tokens


def _tokens(source: str) -> list[tuple[str, str]]:
    tokens, position = [], 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if not match:
            raise ExpressionError(f"`{source}` holds {source[position]!r}, which is not part of an expression")
        position = match.end()
        if match.lastgroup != "space":
            tokens.append((str(match.lastgroup), match.group()))
    return tokens


def _bound_names(source: str, tokens: list[tuple[str, str]]) -> set[str]:
    bound: set[str] = set()
    macro_open: list[bool] = []
    for index, (kind, text) in enumerate(tokens):
        if kind == "close" and macro_open:
            macro_open.pop()
        elif kind == "open":
            is_macro = text == "(" and index >= 2 and tokens[index - 2][0] == "dot" and tokens[index - 1][1] in _MACROS
            if is_macro and any(macro_open):
                raise ExpressionError(f"`{source}` uses {tokens[index - 1][1]}() inside another such call")
            if is_macro and index + 1 < len(tokens) and tokens[index + 1][0] == "name":
                bound.add(tokens[index + 1][1])
            macro_open.append(is_macro)
            if len(macro_open) > MAX_NESTING:
                raise ExpressionError(f"`{source[:40]}…` nests deeper than {MAX_NESTING} brackets")
    if bound & ROOTS:
        raise ExpressionError(f"`{source}` gives a list item the name {_names(bound & ROOTS)}; choose another")
    return bound


def _steps_read(source: str, tokens: list[tuple[str, str]]) -> set[str]:
    """`steps` must be followed by a written name: a computed one could not be checked before the run."""
    mentions = sum(
        token == ("name", "steps") and (index == 0 or tokens[index - 1][0] != "dot")
        for index, token in enumerate(tokens)
    )
    fields = _fields_of("steps", tokens)
    if len(fields) != mentions:
        raise ExpressionError(f"`{source}` must name the step it reads, as in `steps.assess.output`")
    return set(fields)


def _fields_of(root: str, tokens: list[tuple[str, str]]) -> list[str]:
    """The names written after `root.`, one for each time; `x.root.name` is not one of them."""
    return [
        tokens[index + 2][1]
        for index in range(len(tokens) - 2)
        if tokens[index] == ("name", root)
        and (index == 0 or tokens[index - 1][0] != "dot")
        and tokens[index + 1][0] == "dot"
        and tokens[index + 2][0] == "name"
    ]


def _check_lists(value: Any) -> None:
    if isinstance(value, Mapping):
        for item in value.values():
            _check_lists(item)
    elif isinstance(value, list):
        if len(value) > MAX_LIST:
            raise ExpressionError(f"a list of {len(value)} items is too long for an expression (limit {MAX_LIST})")
        for item in value:
            _check_lists(item)


def _plain(value: Any) -> Any:
    """Only JSON leaves an expression: times and bytes have no place in arguments or outputs."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    raise ExpressionError(f"the result is a {type(value).__name__}; wrap it in string(…)")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _names(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
