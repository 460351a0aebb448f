"""How workflows and runs say no."""

from provenance.errors import Conflict, Invalid


class NotPublished(Conflict):
    """The workflow has no published version."""

    code = "workflow_not_published"


class NothingToPublish(Conflict):
    """The workflow has no draft."""

    code = "nothing_to_publish"


class RunIsOver(Conflict):
    """The run has ended and cannot be canceled."""

    code = "run_is_over"


class CallIsSettled(Conflict):
    """It is known, or already said, what became of this call."""

    code = "call_is_settled"


class CallIsLookedAt(Conflict):
    """A worker asks the gateway about this call at this moment. Look again in a few seconds."""

    code = "call_is_looked_at"


class RetryTooEarly(Conflict):
    """The call may still be on its way, so it is not sent again yet."""

    code = "retry_too_early"


class InputRefused(Invalid):
    """The input does not fit what the workflow asks for."""

    code = "input_refused"
