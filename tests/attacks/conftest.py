"""What attacks on the gateway need is what its own tests have."""

from tests.gateway.fixtures import echo, erp, examples, fake, world

__all__ = ["echo", "erp", "examples", "fake", "world"]
