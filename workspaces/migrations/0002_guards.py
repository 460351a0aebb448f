"""Row security, guards and rights of people, workspaces and halts, and the look-ups before a workspace is known."""

from django.db import migrations

from audit.guard import DefinerFunction, Grant, GuardTable, TenantTable
from audit.taxonomy import Event

_WORKSPACE_OF_SLUG = """
CREATE FUNCTION public.workspaces_of_slug(wanted text) RETURNS TABLE (workspace_id uuid)
LANGUAGE sql STABLE AS $$
    SELECT workspace.workspace_id FROM public.workspaces_workspace AS workspace WHERE workspace.slug = wanted
$$
"""

_MEMBERSHIP_OF_SLUG = """
CREATE FUNCTION public.workspaces_membership_of_slug(person uuid, wanted text)
RETURNS TABLE (workspace_id uuid, membership_id uuid)
LANGUAGE sql STABLE AS $$
    SELECT member.workspace_id, member.id
      FROM public.workspaces_workspace AS workspace
      JOIN public.workspaces_membership AS member ON member.workspace_id = workspace.workspace_id
     WHERE workspace.slug = wanted AND member.user_id = person AND member.removed_at IS NULL
$$
"""

_MEMBERSHIPS_OF = """
CREATE FUNCTION public.workspaces_memberships_of(person uuid) RETURNS TABLE (workspace_id uuid)
LANGUAGE sql STABLE AS $$
    SELECT member.workspace_id FROM public.workspaces_membership AS member
     WHERE member.user_id = person AND member.removed_at IS NULL
$$
"""

_INVITATION_BY_DIGEST = """
CREATE FUNCTION public.workspaces_invitation_of_token(wanted text) RETURNS TABLE (workspace_id uuid, invitation_id uuid)
LANGUAGE sql STABLE AS $$
    SELECT invitation.workspace_id, invitation.id FROM public.workspaces_invitation AS invitation
     WHERE invitation.token_digest = wanted AND invitation.accepted_at IS NULL
       AND invitation.expires_at > pg_catalog.now()
$$
"""

# For `readiness`, before any workspace is entered: which of these erasures this database does not have.
_NOT_ERASED = """
CREATE FUNCTION public.workspaces_not_erased(places uuid[], people uuid[]) RETURNS TABLE (workspace_id uuid, person uuid)
LANGUAGE sql STABLE AS $$
    SELECT member.workspace_id, member.user_id FROM unnest(places, people) AS wanted (place, person)
      JOIN public.workspaces_membership AS member
        ON member.workspace_id = wanted.place AND member.user_id = wanted.person
     WHERE member.erased_at IS NULL
$$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("workspaces", "0001_initial"),
        ("audit", "0002_walls"),
        ("account", "0009_emailaddress_unique_primary_email"),
        ("sessions", "0001_initial"),
    ]

    operations = [
        GuardTable(
            "workspaces_user",
            object_type="user",
            instance=True,
            events=[
                Event.USER_CREATED,
                Event.USER_UPDATED,
                Event.USER_PASSWORD_CHANGED,
                Event.AUTH_LOGIN_SUCCEEDED,
                Event.USER_DELETED,
            ],
        ),
        # Nobody deletes people: what they did refers to them. No rights for gateway and worker (T07).
        Grant("workspaces_user", web="select, insert, update"),
        # allauth asks this table on its way in; our accounts have their one address in the user's own row.
        Grant("account_emailaddress", web="select"),
        Grant("django_session", web="select, insert, update, delete"),
        TenantTable("workspaces_workspace"),
        GuardTable(
            "workspaces_workspace",
            object_type="workspace",
            events=[Event.WORKSPACE_CREATED, Event.WORKSPACE_SETTINGS_CHANGED],
        ),
        # UPDATE is what SELECT … FOR UPDATE needs: the row is the lock of the workspace's control.
        Grant("workspaces_workspace", web="select, insert, update", gateway="select", worker="select"),
        TenantTable("workspaces_environment"),
        GuardTable("workspaces_environment", object_type="environment", events=[Event.ENVIRONMENT_CREATED]),
        Grant("workspaces_environment", web="select, insert", gateway="select", worker="select"),
        TenantTable("workspaces_membership"),
        GuardTable(
            "workspaces_membership",
            object_type="membership",
            events=[Event.MEMBER_ADDED, Event.MEMBER_ROLE_CHANGED, Event.MEMBER_REMOVED, Event.MEMBER_ERASED],
        ),
        Grant("workspaces_membership", web="select, insert, update", gateway="select", worker="select"),
        TenantTable("workspaces_invitation"),
        GuardTable(
            "workspaces_invitation",
            object_type="invitation",
            events=[Event.MEMBER_INVITED, Event.INVITATION_ACCEPTED, Event.MEMBER_ERASED],
        ),
        Grant("workspaces_invitation", web="select, insert, update"),
        TenantTable("workspaces_control"),
        GuardTable("workspaces_control", object_type="control", events=[Event.HALT_ENGAGED, Event.HALT_RELEASED]),
        Grant("workspaces_control", web="select, insert, update", gateway="select", worker="select"),
        TenantTable("workspaces_blob"),
        Grant("workspaces_blob", web="select, insert", gateway="select, insert", worker="select, insert"),
        DefinerFunction("public.workspaces_of_slug(text)", _WORKSPACE_OF_SLUG, execute_by=["web", "sealer"]),
        DefinerFunction("public.workspaces_membership_of_slug(uuid, text)", _MEMBERSHIP_OF_SLUG, execute_by=["web"]),
        DefinerFunction("public.workspaces_memberships_of(uuid)", _MEMBERSHIPS_OF, execute_by=["web"]),
        DefinerFunction(
            "public.workspaces_not_erased(uuid[], uuid[])", _NOT_ERASED, execute_by=["web", "gateway", "worker"]
        ),
        DefinerFunction("public.workspaces_invitation_of_token(text)", _INVITATION_BY_DIGEST, execute_by=["web"]),
    ]
