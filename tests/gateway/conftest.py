"""The fixtures of this folder."""

from tests.gateway.fixtures import echo, erp, examples, fake, world

__all__ = ["echo", "erp", "examples", "fake", "world"]
