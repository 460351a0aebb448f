"""How asking the log to keep or to let go can fail."""

from provenance.errors import Conflict, NotFound


class HoldEngaged(Conflict):
    """There is such a hold already."""

    code = "hold_engaged"


class HoldNotEngaged(Conflict):
    """This hold was released already."""

    code = "hold_not_engaged"


class NeedsSecondPerson(Conflict):
    """A hold is released by two people: one asks for it, and another one agrees."""

    code = "needs_second_person"


class EventExpired(NotFound):
    """This event left the log with its month, after seven years. Its leaf stays, so proofs about others go on holding."""

    code = "event_expired"
    title = "Body expired"
