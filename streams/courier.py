"""How a worker has something sent: it brings the bytes to the gateway, which knows where they go (docs/decisions)."""

from typing import Any
from uuid import UUID

import httpx2
from django.conf import settings

from gateway.deliveries import tickets
from gateway.deliveries.contract import DELIVERY_SECONDS
from gateway.deliveries.tickets import Ticket
from workflows.gateway_client import http_client

_WAIT_SECONDS = DELIVERY_SECONDS + 5.0


class NotDelivered(Exception):
    """Nobody confirmed it. The text says why, in words for an administrator."""


class Fenced(Exception):
    """Another worker has taken over, or the record no longer allows it; there is nothing to tell."""


def bring(ticket: Ticket, body: dict[str, str]) -> None:
    """Have it sent, and return once the receiver has confirmed. Raises `NotDelivered` or `Fenced`."""
    try:
        response = http_client().post(
            f"{settings.GATEWAY_URL}/call/deliver/{ticket.purpose}",
            json=body,
            headers={"Authorization": f"Bearer {tickets.mint(ticket, settings.CALL_TOKEN)}"},
            timeout=_WAIT_SECONDS,
        )
        answer: Any = response.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise NotDelivered(f"The gateway did not answer ({type(error).__name__}).") from error
    if response.status_code == httpx2.codes.FORBIDDEN:
        raise Fenced
    if response.status_code != httpx2.codes.OK or not isinstance(answer, dict):
        raise NotDelivered(f"The gateway refused it ({response.status_code}).")
    if answer.get("confirmed") is not True:
        raise NotDelivered(str(answer.get("problem") or "The receiver did not confirm."))


def ticket(purpose: str, workspace_id: UUID, subject_id: UUID, fence: int) -> Ticket:
    """What this worker shows for it."""
    return Ticket(purpose=purpose, workspace_id=workspace_id, subject_id=subject_id, fence=fence)
