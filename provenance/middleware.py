"""What holds for every request, before any door: who is at the other end, and what browsers may do with the answer."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bound_contextvars

from provenance.ids import public_id, uuid7

GetResponse = Callable[[HttpRequest], HttpResponse]


class IdentifiedRequest(HttpRequest):
    """A request with the facts that `RequestFacts` gives to each."""

    request_id: str
    client_ip: str


_FORWARDED = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_FORWARDED",
    "HTTP_X_REAL_IP",
)

PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=()"


class RequestFacts:
    """Gives each request an id of ours and the address of the client, and forgets what strangers say about either."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: IdentifiedRequest) -> HttpResponse:
        """Answer with the id in `X-Request-Id`; it also stands in the log lines and the events of this request."""
        request.request_id = public_id("req", uuid7())
        request.client_ip = client_ip(request)
        with bound_contextvars(request_id=request.request_id):
            response = self.get_response(request)
        response["X-Request-Id"] = request.request_id
        return response


class SecurityHeaders:
    """Content-Security-Policy and its neighbors on every answer, static files and errors included."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.policy = "; ".join(f"{name} {' '.join(sources)}" for name, sources in settings.SECURE_CSP.items())

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Add what the answer does not carry yet: a page may only tighten its policy, for example for an editor."""
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", self.policy)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        response.headers.setdefault("X-Frame-Options", settings.X_FRAME_OPTIONS)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        # Pages show what only this person may see.
        response.headers.setdefault("Cache-Control", "private, no-cache")
        return response


def client_ip(request: HttpRequest) -> str:
    """The client's address; "" when unknown. Drops forwarding headers unless a listed proxy sent them (T30).

    Read from the right: each listed proxy appended the peer it saw, so the first address that is not one of them is the
    client, and whatever stands left of it was written by that client.
    """
    peer = _address(request.META.get("REMOTE_ADDR", ""))
    if peer is None or not _is_proxy(peer):
        for header in _FORWARDED:
            request.META.pop(header, None)
        return str(peer or "")
    for text in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        hop = _address(text.strip())
        if hop is None:
            break
        peer = hop
        if not _is_proxy(hop):
            break
    return str(peer)


def _is_proxy(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
