"""The fixtures of this folder."""

from tests.streams.river import ca, river

__all__ = ["ca", "river"]
