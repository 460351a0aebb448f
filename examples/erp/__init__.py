from examples.erp.server import build

__all__ = ["build"]
