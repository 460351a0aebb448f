"""Events as sentences, so that a chain of them reads as what somebody did and why (M128).

What happens on upper floors is told by upper floors: they register a teller when they start.
"""

from collections.abc import Callable

from audit.selectors import EventRow

Teller = Callable[[EventRow], str]

_tellers: dict[str, Teller] = {}


def register(name: str, teller: Teller) -> None:
    """Let an app tell its events: a sentence, or "" for what it does not know. Called in `plugs.py`."""
    _tellers[name] = teller


def told(row: EventRow) -> str:
    """What happened, for people."""
    return next((sentence for _, tell in sorted(_tellers.items()) if (sentence := tell(row))), "") or plain(row)


def plain(row: EventRow) -> str:
    """What the taxonomy says of such an event, what it was about, and who did it."""
    said = f" “{row.reason}”" if row.reason else ""
    return f"{row.event.sentence.removesuffix('.')}: {row.object_name}, by {row.actor_name}.{said}"
