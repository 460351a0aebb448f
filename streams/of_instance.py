"""The log of the instance in the order of its indices, as far as it is published: what an operator's own shipper takes."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from audit.tree import StoredLog, Tree
from provenance.home import replace_text
from streams.reading import SEALED, WINDOW, entry_of, published
from streams.records import json_line, native


@dataclass(frozen=True, slots=True)
class Place:
    """How far somebody came: the epoch of the log, the next index in it, and the one of the record before."""

    epoch: int = 0
    next_index: int = 0
    sent_index: int | None = None

    @classmethod
    def noted(cls, path: Path) -> "Place | None":
        """What was noted in that file; None when there is none. Raises ValueError when it is something else."""
        with suppress(FileNotFoundError):
            said = json.loads(path.read_text("utf-8"))
            try:
                return cls(int(said["epoch"]), int(said["next_index"]), said["sent_index"])
            except (KeyError, TypeError) as error:
                raise ValueError("it says no place in the log") from error
        return None

    def note(self, path: Path) -> None:
        """Keep it there, in one step."""
        replace_text(path, json.dumps(asdict(self)) + "\n")


def news(tree: Tree, place: Place) -> Iterator[tuple[list[str], Place]]:
    """Lines of what was published since then, and the place after them, a few at a time."""
    for log, size in published(tree, None):
        if log.epoch < place.epoch:
            continue
        if log.epoch > place.epoch:
            place = Place(log.epoch)
        while place.next_index < size:
            lines, place = _window(tree, log, place, min(place.next_index + WINDOW, size))
            yield lines, place


def _window(tree: Tree, log: StoredLog, place: Place, end: int) -> tuple[list[str], Place]:
    lines: list[str] = []
    for row in tree.execute(SEALED, [log.id, place.next_index, end, False]):
        entry = entry_of(log.origin, place.sent_index, row)
        lines.append(json_line(native(entry)))
        place = replace(place, sent_index=entry.index)
    return lines, replace(place, next_index=end)
