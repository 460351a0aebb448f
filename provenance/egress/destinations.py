"""Where a call would go: one reading of a URL, and the addresses of its host. What is allowed is the door's to say."""

import re
import socket
from dataclasses import dataclass
from ipaddress import ip_address

import httpx2

from provenance.addresses import Address
from provenance.errors import ProvenanceError

DEFAULT_PORTS = {"http": 80, "https": 443}

# LDH labels as they stand on the wire (IDNA is already applied): no percent, backslash, space or empty label.
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
# "Ends in a number" of the URL standard: resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses.
_NUMERIC_LAST_LABEL = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")


class EgressRefused(ProvenanceError):
    """The platform does not connect there."""

    code = "egress_refused"
    status = 502
    title = "Connection refused by policy"

    def __init__(self, rule: str, message: str, *, host: str = "", port: int = 0) -> None:
        """`rule` is for programs and events.

        One of url, scheme, userinfo, host, not_listed, local_name, private_address, metadata, unresolved, redirect,
        compressed, too_large, authorities.
        """
        super().__init__(message, rule=rule, host=host, port=port)
        self.rule = rule
        self.host = host
        self.port = port


@dataclass(frozen=True, slots=True)
class Destination:
    """One parsed target: what is connected to, and the name that secrets and exceptions are bound to."""

    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> str:
        """`scheme://host:port`, always with the port, so that equal targets are equal texts."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def pair(self) -> tuple[str, int]:
        """Host and port, as exceptions name them."""
        return self.host, self.port


def destination(url: str | httpx2.URL) -> Destination:
    """The target of a URL. Raises `EgressRefused` for everything two parsers could read in two ways."""
    try:
        parsed = httpx2.URL(url)  # the library that connects, so that nobody else's reading counts
    except (httpx2.InvalidURL, TypeError) as error:
        raise EgressRefused("url", f"This is not a URL that can be called: {error}.") from None
    if parsed.scheme not in DEFAULT_PORTS:
        raise EgressRefused(
            "scheme", f"Only http and https are called, not {parsed.scheme or 'a URL without scheme'!r}."
        )
    if parsed.userinfo:
        raise EgressRefused("userinfo", "A URL may not carry a user name or password; bind a secret instead.")
    port = parsed.port or DEFAULT_PORTS[parsed.scheme]
    if not 1 <= port <= 65535:
        raise EgressRefused("url", f"{port} is not a port.")
    return Destination(parsed.scheme, checked_host(parsed.raw_host.decode("ascii")), port)


def origin_of(url: str) -> str:
    """`scheme://host:port` of a URL: what a secret is bound to (T02)."""
    return destination(url).origin


def refused(rule: str, target: Destination, why: str) -> EgressRefused:
    return EgressRefused(rule, f"{target.origin} is not called: {why}.", host=target.host, port=target.port)


def checked_host(raw: str) -> str:
    host = raw.lower().removesuffix(".")
    if ":" not in host and not _NUMERIC_LAST_LABEL.fullmatch(host):
        if not _HOST_NAME.fullmatch(host):
            raise EgressRefused("host", f"{raw!r} is not a host name.", host=raw)
        return host
    try:
        # ip_address takes dotted quads without leading zeros only; scope ids name interfaces of this machine.
        return str(ip_address("no scopes" if "%" in host else host))
    except ValueError:
        raise EgressRefused("host", f"{raw!r} is an address in a form that is not accepted.", host=raw) from None


def _literal(target: Destination) -> Address | None:
    try:
        return ip_address(target.host)
    except ValueError:
        return None


def lookup(target: Destination) -> list[Address]:
    """Addresses of the host. The limit of time is the resolver's own: a lookup cannot be interrupted."""
    if (literal := _literal(target)) is not None:
        return [literal]
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise refused("unresolved", target, f"the name was not resolved ({error})") from None
    return [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
