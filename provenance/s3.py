"""Requests to S3-compatible stores, signed by AWS Signature Version 4. Pure.

A handful of HMACs whose specification comes with vectors; a client of it would bring dozens of packages.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import parse_qsl, quote, unquote, urlsplit


class UnusableCredentials(ValueError):
    """They are not in the form that a bucket needs. The message holds no part of them."""


def s3_headers(
    credentials: str,
    *,
    method: str,
    url: str,
    region: str,
    at: datetime,
    body: bytes = b"",
    signed: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The headers of one signed request to S3 (one chunk). `at` is in UTC.

    `credentials`: `access key id:secret access key`. `signed`: further headers that are sent and signed.
    """
    access_key, _, secret_key = credentials.strip().partition(":")
    if not access_key or not secret_key:
        raise UnusableCredentials(
            "The credentials of a bucket are its access key id, a colon, and its secret access key."
        )
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
    query = "&".join(
        sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in _pairs(parts.query))
    )
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}"
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret_key}".encode()
    for word in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, word.encode(), hashlib.sha256)
    signature = hmac.digest(key, text.encode(), hashlib.sha256).hex()
    authorization = f"AWS4-HMAC-SHA256 Credential={access_key}/{scope},SignedHeaders={names},Signature={signature}"
    return {**headers, "authorization": authorization}


def _pairs(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)
