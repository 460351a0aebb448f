"""What goes with a member who leaves: a port that floors above fill, so that nothing of theirs stays behind."""

from collections.abc import Callable
from uuid import UUID

from provenance.actor import Actor

Farewell = Callable[[Actor, UUID], object]

_farewells: dict[str, Farewell] = {}


def register(name: str, farewell: Farewell) -> None:
    """Call `farewell(actor, user_id)` in the transaction in which a person leaves the actor's workspace. For `plugs.py`."""
    _farewells[name] = farewell


def of_member(actor: Actor, user_id: UUID) -> None:
    """Let every floor take leave of the person."""
    for _name, farewell in sorted(_farewells.items()):
        farewell(actor, user_id)
