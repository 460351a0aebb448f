"""Fields in text that is not JSON: `name: value`, with the lines that continue the value. Linear in the text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from provenance.dlp.names import Names

# Only these end a line: a value goes on after the separators that some readers show as a line end.
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_KEY = re.compile(r"[\W_]{0,24}[^\W_][\w .-]{0,60}[\"'*`]{0,3}[^\S\r\n]{0,8}[:=]")


@dataclass(slots=True)
class Use:
    """One field with its value: the name starts at `start`, the value reaches from `value_at` to `end`."""

    field: str
    start: int
    value_at: int
    end: int
    _indent: int
    _stands_alone: bool
    _is_open: bool
    _is_over: bool = False
    has_value: bool = False

    def takes(self, line: str, at: int) -> bool:
        """Whether a line after the name belongs to the value; then the value reaches to its end.

        Deeper lines do, and after a name that stands alone everything up to the next empty line. Otherwise the value
        ends at an empty line or at the next key. A bracket or quote that was opened is never taken for closed.
        """
        if not line.strip():
            self._is_over = self.has_value
            return True
        is_deeper = len(line) - len(line.lstrip()) > self._indent
        if not (self._is_open or is_deeper) and (self._is_over or (not self._stands_alone and _KEY.match(line))):
            return False
        self.has_value = True
        self.end = at + len(line.rstrip("\r\n"))
        return True


def uses(folded: str, names: Names) -> Iterator[Use]:
    """Every field that stands in the lines of a folded text, from first to last, without overlap."""
    use: Use | None = None
    for match in _LINE.finditer(folded):
        line = match.group()
        if use and use.takes(line, match.start()):
            continue
        if use:
            yield use
        use = _first_use(line, match.start(), names)
    if use:
        yield use


def _first_use(line: str, at: int, names: Names) -> Use | None:
    """The first field of a line; what follows it on the line is its value, other fields included."""
    start, value_at, field = next(names.keys(line), (0, 0, ""))
    if not field:
        return None
    value = line[value_at:].rstrip("\r\n")
    is_alone = not value.strip(" \t>|{[-\"'*`\\")
    return Use(
        field=field,
        start=at + start,
        value_at=at + value_at,
        end=at + value_at + len(value),
        _indent=len(line) - len(line.lstrip()),
        _stands_alone=is_alone,
        _is_open=_opens(value),
        has_value=not is_alone,
    )


def _opens(value: str) -> bool:
    """Whether a bracket or a quote of the value is still open at the end of its line."""
    opened = sum(map(value.count, "([{")) - sum(map(value.count, ")]}"))
    return opened > 0 or value.count('"') % 2 == 1
