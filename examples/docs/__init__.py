from examples.docs.server import build

__all__ = ["build"]
