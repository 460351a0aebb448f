"""Syslog over TLS (RFC 5425): one connection for each delivery, confirmed by the receiver's own end of the session."""

import ssl
import time

from provenance.egress import Egress

_CHUNK_BYTES = 64 * 1024


class Unconfirmed(Exception):
    """The bytes were sent, and the receiver did not say that it has them all."""


def send(egress: Egress, url: str, frames: bytes) -> None:
    """Send octet-counted frames and return once the receiver has read every one of them.

    Syslog has no answers. But the receiver must reply to our close_notify with its own (RFC 5425 4.4), which it can only
    do after it has read all that came before. That is inside TLS: nobody on the way can pretend it by closing the
    connection. Raises `Unconfirmed`, `EgressRefused` and OSError.
    """
    ends_at = time.monotonic() + egress.total_seconds
    with egress.connect_tls(url) as stream:
        view = memoryview(frames)
        while view:
            stream.settimeout(_left(ends_at))
            view = view[stream.send(view[:_CHUNK_BYTES]) :]
        stream.settimeout(_left(ends_at))
        try:
            stream.unwrap()
        except (ssl.SSLError, OSError) as error:
            raise Unconfirmed("The receiver did not end the TLS session, so nobody knows what it has read.") from error


def _left(ends_at: float) -> float:
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError("The receiver reads too slowly.")
    return left
