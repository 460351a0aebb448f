"""The nonce of a decision: it says that this session was shown exactly this, so nothing else can be sent in its name.

A decision's form carries one (T18). It is worth nothing in another session, for another request, or once what was shown
has changed; and since a person decides a request once, it is worth nothing a second time either.
"""

from uuid import UUID

from django.utils.crypto import constant_time_compare, salted_hmac

_SALT = "approvals.nonces"


def issue(*, session_key: str, request_id: UUID, shown: str) -> str:
    """The nonce for a page that shows `shown` (a digest) of this request in this session."""
    return salted_hmac(_SALT, f"{session_key}\n{request_id}\n{shown}", algorithm="sha256").hexdigest()


def matches(nonce: str, *, session_key: str, request_id: UUID, shown: str) -> bool:
    """Whether the nonce was issued for exactly this; never for a request without a session."""
    expected = issue(session_key=session_key, request_id=request_id, shown=shown)
    return bool(session_key) and constant_time_compare(nonce, expected)
