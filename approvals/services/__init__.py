"""Every write: ask, decide, withdraw, warn, expire. A decision performs nothing; whoever asked is woken and acts."""

from approvals.services.asking import request_approval, withdraw
from approvals.services.deadlines import expire_due
from approvals.services.deciding import decide

__all__ = ["decide", "expire_due", "request_approval", "withdraw"]
