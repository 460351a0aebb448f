"""The door: which destinations may be called, and clients that call no others."""

import contextlib
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx2

from provenance.addresses import Address, is_metadata, is_public
from provenance.egress.destinations import Destination, destination, lookup, refused
from provenance.egress.transport import AsyncTransport, Transport, tls_context

DEFAULT_TOTAL_SECONDS = 60.0
DEFAULT_MAX_RESPONSE_BYTES = 8 * 2**20
CONNECT_SECONDS = 10.0
# Options of a client by which a request could go around the door.
AROUND = frozenset({"transport", "mounts", "proxy", "verify", "trust_env", "follow_redirects", "cert"})


@dataclass(frozen=True, slots=True)
class Egress:
    """A door with its exceptions: exact host and port pairs that may be private or plain HTTP (T20).

    An exception is given by the caller for one upstream; it never opens a metadata address. `exclusive`: the exceptions
    are all there is, and the public internet is closed as well. `total_seconds` bounds a whole exchange from connecting
    to the last byte; `max_response_bytes` bounds the body. `authorities` (PEM) replaces the public ones for TLS.
    """

    allow: frozenset[tuple[str, int]] = frozenset()
    exclusive: bool = False
    total_seconds: float = DEFAULT_TOTAL_SECONDS
    max_response_bytes: int = DEFAULT_MAX_RESPONSE_BYTES
    authorities: str = ""

    @classmethod
    def to(cls, *urls: str, **limits: Any) -> "Egress":
        """A door to the public internet with exactly these upstreams as exceptions, for example the example servers on loopback."""
        return cls(allow=frozenset(destination(url).pair for url in urls), **limits)

    @classmethod
    def only(cls, url: str, **limits: Any) -> "Egress":
        """A door to exactly this upstream, private or not, and to nothing else."""
        return cls(allow=frozenset({destination(url).pair}), exclusive=True, **limits)

    def check(self, url: str | httpx2.URL) -> Destination:
        """The target of the URL, unless scheme or name already forbid it. Asks no name server."""
        target = destination(url)
        if target.pair in self.allow:
            return target
        if self.exclusive:
            raise refused("not_listed", target, "this process calls one upstream, and this is another")
        if target.scheme != "https":
            raise refused("scheme", target, "only https is called, except where an exception names host and port")
        if target.host == "localhost" or target.host.endswith(".localhost"):
            raise refused("local_name", target, "this machine is not called without an exception")
        return target

    def resolve(self, url: str | httpx2.URL) -> tuple[Address, ...]:
        """The addresses that a call of the URL may connect to. Raises `EgressRefused` when one of them is inside."""
        target = self.check(url)
        return self.admit(target, lookup(target))

    def admit(self, target: Destination, found: Iterable[Address]) -> tuple[Address, ...]:
        """The addresses found for a target, when all may be called.

        One inside address refuses them all: a name that answers with both is how rebinding starts.
        """
        addresses = tuple(dict.fromkeys(found))
        if not addresses:
            raise refused("unresolved", target, "the name has no address")
        if any(is_metadata(address) for address in addresses):
            raise refused("metadata", target, "it leads to a metadata service")
        if target.pair not in self.allow and not all(is_public(address) for address in addresses):
            raise refused("private_address", target, "it leads to an address that is not on the public internet")
        return addresses

    def client(self, **options: Any) -> httpx2.Client:
        """A client whose every request passes this door. Keep it: pools and TLS sessions live in it.

        `options` are those of `httpx2.Client`, without the ones by which a request could go around the door.
        """
        return httpx2.Client(transport=Transport(self), **self._options(options))

    def async_client(self, **options: Any) -> httpx2.AsyncClient:
        """The same as `client`, for asyncio."""
        return httpx2.AsyncClient(transport=AsyncTransport(self), **self._options(options))

    def connect_tls(self, url: str) -> ssl.SSLSocket:
        """A TLS connection to host and port of an https URL, for what is no HTTP; the certificate is checked.

        Each operation on it takes at most `total_seconds`. Raises `EgressRefused` and OSError.
        """
        target = self.check(url)
        addresses = self.admit(target, lookup(target))
        timeout = min(CONNECT_SECONDS, self.total_seconds)
        for number, address in enumerate(addresses, start=1):
            # The address that was checked, never the name again. The last one's failure is the answer.
            with contextlib.suppress(*(() if number == len(addresses) else (OSError,))):
                raw = socket.create_connection((str(address), target.port), timeout)
                break
        try:
            raw.settimeout(self.total_seconds)
            return tls_context(self.authorities).wrap_socket(raw, server_hostname=target.host)
        except BaseException:
            raw.close()
            raise

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        if around := options.keys() & AROUND:
            raise TypeError(f"{', '.join(sorted(around))} would lead around the door")
        timeout = httpx2.Timeout(self.total_seconds, connect=min(CONNECT_SECONDS, self.total_seconds))
        return {"timeout": timeout, "trust_env": False, "follow_redirects": False, **options}
