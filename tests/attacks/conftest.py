"""What attacks on the gateway and on the log need is what their own tests have."""

from tests.audit.old_months import drop_months
from tests.gateway.fixtures import echo, erp, examples, fake, world

__all__ = ["drop_months", "echo", "erp", "examples", "fake", "world"]
