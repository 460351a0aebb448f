"""Ways to fail that belong to people and workspaces."""

from provenance.errors import Conflict, Invalid, NotFound, Unavailable


class SlugTaken(Conflict):
    """There is a workspace with this short name already."""

    code = "slug_taken"


class AlreadyMember(Conflict):
    """This person is a member already."""

    code = "already_member"


class LastAdministrator(Conflict):
    """This is the last administrator; give somebody else the role first."""

    code = "last_administrator"


class OwnRoles(Conflict):
    """Nobody changes their own roles; another administrator does that."""

    code = "own_roles"


class InvitationClosed(NotFound):
    """This invitation was used, has expired or never existed. Ask for a new one."""

    code = "invitation_closed"
    title = "Invitation not valid"


class SetupClosed(NotFound):
    """This set-up address is not valid. It works once, on a new installation."""

    code = "setup_closed"
    title = "Set-up address not valid"


class PasswordRefused(Invalid):
    """The password is too weak."""

    code = "password_refused"


class HaltAlreadyEngaged(Conflict):
    """This is halted already."""

    code = "halt_already_engaged"


class HaltNotEngaged(Conflict):
    """This halt was released already."""

    code = "halt_not_engaged"


class MemberActive(Conflict):
    """A key erases only who was removed before. A person removes and erases on the page of members."""

    code = "member_active"


class UnderLegalHold(Conflict):
    """Events of this person are under legal hold, so nothing was erased. Release the hold first."""

    code = "under_legal_hold"


class ErasureNotKept(Unavailable):
    """The erasure could not be noted outside the database, so nothing was erased. Is the data directory full or read-only?"""

    code = "erasure_not_kept"
