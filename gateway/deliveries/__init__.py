"""Events of the log and digests of them on their way out: workers bring the bytes, the gateway alone sends them."""

from gateway.deliveries.door import Deliveries

__all__ = ["Deliveries"]
