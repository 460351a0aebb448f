"""Time stamps (RFC 3161): an authority of somebody else's signs that a checkpoint of the log of logs was there at a time.

What a clock here says, whoever runs the clock may choose. A time stamp they may not, and it is checked without us: the
signed note and the authority's whole answer lie beside one another as files, for `openssl ts -verify`.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimeStampRequest,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client.tsp import PKIStatus

from audit.anchors import AnchorFailed, is_of_instance, text_of
from audit.anchors.directory import sync_directory
from audit.notes import Checkpoint
from provenance.egress import Egress, EgressRefused

FOLDER = "timestamps"
"""Below the directory of the anchor."""
TOTAL_SECONDS = 20.0
LARGEST_ANSWER_BYTES = 65_536
MOST_APART = timedelta(hours=1)
"""Between the clocks of the authority and of this host: more, and one of them is wrong."""

_HEADERS = {"content-type": "application/timestamp-query", "accept": "application/timestamp-reply"}


@dataclass(slots=True)
class TimeStampAuthority:
    """One authority, asked to stamp the newest published note of the log of logs. What it answered cannot be read again."""

    url: str
    authorities: Sequence[x509.Certificate]
    directory: Path
    every_seconds: float
    name: str = "time stamp authority"

    @classmethod
    def of(cls, url: str, authorities: str, directory: Path, every_seconds: float) -> "TimeStampAuthority":
        """Its answers must lead to one of the certificates (PEM). Raises ValueError when there is none in it."""
        return cls(url, x509.load_pem_x509_certificates(authorities.encode()), directory, every_seconds)

    @property
    def where(self) -> str:
        """Its address."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"

    def carry(self, notes: Mapping[str, str]) -> None:
        """Have the note stamped, and keep it with the answer once that is verified."""
        for note in (note for origin, note in notes.items() if is_of_instance(origin)):
            # SHA-256 of the whole signed note, a random nonce, and a request for the authority's certificates.
            request = TimestampRequestBuilder().data(note.encode()).hash_algorithm(HashAlgorithm.SHA256).build()
            answer = self._ask(request)
            self._keep(note, answer, self._verified(request, note, answer))

    def _ask(self, request: TimeStampRequest) -> bytes:
        door = Egress.only(self.url, total_seconds=TOTAL_SECONDS, max_response_bytes=LARGEST_ANSWER_BYTES)
        try:
            with door.client() as client:
                answer = client.post(self.url, content=request.as_bytes(), headers=_HEADERS)
        except (httpx2.HTTPError, EgressRefused) as problem:
            raise AnchorFailed(f"the authority does not answer: {problem}") from problem
        if answer.status_code != HTTPStatus.OK:
            raise AnchorFailed(f"the authority answered {answer.status_code}")
        return answer.content

    def _verified(self, request: TimeStampRequest, note: str, answer: bytes) -> datetime:
        """The time that the authority says. Nonce, imprint, signature and chain hold, or `AnchorFailed` is raised."""
        try:
            stamp: TimeStampResponse = decode_timestamp_response(answer)
            if stamp.status != PKIStatus.GRANTED:
                said = "; ".join(stamp.status_string)[:200].removesuffix(".") or "it does not say why"
                raise AnchorFailed(f"the authority refused, status {stamp.status}: {said}")
            verifier = VerifierBuilder(nonce=request.nonce, roots=list(self.authorities)).build()
            verifier.verify_message(stamp, note.encode())
            at = stamp.tst_info.gen_time
        except (VerificationError, ValueError) as problem:
            raise AnchorFailed(f"the authority's answer does not verify: {problem}") from problem
        if abs(datetime.now(UTC) - at) > MOST_APART:
            raise AnchorFailed(
                f"the authority stamped {at:%Y-%m-%d %H:%M} UTC: its clock or that of this host is wrong"
            )
        return at

    def _keep(self, note: str, answer: bytes, at: datetime) -> None:
        name = f"{at:%Y-%m-%dT%H%M%SZ}-{Checkpoint.parse(text_of(note)).size}"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _put(self.directory / f"{name}.note", note.encode())
            # Last: where there is an answer, there is what it is about.
            _put(self.directory / f"{name}.tsr", answer)
            sync_directory(self.directory)
        except OSError as problem:
            raise AnchorFailed(f"{self.directory} takes no time stamps: {problem.strerror or problem}") from problem


def _put(path: Path, content: bytes) -> None:
    """In one step, of mode 0600 and synced."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
