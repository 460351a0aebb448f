"""Reads about workspaces and their people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, Q
from django.utils import timezone

from audit.loading import attested
from audit.models import AuditEvent
from audit.names import Thing, newest
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import enter
from provenance.errors import NotFound
from provenance.pages import WorkspaceRef
from provenance.permissions import Permission
from workspaces import lookups
from workspaces.models import Control, Environment, Invitation, Membership, User, Workspace


@dataclass(frozen=True, slots=True)
class Member:
    """One member as lists show them."""

    user_id: UUID
    name: str
    email: str
    roles: list[str]
    since: datetime


def halts(actor: Actor) -> Any:
    """Every halt of the workspace, engaged and released."""
    actor.require(Permission.GATEWAY_READ)
    return Control.objects.for_actor(actor)


def workspace_ref(workspace_id: UUID) -> WorkspaceRef:
    """The workspace in scope, as pages show it. Its label is its most protected environment."""
    environments = Environment.objects.filter(workspace_id=OuterRef("workspace_id")).order_by("-protected", "name")
    workspace = (
        Workspace.objects.for_workspace(workspace_id)
        .annotate(environments=ArraySubquery(environments.values("name")))
        .first()
    )
    if workspace is None:
        raise NotFound("There is no such workspace.")
    return WorkspaceRef(
        id=workspace.pk,
        slug=workspace.slug,
        name=workspace.name,
        environment_label=workspace.environments[0] if workspace.environments else "",
    )


def workspaces_of(user_id: UUID) -> list[WorkspaceRef]:
    """The workspaces a person belongs to, by name. Enters each in turn: no query sees two of them."""
    found = []
    for workspace_id in lookups.memberships_of(user_id):
        with enter(workspace_id):
            found.append(workspace_ref(workspace_id))
    return sorted(found, key=lambda workspace: workspace.name.casefold())


def active_membership(workspace_id: UUID, user_id: UUID) -> Membership | None:
    """The membership of a person in the workspace in scope, unless they left.

    Raises `RowAltered` when it is not what the log last said of it: nobody gets rights from a row that was changed past
    the platform (T06).
    """
    where = "row.workspace_id = %(workspace)s AND row.user_id = %(user)s AND row.removed_at IS NULL"
    return attested(Membership, where, {"workspace": workspace_id, "user": user_id})


def roles_given_at(workspace_id: UUID, user_id: UUID) -> datetime | None:
    """When a member of the workspace in scope was last given roles: joined, came back, or had them changed.

    None for somebody who is no member. The log says so, because its times cannot be set back; the row knows only of
    the first day, which counts when the log no longer goes back that far.
    """
    membership = active_membership(workspace_id, user_id)
    if membership is None:
        return None
    told = AuditEvent.objects.for_workspace(workspace_id).filter(
        object_id=str(membership.pk), action__in=[Event.MEMBER_ADDED, Event.MEMBER_ROLE_CHANGED]
    )
    last = told.order_by("-id").first()
    return datetime.fromisoformat(last.signed["at"]) if last else membership.created_at


def members(actor: Actor) -> list[Member]:
    """The members of the actor's workspace, by name. Two queries, whatever their number."""
    actor.require(Permission.MEMBERS_READ)
    memberships = list(Membership.objects.for_actor(actor).filter(removed_at=None))
    people = User.objects.in_bulk([membership.user_id for membership in memberships])
    shown = [
        Member(person.pk, person.name, person.email, sorted(membership.roles), membership.created_at)
        for membership in memberships
        if (person := people.get(membership.user_id))
    ]
    return sorted(shown, key=lambda member: member.name.casefold())


def former_members(actor: Actor) -> list[Member]:
    """Who was removed and is not erased, by name."""
    actor.require(Permission.MEMBERS_READ)
    memberships = list(Membership.objects.for_actor(actor).filter(removed_at__isnull=False, erased_at=None))
    people = User.objects.in_bulk([membership.user_id for membership in memberships])
    shown = [
        Member(person.pk, person.name, person.email, [], membership.created_at)
        for membership in memberships
        if (person := people.get(membership.user_id))
    ]
    return sorted(shown, key=lambda member: member.name.casefold())


def members_called(actor: Actor, text: str, ids: Sequence[UUID]) -> list[Thing]:
    """For searches of the log: members and former ones whose name or address holds the text, or these. Nobody who was erased."""
    if not actor.may(Permission.MEMBERS_READ):
        return []
    memberships = Membership.objects.for_actor(actor).filter(erased_at=None)
    by_person = dict((memberships.filter(user_id__in=ids) if ids else newest(memberships)).values_list("user_id", "pk"))
    people = User.objects.filter(pk__in=by_person)
    if not ids:
        people = people.filter(Q(name__icontains=text) | Q(email__icontains=text))
    return [Thing("member", str(person.pk), person.name, (f"membership:{by_person[person.pk]}",)) for person in people]


def names_of_users(actor: Actor, ids: Sequence[UUID]) -> dict[UUID, str]:
    """For pages of the log: names of members and former ones, by the id of the person. Nobody who was erased."""
    if not actor.may(Permission.MEMBERS_READ):
        return {}
    memberships = Membership.objects.for_actor(actor).filter(user_id__in=ids, erased_at=None)
    return user_names(list(memberships.values_list("user_id", flat=True)))


def names_of_memberships(actor: Actor, ids: Sequence[UUID]) -> dict[UUID, str]:
    """The same by the id of the membership."""
    memberships = dict(Membership.objects.for_actor(actor).filter(pk__in=ids).values_list("pk", "user_id"))
    names = names_of_users(actor, list(memberships.values()))
    return {pk: names[user_id] for pk, user_id in memberships.items() if user_id in names}


def open_invitations(actor: Actor) -> list[Invitation]:
    """Invitations that can still be accepted, newest first."""
    actor.require(Permission.MEMBERS_READ)
    rows = Invitation.objects.for_actor(actor).filter(accepted_at=None, expires_at__gt=timezone.now())
    return list(rows.order_by("-pk"))


def user_names(user_ids: list[UUID]) -> dict[UUID, str]:
    """Names of people by id, for pages of the workspace in scope. Unknown ids are left out, and those erased here."""
    erased = Membership.objects.filter(user_id__in=user_ids, erased_at__isnull=False).values("user_id")
    return dict(User.objects.filter(pk__in=user_ids).exclude(pk__in=erased).values_list("pk", "name"))
