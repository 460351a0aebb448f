"""How asking the log to keep or to let go can fail."""

from typing import Self

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


class DamagedLog(Conflict, LookupError):
    """What stands in the tables of the log is not what was sealed. Run `./manage.py fsck` on the host."""

    code = "damaged_log"
    title = "The log is damaged"

    @classmethod
    def by(cls, what: str) -> Self:
        """What is damaged, and what to do."""
        return cls(f"{what}. Run `./manage.py fsck` on the host: it names everything that is damaged.")


class EventExpired(NotFound):
    """This event left the log with its month, after seven years. Its leaf stays, so proofs about others go on holding."""

    code = "event_expired"
    title = "Body expired"
