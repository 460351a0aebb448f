"""How deliveries are signed: Standard Webhooks, and AWS Signature Version 4 for S3-compatible stores. Pure.

Both are a handful of HMACs whose specifications come with vectors; a client of either would bring dozens of packages.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote, unquote, urlsplit

_SHORTEST_KEY_BYTES, _LONGEST_KEY_BYTES = 24, 64


class UnusableSecret(ValueError):
    """The secret is not in the form that this kind of receiver needs. The message holds no part of it."""


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


def s3_headers(
    credentials: str,
    *,
    method: str,
    url: str,
    region: str,
    at: datetime,
    body: bytes,
    signed: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The headers of one signed request to S3 (AWS Signature Version 4, one chunk). `at` is in UTC.

    `credentials`: `access key id:secret access key`. `signed`: further headers that are sent and signed.
    """
    access_key, _, secret_key = credentials.strip().partition(":")
    if not access_key or not secret_key:
        raise UnusableSecret("The credentials of a bucket are its access key id, a colon, and its secret access key.")
    parts = urlsplit(url)
    day, moment = f"{at:%Y%m%d}", f"{at:%Y%m%dT%H%M%SZ}"
    digest = hashlib.sha256(body).hexdigest()
    headers = {
        "host": parts.netloc,
        "x-amz-content-sha256": digest,
        "x-amz-date": moment,
        **{name.lower(): value.strip() for name, value in (signed or {}).items()},
    }
    names = ";".join(sorted(headers))
    path = quote(unquote(parts.path) or "/", safe="/-_.~")
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"{method}\n{path}\n\n{lines}\n{names}\n{digest}"
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret_key}".encode()
    for word in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, word.encode(), hashlib.sha256)
    signature = hmac.digest(key, text.encode(), hashlib.sha256).hex()
    authorization = f"AWS4-HMAC-SHA256 Credential={access_key}/{scope},SignedHeaders={names},Signature={signature}"
    return {**headers, "authorization": authorization}
