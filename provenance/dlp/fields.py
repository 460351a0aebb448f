"""Field redaction: named fields are withheld wherever they stand, and what was not understood is withheld whole.

Understood are keys of objects, pairs such as `{"name": "billing_address", "value": …}`, JSON inside text and lines of
`name: value`. Where a name of the policy stands anywhere else (a table's header, a tag, a list of columns) nobody
can say which value it speaks of: then all of it goes. The cost is linear in the size and has an upper bound.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from provenance.dlp.lines import uses
from provenance.dlp.names import Names, fold

REDACTED = "[redacted]"
WITHHELD = "[withheld: it names what a policy hides, in a form that cannot be redacted in part]"
TOO_LARGE = "[withheld: too large to be searched for what a policy hides]"
NOTICES = frozenset({REDACTED, WITHHELD, TOO_LARGE})
DEEPEST = 64
DEEPEST_TEXT = 4
# What one policy may cost on one value: a character counts one, a value or an object's key this many.
MOST_WORK = 2**20
WORK_PER_VALUE = 16
# Counted under this name when all of a value went, whichever field it was.
EVERYTHING = "*"
VALUE_KEYS = frozenset({"value", "values", "v", "val", "content", "text", "data", "answer"})


class NotUnderstood(Exception):
    """A field's name stands where nobody can say what its value is."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class TooLarge(Exception):
    """The value would cost more than `MOST_WORK`."""


class FieldRedactor:
    """Withholds the named fields and counts them by the name in the policy."""

    def __init__(self, fields: Iterable[str]) -> None:
        self._names = Names(fields)
        self._work_left = MOST_WORK
        self.hits: Counter[str] = Counter()

    def value(self, value: Any) -> Any:
        """A copy of a JSON value without the fields, or a notice in place of all of it."""
        if not self._names:
            return value
        try:
            return self._value(value, 0, 0)
        except NotUnderstood as error:
            self.hits[error.field] += 1
            return WITHHELD
        except TooLarge:
            self.hits[EVERYTHING] += 1
            return TOO_LARGE

    def _value(self, value: Any, depth: int, text_depth: int) -> Any:
        self._spend(WORK_PER_VALUE)
        if depth > DEEPEST:
            # Deeper than anything honest, so nobody looks for fields down there: withhold it.
            return REDACTED
        match value:
            case dict():
                return self._object(value, depth, text_depth)
            case list():
                return [self._value(item, depth + 1, text_depth) for item in value]
            case str():
                return self._text(value, text_depth)
            case _:
                return value

    def _object(self, value: dict[str, Any], depth: int, text_depth: int) -> dict[str, Any]:
        label = self._label(value)
        if label:
            return {key: item if key == label else self._withhold(item, value[label]) for key, item in value.items()}
        return {key: self._item(key, item, depth, text_depth) for key, item in value.items()}

    def _label(self, value: dict[str, Any]) -> str | None:
        """The key whose value names the field, in a pair such as `{"name": "billing_address", "value": …}`."""
        keys = {key: key.lower().rpartition("_")[2] for key in value}
        if VALUE_KEYS.isdisjoint(keys.values()):
            return None
        short = (key for key, last in keys.items() if last not in VALUE_KEYS and _is_short(value[key]))
        return next((key for key in short if self._names.found(value[key])), None)

    def _item(self, key: str, item: Any, depth: int, text_depth: int) -> Any:
        self._spend(WORK_PER_VALUE + len(key))
        if self._names.found(key):
            return self._withhold(item, key)
        return self._value(item, depth + 1, text_depth)

    def _withhold(self, item: Any, name: str) -> str:
        if item != REDACTED:
            self.hits[self._names.found(name) or EVERYTHING] += 1
        return REDACTED

    def _text(self, text: str, depth: int) -> str:
        """The text without the fields: whole JSON, JSON inside prose, and `name: value` lines."""
        self._spend(len(text))
        field = None if text in NOTICES else self._names.found(text)
        if not field:
            return text
        if depth >= DEEPEST_TEXT:
            raise NotUnderstood(field)
        try:
            whole = _DECODER.decode(text) if text.lstrip()[:1] in {"{", "[", '"'} else None
        except (ValueError, RecursionError):
            whole = None
        return self._lines(text, depth) if whole is None else self._json(text, whole, depth)

    def _json(self, text: str, value: Any, depth: int) -> str:
        redacted = self._value(value, 0, depth + 1)
        return text if redacted == value else json.dumps(redacted, ensure_ascii=False)

    def _lines(self, text: str, depth: int) -> str:
        """The text with each value replaced: of fields in lines, and of fields in the JSON that stands between."""
        replacements = [
            (start, end, self._json(text[start:end], value, depth)) for start, end, value in _fragments(text)
        ]
        # The JSON was read: what is looked at now is the text around it, which keeps its places.
        around = fold(_masked(text, replacements))
        found = list(uses(around, self._names))
        rest = _cut(around, [(use.start, use.end) for use in found])
        unclear = self._names.found(self._names.without_sentences(rest))
        # A name at the end of the text speaks of something that stands elsewhere.
        if unclear or (found and not found[-1].has_value):
            raise NotUnderstood(unclear or found[-1].field)
        if spoken_of := self._names.found(rest):
            # In a sentence the name is a word like any other: the text goes, and what stands beside it stays.
            self.hits[spoken_of] += 1
            return WITHHELD
        for use in found:
            value = self._withhold(text[use.value_at : use.end].strip(), use.field)
            replacements = [r for r in replacements if not use.start <= r[0] < use.end]
            replacements.append((use.value_at, use.end, f" {value}"))
        return _replaced(text, sorted(replacements))

    def _spend(self, work: int) -> None:
        self._work_left -= work
        if self._work_left < 0:
            raise TooLarge


def _is_short(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 200


_BRACKET = re.compile(r"[\[{]")
# A text, or one bracket. Bounded by the next quote, and without overlap between the branches: linear.
_TEXT_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


def _fragments(text: str) -> Iterator[tuple[int, int, Any]]:
    """Each JSON object or list that stands in the text: where, and its value. Each character is read a fixed number of times."""
    position = 0
    while (opening := _BRACKET.search(text, position)) and (end := _closing(text, opening.start())):
        position = end
        try:
            yield opening.start(), end, _DECODER.decode(text[opening.start() : end])
        except (ValueError, RecursionError):
            continue


def _closing(text: str, start: int) -> int | None:
    """The place after the bracket that closes the one at `start`; None when none does, and then no later one is sought."""
    depth = 0
    for match in _TEXT_OR_BRACKET.finditer(text, start):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.end()
    return None


def _masked(text: str, places: list[tuple[int, int, str]]) -> str:
    return _replaced(text, [(start, end, "\0" * (end - start)) for start, end, _ in places])


def _cut(text: str, places: list[tuple[int, int]]) -> str:
    return _replaced(text, [(start, end, "\n") for start, end in places])


def _replaced(text: str, places: list[tuple[int, int, str]]) -> str:
    pieces, position = [], 0
    for start, end, piece in places:
        pieces += [text[position:start], piece]
        position = end
    return "".join([*pieces, text[position:]])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand once. Of two with the same key, readers take different ones."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def _finite(text: str) -> float:
    """A number that can be written again; `1e400` cannot."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is out of range")
    return number


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_refuse)
