"""What must be known before a workspace is: named definer functions that return ids and nothing else (T09)."""

from typing import Any
from uuid import UUID

from django.db import connection

from provenance.db import ask


def workspace_of_slug(slug: str) -> UUID | None:
    """The workspace with this short name."""
    row = _one("SELECT workspace_id FROM workspaces_of_slug(%s)", [slug])
    return row[0] if row else None


def membership_of(user_id: UUID, slug: str) -> tuple[UUID, UUID] | None:
    """Workspace and membership of a person in the workspace with this short name, unless they left or never belonged."""
    return _one("SELECT workspace_id, membership_id FROM workspaces_membership_of_slug(%s, %s)", [user_id, slug])


def memberships_of(user_id: UUID) -> list[UUID]:
    """The workspaces a person belongs to now."""
    found = ask("SELECT workspace_id FROM workspaces_memberships_of(%s)", [user_id])
    return [workspace_id for (workspace_id,) in found]


def invitation_of_token(digest: str) -> tuple[UUID, UUID] | None:
    """Workspace and invitation for the digest of a token."""
    return _one("SELECT workspace_id, invitation_id FROM workspaces_invitation_of_token(%s)", [digest])


def _one(sql: str, parameters: list[Any]) -> tuple[UUID, UUID] | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[UUID, UUID] | None = cursor.fetchone()
    return row
