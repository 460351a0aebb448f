"""Ways in which the gateway fails. A refused call is not one of them: that is an answer (`CallState.BLOCKED`)."""

from provenance.errors import Conflict, ProvenanceError, Unavailable


class ToolNotRequested(Conflict):
    """The agent's current version does not request this tool; publish a version that does, with the reason."""

    code = "tool_not_requested"


class ToolNotReviewed(Conflict):
    """A person has to review this tool before it can be granted."""

    code = "tool_not_reviewed"


class PinChanged(Conflict):
    """The server offers another definition than the one that was looked at; discover its tools again."""

    code = "pin_changed"


class RunFenced(Conflict):
    """The run is held by another worker, has ended, or is not what the token says of it."""

    code = "call_fenced"


class PolicyUnavailable(Unavailable):
    """The gateway has had no contact with its policy for too long; it makes no call until it has."""

    code = "policy_unavailable"


class AuditUnavailable(Unavailable):
    """The log cannot be written, so nothing is done."""

    code = "audit_unavailable"


class UpstreamError(ProvenanceError):
    """The tool's server did not give a usable answer.

    `sent` says whether the request may have reached it: only then is the outcome of a write unknown.
    """

    code = "upstream_error"
    status = 502

    def __init__(self, message: str, *, rule: str, sent: bool) -> None:
        super().__init__(message)
        self.rule = rule
        self.sent = sent
