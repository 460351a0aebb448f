"""Every write about workspaces, people, their roles, and halts."""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connection, transaction
from django.utils import timezone

from audit.loading import demand_as_signed
from audit.services import record
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.db import enter, scope, service, workspace_of
from provenance.errors import Invalid, NotFound, PermissionDenied
from provenance.ids import uuid7
from provenance.permissions import Permission
from provenance.reasons import LONGEST_REASON
from workspaces import departures, lookups, scopes
from workspaces.administrators import demand_another, locked_administrators, not_oneself
from workspaces.errors import (
    AlreadyMember,
    HaltAlreadyEngaged,
    HaltNotEngaged,
    InvitationClosed,
    PasswordRefused,
    SetupClosed,
    SlugTaken,
)
from workspaces.models import (
    ENVIRONMENT_NAMES,
    HALT_MODES,
    SCOPE_KINDS,
    Control,
    Environment,
    Invitation,
    Membership,
    User,
    Workspace,
)
from workspaces.roles import Role
from workspaces.setup_token import SetupToken

INVITATION_DAYS = 7

# Names of advisory locks, held to the end of a transaction.
_FIRST_ADMINISTRATOR_LOCK = 0x70726F7601


# --- Workspaces ------------------------------------------------------------------------------------------------------


def create_workspace(*, actor: Actor, slug: str, name: str) -> Workspace:
    """Make a workspace with its three environments, in a scope of its own.

    Only the platform itself does this (set-up, seeding, a host command): a member of one workspace makes no other.
    """
    actor.require(Permission.WORKSPACE_WRITE)
    _only_the_system(actor, "Workspaces are made on the host.")
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", slug):
        message = "Use 1 to 40 lower-case letters, digits and hyphens, with a letter or digit at both ends."
        raise Invalid(f"{slug[:64]!r} cannot be a short name.", errors=[{"path": "slug", "message": message}])
    name = line(name, "name", 200)
    if lookups.workspace_of_slug(slug):
        raise SlugTaken
    workspace_id = uuid7()
    with enter(workspace_id):
        inside = replace(actor, workspace_id=workspace_id)
        workspace = Workspace.objects.create(id=workspace_id, workspace_id=workspace_id, slug=slug, name=name)
        record(actor=inside, event=Event.WORKSPACE_CREATED, target=workspace, detail={"slug": slug, "name": name})
        for environment_name in ENVIRONMENT_NAMES:
            environment = Environment.objects.create(
                workspace_id=workspace_id, name=environment_name, protected=environment_name == "production"
            )
            record(
                actor=inside,
                event=Event.ENVIRONMENT_CREATED,
                target=environment,
                detail={"name": environment_name, "protected": environment.protected},
            )
    return workspace


# --- People ----------------------------------------------------------------------------------------------------------


@service
def create_user(*, actor: Actor, email: str, name: str, password: str) -> User:
    """Make an account without a membership. For the platform itself; people join by invitation."""
    actor.require(Permission.MEMBERS_WRITE)
    _only_the_system(actor, "People join by invitation.")
    return _create_user(actor=actor, email=email, name=name, password=password)


@service
def add_member(*, actor: Actor, user_id: UUID, roles: Iterable[Role | str]) -> Membership:
    """Make an existing person a member of the actor's workspace, or bring a removed one back with these roles."""
    actor.require(Permission.MEMBERS_WRITE)
    if not User.objects.filter(pk=user_id, is_active=True).exists():
        raise NotFound("There is no such person.")
    return _add_member(actor=actor, user_id=user_id, roles=_role_names(roles))


@service
def invite(
    *, actor: Actor, email: str, roles: Iterable[Role | str], days: int = INVITATION_DAYS
) -> tuple[Invitation, str]:
    """Invite an address to the actor's workspace. Gives the invitation and its token, which is shown once and not stored."""
    actor.require(Permission.MEMBERS_WRITE)
    email = _email(email)
    names = _role_names(roles)
    if not 1 <= days <= 30:
        raise Invalid("An invitation is good for 1 to 30 days.", errors=[{"path": "days", "message": "1 to 30"}])
    token = secrets.token_urlsafe(32)
    now = timezone.now()
    invitation = Invitation.objects.create(
        workspace_id=workspace_of(actor),
        email=email,
        roles=names,
        token_digest=token_digest(token),
        invited_by=UUID(actor.id) if actor.kind is ActorKind.USER else None,
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    record(actor=actor, event=Event.MEMBER_INVITED, target=invitation, detail={"email": email, "roles": names})
    return invitation, token


def accept_invitation(
    *, token: str, user: User | None, name: str = "", password: str = "", request_id: str = "", ip: str = ""
) -> User:
    """Join the workspace of an invitation, once.

    `user` is the signed-in person, whose address must be the invited one; without one, a new account is made with
    `name` and `password`. An address that has an account already must sign in first: an invitation is no way to reset
    somebody's password. Raises `RowAltered` for one that is not what the log says.
    """
    found = lookups.invitation_of_token(token_digest(token))
    if found is None:
        raise InvitationClosed
    workspace_id, invitation_id = found
    with enter(workspace_id):
        invitation: Invitation = (
            Invitation.objects.for_workspace(workspace_id).select_for_update().get(pk=invitation_id)
        )
        # It gives roles: one that somebody slipped in or edited past the platform gives none (T06).
        demand_as_signed(invitation)
        now = timezone.now()
        if not invitation.is_open(now):
            raise InvitationClosed
        actor = _invited_actor(invitation, user, request_id=request_id, ip=ip)
        if user is None:
            user = _create_user(
                actor=replace(actor, workspace_id=None),
                email=invitation.email,
                name=name,
                password=password,
                user_id=UUID(actor.id),
            )
        invitation.accepted_at = now
        invitation.save(update_fields=["accepted_at"])
        record(actor=actor, event=Event.INVITATION_ACCEPTED, target=invitation)
        _add_member(actor=actor, user_id=user.pk, roles=invitation.roles)
    return user


@service
def create_first_administrator(
    *,
    token: str,
    email: str,
    name: str,
    password: str,
    workspace_slug: str,
    workspace_name: str,
    request_id: str = "",
    ip: str = "",
) -> User:
    """Make the first account and its workspace, on an installation that has neither, for whoever has the host's token."""
    if not SetupToken.locate().matches(token):
        raise SetupClosed
    with connection.cursor() as cursor:
        # Two people with the same printed address at the same moment: the second waits, then finds an account.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_FIRST_ADMINISTRATOR_LOCK])
    if User.objects.exists():
        raise SetupClosed
    actor = replace(
        Actor.system("setup", None, {Permission.WORKSPACE_WRITE, Permission.MEMBERS_WRITE}),
        request_id=request_id,
        ip=ip,
    )
    user = _create_user(actor=actor, email=email, name=name, password=password)
    workspace = create_workspace(actor=actor, slug=workspace_slug, name=workspace_name)
    with scope(workspace.pk):
        _add_member(actor=replace(actor, workspace_id=workspace.pk), user_id=user.pk, roles=[Role.ADMIN.value])
    transaction.on_commit(SetupToken.locate().discard)
    return user


@service
def change_roles(*, actor: Actor, user_id: UUID, roles: Iterable[Role | str]) -> Membership:
    """Give a member exactly these roles. The last administrator keeps the role, and nobody changes their own."""
    actor.require(Permission.MEMBERS_WRITE)
    names = _role_names(roles)
    administrators = locked_administrators(actor)
    membership = _locked_membership(actor, user_id)
    demand_as_signed(membership)
    not_oneself(actor, user_id)
    before = list(membership.roles)
    if Role.ADMIN in before and Role.ADMIN not in names:
        demand_another(administrators, actor, membership)
    membership.roles = names
    membership.save(update_fields=["roles"])
    record(actor=actor, event=Event.MEMBER_ROLE_CHANGED, target=membership, detail={"before": before, "after": names})
    return membership


@service
def remove_member(*, actor: Actor, user_id: UUID, reason: str) -> Membership:
    """Take all rights in the workspace away, at once: sessions and keys of the person find no membership any more."""
    actor.require(Permission.MEMBERS_WRITE)
    administrators = locked_administrators(actor)
    membership = _locked_membership(actor, user_id)
    not_oneself(actor, user_id)
    if Role.ADMIN in membership.roles:
        demand_another(administrators, actor, membership)
    membership.removed_at = timezone.now()
    membership.save(update_fields=["removed_at"])
    record(actor=actor, event=Event.MEMBER_REMOVED, target=membership, reason=line(reason, "reason", LONGEST_REASON))
    departures.of_member(actor, user_id)
    return membership


@service
def set_theme(*, actor: Actor, theme: str) -> None:
    """Keep how a person wants their pages to look: `light`, `dark`, or "" for what their system says."""
    if theme not in {"", "light", "dark"}:
        raise Invalid("The theme is light, dark or that of the system.")
    user = User.objects.select_for_update().get(pk=actor.id)
    if user.theme != theme:
        user.theme = theme
        user.save(update_fields=["theme"])
        record(actor=replace(actor, workspace_id=None), event=Event.USER_UPDATED, target=user)


# --- Halts -----------------------------------------------------------------------------------------------------------


@service
def engage_halt(*, actor: Actor, scope_kind: str, scope_id: str, mode: str = "pause", reason: str) -> Control:
    """Stop a scope: from now on the engine, the gateway, its model proxy and the vault start nothing in it.

    `scope_id` is an id, a public id, or the name that people use (`ledger-ops`, `erp.getVendor`, a key's prefix); the
    halt keeps the one id behind it. What does not exist here is `Invalid`: a typo must not look like a halt. Members need `halts:engage`; a key with `gateway:write` may engage too, because stopping must be easy. `mode` says
    what happens to runs in flight: `pause` keeps them, `terminate` ends them.
    """
    if not actor.may(Permission.GATEWAY_WRITE):
        actor.require(Permission.HALTS_ENGAGE)
    _halt_arguments(scope_kind, scope_id, mode)
    reason = line(reason, "reason", LONGEST_REASON)
    workspace_id, named = workspace_of(actor), scope_id
    scope_id = _existing_scope(workspace_id, scope_kind, named)
    _lock_control(workspace_id)
    halts = Control.objects.for_actor(actor)
    if halts.filter(scope_kind=scope_kind, scope_id=scope_id, released_at=None).exists():
        raise HaltAlreadyEngaged
    control = Control.objects.create(
        workspace_id=workspace_id,
        scope_kind=scope_kind,
        scope_id=scope_id,
        mode=mode,
        epoch=_next_epoch(actor),
        by=actor.id,
        reason=reason,
        engaged_at=timezone.now(),
    )
    record(
        actor=actor,
        event=Event.HALT_ENGAGED,
        target=control,
        reason=reason,
        detail={"scope_kind": scope_kind, "scope_id": scope_id, "named": named, "mode": mode},
    )
    return control


@service
def release_halt(*, actor: Actor, control_id: UUID, reason: str) -> Control:
    """Let a halted scope work again. Only people release."""
    actor.require(Permission.HALTS_RELEASE)
    if actor.kind is not ActorKind.USER:
        raise PermissionDenied(Permission.HALTS_RELEASE, "Only a person releases a halt.")
    _lock_control(workspace_of(actor))
    control = Control.locked(actor, pk=control_id)
    if control is None:
        raise NotFound("There is no such halt here.")
    if control.released_at is not None:
        raise HaltNotEngaged
    control.released_at = timezone.now()
    control.epoch = _next_epoch(actor)
    control.save(update_fields=["released_at", "epoch"])
    record(actor=actor, event=Event.HALT_RELEASED, target=control, reason=line(reason, "reason", LONGEST_REASON))
    return control


# --- Steps of the above ----------------------------------------------------------------------------------------------


def token_digest(token: str) -> str:
    """What is stored of an invitation's token. 256 random bits need no slow hash."""
    return hashlib.sha256(b"provenance-invitation-v1\n" + token.encode("utf-8", "surrogatepass")).hexdigest()


def _create_user(*, actor: Actor, email: str, name: str, password: str, user_id: UUID | None = None) -> User:
    email = _email(email)
    if User.objects.filter(email__iexact=email).exists():
        raise Invalid("This address has an account already.", errors=[{"path": "email", "message": "has an account"}])
    user = User(id=user_id or uuid7(), email=email, name=line(name, "name", 200))
    try:
        validate_password(password, user)
    except ValidationError as error:
        errors = [{"path": "password", "message": message} for message in error.messages]
        raise PasswordRefused(" ".join(error.messages), errors=errors) from error
    user.set_password(password)
    user.save(force_insert=True)
    record(actor=actor, event=Event.USER_CREATED, target=user, detail={"email": email, "name": user.name})
    return user


def _add_member(*, actor: Actor, user_id: UUID, roles: list[str]) -> Membership:
    known = Membership.locked(actor, user_id=user_id)
    if known and known.is_active:
        raise AlreadyMember
    if known and known.erased_at:
        raise NotFound("This person was erased here. Somebody who comes back joins with a new account.")
    if known:
        known.removed_at, known.roles = None, roles
        known.save(update_fields=["removed_at", "roles"])
        membership = known
    else:
        membership = Membership.objects.create(workspace_id=workspace_of(actor), user_id=user_id, roles=roles)
    record(actor=actor, event=Event.MEMBER_ADDED, target=membership, detail={"user_id": str(user_id), "roles": roles})
    return membership


def _invited_actor(invitation: Invitation, user: User | None, *, request_id: str, ip: str) -> Actor:
    if user is not None and user.email.casefold() != invitation.email.casefold():
        raise PermissionDenied(message="This invitation is for another address than the one you are signed in with.")
    return Actor(
        kind=ActorKind.USER,
        id=str(user.pk if user else uuid7()),
        label=user.name if user else invitation.email,
        workspace_id=invitation.workspace_id,
        via="invitation",
        request_id=request_id,
        ip=ip,
    )


def _only_the_system(actor: Actor, message: str) -> None:
    if actor.kind is not ActorKind.SYSTEM:
        raise PermissionDenied(message=message)


def _locked_membership(actor: Actor, user_id: UUID) -> Membership:
    membership = Membership.locked(actor, user_id=user_id)
    if membership is None or not membership.is_active:
        raise NotFound("There is no such member here.")
    return membership


def _halt_arguments(scope_kind: str, scope_id: str, mode: str) -> None:
    errors = []
    if scope_kind not in SCOPE_KINDS:
        errors.append({"path": "scope_kind", "message": f"One of {', '.join(SCOPE_KINDS)}."})
    if mode not in HALT_MODES:
        errors.append({"path": "mode", "message": f"One of {', '.join(HALT_MODES)}."})
    if not 1 <= len(scope_id) <= 200:
        errors.append({"path": "scope_id", "message": "What to stop: 1 to 200 characters."})
    if errors:
        raise Invalid("This halt names nothing that can be stopped.", errors=errors)


def _existing_scope(workspace_id: UUID, kind: str, name: str) -> str:
    found = scopes.resolved(workspace_id, kind, name)
    if found is None:
        message = f"There is no {kind} {name[:64]!r} here."
        raise Invalid(f"{message} Nothing was halted.", errors=[{"path": "scope_id", "message": message}])
    return found


def _lock_control(workspace_id: UUID) -> None:
    """One change of control at a time in a workspace, so that epochs are given out in commit order."""
    Workspace.objects.for_workspace(workspace_id).select_for_update().get()


def _next_epoch(actor: Actor) -> int:
    newest = Control.objects.for_actor(actor).order_by("-epoch").values_list("epoch", flat=True).first()
    return (newest or 0) + 1


def _role_names(roles: Iterable[Role | str]) -> list[str]:
    names = sorted({str(role) for role in roles})
    errors = [{"path": "roles", "message": f"{name[:64]!r} is not a role."} for name in names if name not in list(Role)]
    if errors or not names:
        raise Invalid(f"A member has at least one of the roles {', '.join(Role)}.", errors=errors)
    return names


def _email(text: str) -> str:
    text = text.strip()
    try:
        validate_email(text)
    except ValidationError as error:
        raise Invalid(
            "This is not an e-mail address.", errors=[{"path": "email", "message": "not an address"}]
        ) from error
    return text.lower()


def line(text: str, field: str, longest: int) -> str:
    """One line of text without its outer space. Raises `Invalid` when it is empty, too long or has control characters."""
    text = text.strip()
    if not text or len(text) > longest or not text.isprintable():
        message = f"1 to {longest} characters, on one line."
        raise Invalid(f"{field} is missing or not usable.", errors=[{"path": field, "message": message}])
    return text
