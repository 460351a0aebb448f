"""The ways a request or a decision fails. Each says what happened, whether anything changed, and what to do."""

from datetime import datetime

from approvals.rules import MINIMUM_REASON
from provenance.errors import Conflict, Invalid, PermissionDenied


class MayNotDecide(PermissionDenied):
    """You may not decide this request. Your decision was not recorded."""

    code = "may_not_decide"
    title = "Someone else decides"


class SeparationOfDuties(MayNotDecide):
    """You asked for this change, so someone else decides."""

    code = "separation_of_duties"


class TooNew(MayNotDecide):
    """You were given your roles too short a time ago to approve this. Your decision was not recorded."""

    code = "approver_too_new"
    title = "Not yet"


class NotOpen(Conflict):
    """The request is no longer open. Your decision was not recorded."""

    code = "approval_not_open"
    title = "No longer open"


class SlaPassed(NotOpen):
    """The time to decide this is over, so it can only be rejected. Your decision was not recorded."""

    code = "approval_sla_passed"
    title = "Out of time"

    def __init__(self, due_at: datetime) -> None:
        super().__init__(
            f"The time to decide this ended at {due_at:%H:%M} UTC on {due_at:%d %B %Y}. Nothing is approved by "
            "timeout: the request expires, and the run learns that it was not approved. Your decision was not recorded."
        )


class ShownElse(Conflict):
    """What you saw is not what is waiting now. Your decision was not recorded; read the request again."""

    code = "approval_shown_else"
    title = "Changed meanwhile"


class DecisionNotProven(Conflict):
    """The log does not prove that people decided this, so it counts for nothing. Tell your security lead."""

    code = "decision_not_proven"
    title = "Decision without proof"


class NotWithdrawable(Conflict):
    """Only an open request can be withdrawn, and this one is closed."""

    code = "approval_not_withdrawable"
    title = "No longer open"


class ReasonNeeded(Invalid):
    """Write at least 10 characters. Auditors read this."""

    code = "reason_needed"

    def __init__(self) -> None:
        message = f"Write at least {MINIMUM_REASON} characters. Auditors read this."
        super().__init__(message, errors=[{"path": "reason", "message": message}])


class StepUpNeeded(Invalid):
    """Approving critical risk takes your password again. Nothing was decided."""

    code = "step_up_needed"


class PayloadRefused(Invalid):
    """The edited payload is not one that may be approved."""

    code = "payload_refused"
    title = "The edit was not accepted"

    def __init__(self, errors: list[dict[str, str]]) -> None:
        """`errors`: one `{"path": "effective_from", "message": "…"}` for each field that is wrong."""
        first = errors[0]
        where = f"{first['path']}: " if first["path"] else ""
        super().__init__(f"{where}{first['message']} Nothing was decided.", errors=errors)
