from examples.crm.server import build

__all__ = ["build"]
