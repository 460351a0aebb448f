"""What the walls in Postgres refuse, as exceptions. Both halves matter: Django must see a database error, so that it
rolls back; the doors must see ours, so that they answer with the right status.
"""

from django.db import DatabaseError

from provenance.errors import ProvenanceError, StaleRevision

UNAUDITED = "PV001"
STALE = "PV002"
NO_WORKSPACE = "PV003"
NOT_ACCEPTED = "PV004"


class Refusal(ProvenanceError, DatabaseError):
    """The database refused this; nothing was stored."""


class UnauditedChange(Refusal):
    """A change without its event; nothing was stored."""

    code = "unaudited_change"
    title = "Not recorded"


class StaleRow(StaleRevision, DatabaseError):
    """Someone else changed this first; nothing of yours was stored."""


class NoWorkspaceInScope(Refusal):
    """Rows of a workspace were asked for outside of any workspace."""

    code = "no_workspace_in_scope"


class EventNotAccepted(Refusal):
    """The log does not accept this event: its key, its clock, its body or its columns are wrong."""

    code = "event_not_accepted"


BY_SQLSTATE: dict[str, type[ProvenanceError]] = {
    UNAUDITED: UnauditedChange,
    STALE: StaleRow,
    NO_WORKSPACE: NoWorkspaceInScope,
    NOT_ACCEPTED: EventNotAccepted,
}
