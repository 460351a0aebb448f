"""django-allauth's sign-in with our rules: by invitation only, and every write of it with its event.

This is the one place where the library's own writes meet the log. It writes nothing by signals: `login`, `logout`,
`set_password` and the renewal of an old hash are the only ways it changes an account, and each is overridden here.
"""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import verify_password
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from audit.attestation import RowAltered
from audit.loading import attested
from audit.services import record, record_altered, record_anonymous
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from workspaces.models import User


class InvitationOnlyAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """What allauth asks the project about."""

    def is_open_for_signup(self, _request: HttpRequest) -> bool:
        """Never: people join by invitation (T24)."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address that `RequestFacts` found; rate limits count by it."""
        return getattr(request, "client_ip", "") or "unknown"

    def is_safe_url(self, url: str | None) -> bool:
        """Only paths of our own: an absolute address, even to an allowed host, may be another service's port."""
        return bool(url) and str(url).startswith("/") and url_has_allowed_host_and_scheme(str(url), allowed_hosts=None)

    def authenticate(self, request: HttpRequest, **credentials: Any) -> AbstractBaseUser | None:
        """Check the credentials against an account that is what the log says (T06); renew a hash of older parameters."""
        user: AbstractBaseUser | None = super().authenticate(request, **credentials)
        if isinstance(user, User) and not is_as_signed(user):
            return None
        password = credentials.get("password")
        if isinstance(user, User) and password and verify_password(password, user.password)[1]:
            with transaction.atomic():
                user.set_password(password)
                user.save(update_fields=["password"])
                record(
                    actor=signed_in_actor(user, request),
                    event=Event.USER_UPDATED,
                    target=user,
                    reason="The stored hash of the password was renewed.",
                )
        return user

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Count the failure per source and minute (T26). Whether the address has an account stays unsaid."""
        super().authentication_failed(request, **credentials)
        record_anonymous(
            event=Event.AUTH_LOGIN_FAILED,
            source=self.get_client_ip(request),
            reason="The address and the password do not belong together.",
        )

    def login(self, request: HttpRequest, user: AbstractBaseUser) -> None:
        """Start a new session and write down that it started."""
        super().login(request, user)
        if isinstance(user, User):
            with transaction.atomic():
                user.last_sign_in_at = timezone.now()
                user.save(update_fields=["last_sign_in_at"])
                record(actor=signed_in_actor(user, request), event=Event.AUTH_LOGIN_SUCCEEDED, target=user)

    def logout(self, request: HttpRequest) -> None:
        """End the session and write down that it ended."""
        user = request.user
        if isinstance(user, User):
            record(actor=signed_in_actor(user, request), event=Event.AUTH_LOGGED_OUT, target=user)
        super().logout(request)

    def set_password(self, user: AbstractBaseUser, password: str) -> None:
        """Store a new password; other sessions of the person end."""
        if not isinstance(user, User):
            raise TypeError(f"{type(user).__name__} is not an account of ours.")
        with transaction.atomic():
            user.set_password(password)
            user.save(update_fields=["password"])
            record(actor=signed_in_actor(user, context.request), event=Event.USER_PASSWORD_CHANGED, target=user)

    def respond_user_inactive(self, request: HttpRequest, _user: AbstractBaseUser) -> HttpResponse:
        """Back to sign-in, without a word on why: only the person's administrator should know."""
        self.authentication_failed(request)
        return redirect("account_login")


def is_as_signed(user: User) -> bool:
    """Whether the account is what its newest event signed; one that is not is told.

    A database administrator who gives somebody another person's hash, or their address, signs nobody in.
    """
    try:
        held = attested(User, "row.id = %(id)s", {"id": user.pk}, newest="newest_account_changes")
    except RowAltered as found:
        record_altered(found.altered, by="sign-in")
        return False
    return held is not None and held.password == user.password and held.email == user.email


def signed_in_actor(user: User, request: HttpRequest | None) -> Actor:
    """The person themselves, in matters of their account: an actor of no workspace and without permissions."""
    return Actor(
        kind=ActorKind.USER,
        id=str(user.pk),
        label=user.name,
        workspace_id=None,
        via="session",
        request_id=getattr(request, "request_id", ""),
        ip=getattr(request, "client_ip", ""),
    )
