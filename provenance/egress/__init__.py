"""The only opener of outbound HTTP: checks the host, connects to the address it checked, caps time and size.

Tools, models, webhooks and secret managers are all reached through `Egress`. It hands out ordinary `httpx2` clients,
which the MCP SDK and the openai client take as they are. What no client of this door does, whatever it is told: follow
a redirect, use a proxy from the environment, keep a cookie, or read a compressed answer (a few bytes on the wire that
are gigabytes in memory).
"""

from provenance.egress.destinations import Destination, EgressRefused, destination, origin_of
from provenance.egress.door import Egress
from provenance.egress.transport import DeadlineExceeded, tls_context

__all__ = ["DeadlineExceeded", "Destination", "Egress", "EgressRefused", "destination", "origin_of", "tls_context"]
