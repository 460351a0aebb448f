"""A measured figure beside its limit, its peers and its goal; the table of them and the file that keeps them."""

import json
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

OUT = Path(__file__).resolve().parent / "out"

Sample = Mapping[str, float]
"""What one round of one variant measured, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a figure should be: at most or at least `bound`, of the ratio or, with `of_value`, of the value itself."""

    kind: Literal["most", "least"]
    bound: float
    of_value: bool = False

    def is_met(self, value: float, ratio: float | None) -> bool:
        """Whether the figure keeps it."""
        judged = value if self.of_value else ratio
        if judged is None:
            return False
        return judged <= self.bound if self.kind == "most" else judged >= self.bound

    def __str__(self) -> str:
        sign = "<=" if self.kind == "most" else ">="
        return f"{sign} {_short(self.bound)}{'' if self.of_value else ' x'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. `limit` is what the ratio is to; `peers` are others of the same interleaved run."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    peers: Mapping[str, float] = field(default_factory=dict)
    ratio: float | None = None
    goal: Goal | None = None
    note: str = ""

    def kept(self) -> dict[str, object]:
        """The form of `bench/out/AREA.json`."""
        met = self.goal.is_met(self.value, self.ratio) if self.goal else None
        return {**asdict(self), "goal": str(self.goal) if self.goal else "", "met": met}


def interleaved(variants: Mapping[str, Callable[[], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """Run every variant once a round, so that what the machine does meanwhile meets all of them alike.

    The order turns with each round, because whoever comes first may find caches cold.
    """
    names = list(variants)
    found: dict[str, list[Sample]] = {name: [] for name in names}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            found[name].append(variants[name]())
    return found


def median(samples: Iterable[Sample], name: str) -> float:
    """The middle one of what the rounds measured."""
    return statistics.median(sample[name] for sample in samples)


def ratio(ours: list[Sample], limit: list[Sample], name: str) -> float:
    """The middle one of the ratios of each round."""
    return statistics.median(one[name] / other[name] for one, other in zip(ours, limit, strict=True))


def against(ours: list[Sample], limit: list[Sample], measured: str, **said: Any) -> Figure:
    """What was measured of ours beside the limit of the same rounds. `said`: the rest of the figure."""
    return Figure(
        value=median(ours, measured), limit=median(limit, measured), ratio=ratio(ours, limit, measured), **said
    )


def table(figures: Iterable[Figure]) -> str:
    """The figures for people."""
    rows = [("figure", "value", "limit", "ratio", "goal", "", "peers")]
    for figure in figures:
        met = {None: "", True: "met", False: "MISSED"}[figure.kept()["met"]]
        rows.append(
            (
                figure.name,
                f"{_short(figure.value)} {figure.unit}",
                _short(figure.limit),
                _short(figure.ratio),
                str(figure.goal or ""),
                met,
                ", ".join(f"{name} {_short(value)}" for name, value in figure.peers.items())
                + (f" ({figure.note})" if figure.note else ""),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def keep(area: str, figures: Iterable[Figure]) -> Path:
    """Write `bench/out/AREA.json`."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{area}.json"
    path.write_text(json.dumps([figure.kept() for figure in figures], indent=1) + "\n", encoding="utf-8")
    return path


def _short(value: float | None) -> str:
    if value is None:
        return ""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
