"""Risk classes of events, tools and approvals: low < medium < high < critical."""

from enum import StrEnum


class Risk(StrEnum):
    """A risk class. Ordered by severity, so `max()` of several is the worst."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def severity(self) -> int:
        """0 for low up to 3 for critical."""
        return list(Risk).index(self)

    # All four, because text already has an order of its own in which "critical" comes before "high".

    def __lt__(self, other: object) -> bool:
        return self.severity < other.severity if isinstance(other, Risk) else NotImplemented

    def __le__(self, other: object) -> bool:
        return self.severity <= other.severity if isinstance(other, Risk) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return self.severity > other.severity if isinstance(other, Risk) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return self.severity >= other.severity if isinstance(other, Risk) else NotImplemented
