"""The text of a digest: counts, what is notable, and what is to be reviewed. Plain text, and pure.

It holds no detail beyond the names of actors and objects. Whoever wants more follows the address, which asks who they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from provenance.risk import Risk
from streams.periods import Period
from streams.records import one_line

# The minimum that somebody looks at (M132), and the defaults of alerts (vocabulary 2.7).
NOTABLE = frozenset(
    {
        "run.failed",
        "policy.violation",
        "secret.accessed",
        "approval.sla_breach",
        "mcp.tool_definition_changed",
        "injection.canary_triggered",
        "halt.engaged",
        "halt.released",
        "audit.verification_failed",
        "audit.sink_failed",
        "gateway.mode_changed",
        "api_key.created",
    }
)
# Of calls only those that change something or send something out, which are never of low risk.
NOTABLE_CALLS_FROM = Risk.MEDIUM
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Line:
    """One notable event."""

    at: datetime
    action: str
    risk: str
    actor: str
    about: str
    address: str


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a workflow did in production in the period."""

    workflow: str
    runs: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """Everything that one mail tells."""

    workspace: str
    title: str
    period: Period
    risk: str
    counts: Mapping[str, int]
    notable: Sequence[Line]
    notable_count: int
    review: Sequence[Reviewed] | None
    console: str

    @property
    def subject(self) -> str:
        """One line."""
        return f"{_name(self.title)}: {_name(self.workspace)}, {self.period}"

    @property
    def text(self) -> str:
        """The mail."""
        total = sum(self.counts.values())
        filtered = f" of risk {self.risk} or worse" if self.risk else ""
        parts = [
            f"{_name(self.workspace)}, {self.period} (UTC): {total:,} events{filtered}.",
            "\n".join(f"{count:>9,}  {one_line(action)}" for action, count in _largest_first(self.counts)),
            self._notable(),
            self._review(),
            f"The whole log: {self.console}",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _notable(self) -> str:
        if not self.notable:
            return "Nothing notable: none of the events that somebody should look at."
        more = (
            f" (the newest {len(self.notable)} of {self.notable_count:,})"
            if self.notable_count > len(self.notable)
            else ""
        )
        lines = [
            f"{line.at:%Y-%m-%d %H:%M}  {line.risk:<8}  {one_line(line.action)}  {_name(line.actor)} > {_name(line.about)}\n"
            f"                  {line.address}"
            for line in self.notable
        ]
        return f"Notable{more}:\n" + "\n".join(lines)

    def _review(self) -> str:
        if self.review is None:
            return ""
        if not self.review:
            return "To review: no workflow ran in production."
        lines = [f"{_name(item.workflow)}: {item.runs:,} runs, {item.failed:,} failed" for item in self.review]
        return "Please review what these workflows did in production:\n" + "\n".join(lines)


def _largest_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _name(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
