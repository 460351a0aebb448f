"""What workers and the gateway agree on about deliveries: kinds of receivers, where each keeps its secret, names. Pure."""

import re
from enum import StrEnum
from urllib.parse import urlsplit

from provenance.egress import EgressRefused

LARGEST_BYTES = 6 * 2**20
# At most this long at the gateway, and a little longer until its worker gives it up.
DELIVERY_SECONDS = 30.0

OBJECT_NAME = re.compile(r"[a-z0-9-][a-z0-9.-]*(/[a-z0-9-][a-z0-9.-]*)*")
DEFAULT_SYSLOG_PORT = 6514


class Kind(StrEnum):
    """How a receiver takes events."""

    OCSF = "ocsf"
    WEBHOOK = "webhook"
    SYSLOG = "syslog"
    CEF = "cef"
    S3 = "s3"
    DIRECTORY = "directory"


# The slot that the secret of each kind is bound to. Syslog proves the receiver only; a directory has no secret.
SLOTS = {
    Kind.OCSF: "header:Authorization",
    Kind.WEBHOOK: "field:webhook-signing-key",
    Kind.S3: "field:s3-credentials",
}
NEEDS_SECRET = frozenset({Kind.WEBHOOK, Kind.S3})


def url_of(kind: str, address: str) -> str:
    """The https URL (plain http is the door's to allow) behind a receiver's address. Raises `EgressRefused`.

    Syslog is written `tls://host:6514`; it is checked as what an https URL of that host and port would be.
    """
    if kind not in {Kind.SYSLOG, Kind.CEF}:
        return address
    try:
        parts = urlsplit(address)
        port = parts.port or DEFAULT_SYSLOG_PORT
    except ValueError:
        raise EgressRefused("url", "This is not an address that can be reached.") from None
    if parts.scheme != "tls" or parts.path.strip("/") or parts.query or parts.fragment:
        raise EgressRefused("scheme", "Syslog is written tls://host:6514; nothing goes there without TLS.")
    return f"https://{parts.netloc.removesuffix(f':{parts.port}')}:{port}"
