"""How webhooks are signed: Standard Webhooks 1.0, one HMAC whose specification comes with a vector. Pure."""

import base64
import binascii
import hashlib
import hmac
from datetime import datetime

_SHORTEST_KEY_BYTES, _LONGEST_KEY_BYTES = 24, 64


class UnusableSecret(ValueError):
    """The secret is not in the form that a webhook needs. The message holds no part of it."""


def webhook_headers(secret: str, *, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks 1.0: `v1` is HMAC-SHA256 over id, time and body."""
    try:
        key = base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _SHORTEST_KEY_BYTES <= len(key) <= _LONGEST_KEY_BYTES:
        raise UnusableSecret("The signing key of a webhook is whsec_ and 24 to 64 random bytes in base64.")
    stamp = str(int(at.timestamp()))
    signature = hmac.digest(key, b".".join([message_id.encode(), stamp.encode(), body]), hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }
