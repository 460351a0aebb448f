"""What can be stored and shown to a person: texts and values that are exact, and not too large."""

from typing import Any

from approvals.digest import ActionFacts, action_digest, exact_bytes
from approvals.errors import PayloadRefused
from provenance.canonical import NotCanonical
from provenance.errors import Invalid

LONGEST_REASON = 2_000
LARGEST_JSON_BYTES = 64 * 1024


def check_text(name: str, value: str, longest: int, *, needed: bool = False) -> None:
    """Raise `Invalid` for a text that is too long, cannot be stored, or is empty and `needed`."""
    if needed and not value.strip():
        raise Invalid(f"{name} is empty.", errors=[{"path": name, "message": "This is needed."}])
    if len(value) > longest:
        message = f"At most {longest} characters; this has {len(value)}."
        raise Invalid(f"{name} is too long. {message}", errors=[{"path": name, "message": message}])
    check_storable(name, value)


def check_storable(name: str, value: Any) -> None:
    """Raise `Invalid` for what neither the database nor the log can hold exactly, and for what is too large."""
    try:
        size = len(exact_bytes(value))
    except NotCanonical as error:
        raise Invalid(f"{name} cannot be stored: {error}.", errors=[{"path": name, "message": f"{error}."}]) from error
    if size > LARGEST_JSON_BYTES:
        raise Invalid(f"{name} has {size} bytes; at most {LARGEST_JSON_BYTES} are shown to a person.")


def digest_of(facts: ActionFacts, payload: dict[str, Any]) -> str:
    """The digest that binds an approval to this payload. Raises `PayloadRefused` for what cannot be bound exactly."""
    try:
        if len(exact_bytes(payload)) > LARGEST_JSON_BYTES:
            raise PayloadRefused([{"path": "", "message": f"It is larger than {LARGEST_JSON_BYTES} bytes."}])
        return action_digest(facts, payload)
    except NotCanonical as error:
        raise PayloadRefused([{"path": "", "message": f"It cannot be bound to an approval: {error}."}]) from error
