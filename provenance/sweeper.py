"""The registry of sweeps: what must happen by time even when nobody asks.

Floors register theirs in `plugs.py`; the one worker that leads calls them (`workflows.sweep`). A sweep looks at the
database's clock and does its work in small transactions of its own; it may be called twice and may come late.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType

Sweep = Callable[[datetime], object]

_sweeps: dict[str, Sweep] = {}


def register(name: str, sweep: Sweep) -> None:
    """Call `sweep(now)` about twice a second in the leading worker. `now` is the database's time."""
    _sweeps[name] = sweep


def registered() -> Mapping[str, Sweep]:
    """Every sweep by its name."""
    return MappingProxyType(_sweeps)
