"""The capability matrix: what each trust level may do (vocabulary 2.8, M002, M003, C01). Pure.

The console shows `MATRIX`, and the gateway's decision reads the same table through `capability`. A deny here is final: no
approval and no grant turns it into anything else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from provenance.risk import Risk


class Trust(StrEnum):
    """How far an agent is trusted. Ordered, so `min()` of a chain of agents is what counts."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """0 for low up to 2 for high."""
        return list(Trust).index(self)

    # All four, because text already has an order of its own in which "high" comes before "low".

    def __lt__(self, other: object) -> bool:
        return self.rank < other.rank if isinstance(other, Trust) else NotImplemented

    def __le__(self, other: object) -> bool:
        return self.rank <= other.rank if isinstance(other, Trust) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return self.rank > other.rank if isinstance(other, Trust) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return self.rank >= other.rank if isinstance(other, Trust) else NotImplemented


class Verdict(StrEnum):
    """What the matrix says: go ahead, ask a person first, or never."""

    ALLOW = "allow"
    GATE = "gate"
    DENY = "deny"


class Row(StrEnum):
    """The rows of the matrix, in the words people read."""

    READ_ORDINARY = "Read data of tier 1 or 2"
    READ_TIER_3 = "Read data of tier 3"
    READ_TIER_4 = "Read data of tier 4"
    WRITE_INTERNAL = "Write outside production"
    WRITE_PRODUCTION = "Write in production"
    DESTRUCTIVE = "Delete, move money, change permissions, or anything irreversible"
    EGRESS_LISTED = "Send to a listed domain"
    EGRESS_UNLISTED = "Send to an unlisted domain"
    INJECT_READ = "Use of a read-only secret by injection"
    INJECT_WRITE = "Use of a writing secret by injection"
    INJECT_ANY = "Use of any other assigned secret by injection"
    CREDENTIAL_IN_CONTEXT = "See the value of a secret"
    CODE_WITHOUT_NETWORK = "Run code in a sandbox without network"
    CODE_WITH_NETWORK = "Run code with network"
    START_AGENT = "Start another agent of equal or lower trust with narrowed rights"
    UNREVIEWED_SERVER = "Use a server nobody reviewed, in production"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: the verdict; how risky an asked approval is; and what comes with the verdict, in words."""

    verdict: Verdict
    risk: Risk | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Capability:
    """What an agent of some trust level may do with one tool, and the reason that people read.

    `risk` is set when and only when the verdict is `gate`.
    """

    verdict: Verdict
    risk: Risk | None
    reason: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run of an agent may use up when nothing narrower is set."""

    calls_per_run: int
    tokens_per_run: int


ALLOW = Cell(Verdict.ALLOW)
DENY = Cell(Verdict.DENY)


def _gate(risk: Risk, note: str = "") -> Cell:
    return Cell(Verdict.GATE, risk, note)


# Columns: low, medium, high.
_TABLE: dict[Row, tuple[Cell, Cell, Cell]] = {
    Row.READ_ORDINARY: (ALLOW, ALLOW, ALLOW),
    Row.READ_TIER_3: (DENY, _gate(Risk.MEDIUM), Cell(Verdict.ALLOW, note="with an output filter and a fuller log")),
    Row.READ_TIER_4: (DENY, DENY, _gate(Risk.CRITICAL, "fields proxied")),
    Row.WRITE_INTERNAL: (DENY, _gate(Risk.MEDIUM, "allowed under a delegated grant"), ALLOW),
    Row.WRITE_PRODUCTION: (DENY, _gate(Risk.HIGH), _gate(Risk.HIGH)),
    Row.DESTRUCTIVE: (DENY, DENY, _gate(Risk.CRITICAL, "two people")),
    Row.EGRESS_LISTED: (DENY, _gate(Risk.HIGH), Cell(Verdict.ALLOW, note="asks when the run is tainted")),
    Row.EGRESS_UNLISTED: (DENY, DENY, DENY),
    Row.INJECT_READ: (ALLOW, ALLOW, ALLOW),
    Row.INJECT_WRITE: (DENY, ALLOW, ALLOW),
    Row.INJECT_ANY: (DENY, DENY, ALLOW),
    Row.CREDENTIAL_IN_CONTEXT: (DENY, DENY, DENY),
    Row.CODE_WITHOUT_NETWORK: (DENY, _gate(Risk.HIGH), ALLOW),
    Row.CODE_WITH_NETWORK: (DENY, DENY, _gate(Risk.CRITICAL)),
    Row.START_AGENT: (DENY, ALLOW, ALLOW),
    Row.UNREVIEWED_SERVER: (DENY, DENY, DENY),
}
MATRIX: Mapping[Row, Mapping[Trust, Cell]] = {
    row: dict(zip(Trust, cells, strict=True)) for row, cells in _TABLE.items()
}

LIMITS: Mapping[Trust, Limits] = {
    Trust.LOW: Limits(calls_per_run=50, tokens_per_run=32_000),
    Trust.MEDIUM: Limits(calls_per_run=200, tokens_per_run=200_000),
    Trust.HIGH: Limits(calls_per_run=500, tokens_per_run=200_000),
}

# Reviewed effects of tools. Money and accounts are irreversible in the sense that counts: nobody gets them back by
# writing the old value again.
_DESTRUCTIVE_EFFECTS = frozenset({"destructive", "financial", "account"})
_SECRET_ROWS = {"read": Row.INJECT_READ, "write": Row.INJECT_WRITE, "admin": Row.INJECT_ANY}


def capability(
    trust: str,
    effect: str,
    environment: str,
    *,
    tier: int = 1,
    tainted: bool = False,
    listed: bool = True,
    delegated: bool = False,
) -> Capability:
    """What an agent of this trust level may do with a tool of this effect.

    `tier` is the data tier of what a read returns (1 to 4), `tainted` whether the run has read untrusted content and
    holds data of tier 3 or above, `listed` whether an egress goes to a listed domain, `delegated` whether a person
    allowed this class of actions in advance (`approval.grant_created`). A value that the matrix does not know (another
    level, an unreviewed effect, another tier) is denied.
    """
    row = _row(effect, environment, tier, listed)
    if trust not in set(Trust):
        return Capability(Verdict.DENY, None, "There is no such trust level.")
    if row is None:
        return Capability(Verdict.DENY, None, "Nobody has classified what this tool does.")
    level = Trust(trust)
    cell = MATRIX[row][level]
    if row is Row.EGRESS_LISTED and tainted and cell.verdict is Verdict.ALLOW:
        return Capability(
            Verdict.GATE,
            Risk.HIGH,
            "This run has read untrusted content and holds confidential data: sending anything asks a person first.",
        )
    if row is Row.WRITE_INTERNAL and delegated and not tainted and cell.verdict is Verdict.GATE:
        # Not for a tainted run: nobody who allowed a class of actions in advance has seen what it read since then.
        return Capability(Verdict.ALLOW, None, f"{row.value}: a person allowed this class of actions in advance.")
    return Capability(cell.verdict, cell.risk, _sentence(row, level, cell))


def secret_use(trust: str, access: str) -> Capability:
    """Whether a call of an agent of this trust level may be sent with a secret of this access (read, write, admin)."""
    row = _SECRET_ROWS.get(access)
    if trust not in set(Trust) or row is None:
        return Capability(Verdict.DENY, None, "There is no such trust level or kind of secret.")
    cell = MATRIX[row][Trust(trust)]
    return Capability(cell.verdict, cell.risk, _sentence(row, Trust(trust), cell))


def _row(effect: str, environment: str, tier: int, listed: bool) -> Row | None:
    if effect == "read":
        return {1: Row.READ_ORDINARY, 2: Row.READ_ORDINARY, 3: Row.READ_TIER_3, 4: Row.READ_TIER_4}.get(tier)
    if effect == "write":
        # Unknown environments count as production: only the two named ones may be treated lightly.
        return Row.WRITE_INTERNAL if environment in {"development", "staging"} else Row.WRITE_PRODUCTION
    if effect in _DESTRUCTIVE_EFFECTS:
        return Row.DESTRUCTIVE
    if effect == "egress":
        return Row.EGRESS_LISTED if listed else Row.EGRESS_UNLISTED
    return None


_SAYS = {
    Verdict.ALLOW: "is allowed",
    Verdict.GATE: "asks a person first",
    Verdict.DENY: "is denied",
}


def _sentence(row: Row, level: Trust, cell: Cell) -> str:
    extra = f" ({cell.note})" if cell.note else ""
    return f"{row.value}: {_SAYS[cell.verdict]} at trust level {level.value}{extra}."
