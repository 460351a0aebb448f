"""Delivery tickets: what a worker shows when it brings events for a receiver, or a digest for its readers.

Like a run token, a ticket says for what something is brought and never that it may go: the gateway looks at the record
and at the fence again. It names no address; that stands in the record alone (T02).
"""

import time
from dataclasses import asdict, dataclass
from uuid import UUID

from django.core import signing

from provenance.errors import Unauthenticated

SALT = "provenance.gateway.delivery-ticket.v1"
LIFETIME_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """For which receiver (`sink`) or digest (`digest`) of which workspace, and under which fence."""

    purpose: str
    workspace_id: UUID
    subject_id: UUID
    fence: int


def mint(ticket: Ticket, key: str) -> str:
    """A signed ticket, good for two minutes."""
    body = {name: str(value) if isinstance(value, UUID) else value for name, value in asdict(ticket).items()}
    return signing.Signer(key=key, salt=SALT).sign_object({**body, "expires_at": int(time.time()) + LIFETIME_SECONDS})


def check(text: str, key: str) -> Ticket:
    """What a ticket says, or `Unauthenticated` when it is not ours, damaged or expired."""
    try:
        body = signing.Signer(key=key, salt=SALT).unsign_object(text)
        left = int(body.pop("expires_at")) - time.time()
        ticket = Ticket(
            purpose=str(body.pop("purpose")),
            workspace_id=UUID(body.pop("workspace_id")),
            subject_id=UUID(body.pop("subject_id")),
            fence=int(body.pop("fence")),
        )
    except (signing.BadSignature, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unauthenticated("The delivery ticket is not valid.") from error
    # Whoever holds the key may mint what `mint` does not: one that lives long is none of ours.
    if body or not 0 <= left <= 2 * LIFETIME_SECONDS:
        raise Unauthenticated("The delivery ticket is not valid any more.")
    return ticket
