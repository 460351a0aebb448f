"""Browsers and programs for tests: a signed-in client, a client with a key."""

from typing import Any
from uuid import UUID

from django.test import Client

from provenance.actor import Actor
from tests import factories
from workspaces.models import User


def browser(actor: Actor | None = None, *, enforce_csrf_checks: bool = False) -> Client:
    """A browser, signed in as this person."""
    client = Client(enforce_csrf_checks=enforce_csrf_checks)
    if actor is not None:
        client.force_login(User.objects.get(pk=UUID(actor.id)))
    return client


def program(key: str, **headers: str) -> Client:
    """A program that sends this key with each request."""
    return Client(headers={"X-API-Key": key, **headers})


def sign_in(client: Client, email: str, password: str = factories.PASSWORD, **data: str) -> Any:
    """Send the form of the entrance; what it answers."""
    return client.post("/sign-in/", {"login": email, "password": password, **data})
