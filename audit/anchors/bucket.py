"""An S3 bucket with Object Lock: who can change everything here, and holds the bucket's keys too, unwrites nothing in it.

Each object is locked in compliance mode for as long as events are kept, which no account of the store can shorten. It has
the newest checkpoint of every log, and its name leads back to the newest object with one question.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

import httpx2
import orjson

from audit.anchors import AnchorFailed, is_of_instance, record_of, text_of
from audit.epochs import LogName
from audit.notes import Checkpoint
from audit.retention.classes import SEVEN_YEARS_DAYS
from provenance.egress import Egress, EgressRefused
from provenance.s3 import UnusableCredentials, s3_headers

FOLDER = "checkpoints"
WRITE_SECONDS = 20.0
READ_SECONDS = 5.0
"""For each of the two requests of a reading: a start waits for both (`continuity.ANCHOR_SECONDS`)."""
LARGEST_ANSWER_BYTES = 8 * 2**20
MODE = "COMPLIANCE"
# Keys are listed in the order of their letters: what counts down puts the newest first, in one request of any bucket.
_EPOCHS, _SIZES = 10**6 - 1, 10**15 - 1
_CODE = re.compile(rb"<Code>(\w{1,100})</Code>")


@dataclass(slots=True)
class LockedBucket:
    """One bucket, by its address alone (`https://bucket.host` or `https://host/bucket`), with the sealer's keys to it."""

    url: str
    region: str
    # access key id:secret access key
    credentials: str
    # Of the installation: what all names of its logs begin with.
    origin: str
    every_seconds: float
    name: str = "bucket"
    # What each log published last, as far as this sealer offered it.
    _newest: dict[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Its address."""
        return self.url

    def carry(self, notes: Mapping[str, str]) -> None:
        """Put one object with the newest note of every log, locked. Raises `AnchorFailed` also when it was not locked."""
        self._newest |= notes
        instance = [note for origin, note in notes.items() if is_of_instance(origin)]
        if not instance:
            # Its checkpoint, which names the object, is signed a moment later and offered then.
            return
        at = datetime.now(UTC)
        until = at + timedelta(days=SEVEN_YEARS_DAYS)
        records = ({"at": at.isoformat(timespec="seconds"), "note": note} for note in self._newest.values())
        body = b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)
        key = self._key(Checkpoint.parse(text_of(instance[-1])))
        signed = {
            "content-type": "application/x-ndjson",
            # S3 takes no lock without a digest of the body in the oldest of its forms.
            "content-md5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
            "x-amz-object-lock-mode": MODE,
            "x-amz-object-lock-retain-until-date": f"{until:%Y-%m-%dT%H:%M:%SZ}",
        }
        put = self._ask("PUT", key, body=body, signed=signed, seconds=WRITE_SECONDS)
        self._demand_lock(key, put.headers.get("x-amz-version-id", ""), at)

    def newest(self) -> dict[str, str]:
        """The notes of the newest object, through whatever was deleted or written over it since."""
        version_of = self._first_version()
        if version_of is None:
            return {}
        key, version = version_of
        content = self._ask("GET", key, {"versionId": version}, seconds=READ_SECONDS).content
        notes = [record["note"] for line in content.splitlines() if (record := record_of(line))]
        # The name says which is the newest: an older one under the name of a newer would hide that the log was set back.
        if key not in {self._key(Checkpoint.parse(text_of(note))) for note in notes}:
            raise AnchorFailed(f"{key} in the bucket does not hold what its name says: find out who wrote it")
        return {Checkpoint.parse(text_of(note)).origin: note for note in notes}

    @property
    def _folder(self) -> str:
        return f"{FOLDER}/{re.sub(r'[^A-Za-z0-9._-]', '~', self.origin)}/"

    def _key(self, instance: Checkpoint) -> str:
        name = LogName.parse(instance.origin, self.origin)
        epoch = name.epoch if name else 1
        return f"{self._folder}{_EPOCHS - epoch:06}-{_SIZES - instance.size:015}-e{epoch}-{instance.size}.jsonl"

    def _first_version(self) -> tuple[str, str] | None:
        """The newest object and its oldest version.

        Versions, not objects: a delete marker hides an object from everybody who does not ask for its versions, and a
        later version hides the one that is locked.
        """
        asked = {"max-keys": "1000", "prefix": self._folder, "versions": ""}
        content = self._ask("GET", "", asked, seconds=READ_SECONDS).content
        try:
            # From the operator's own store and of bounded size; expat itself refuses entities that grow.
            versions = ET.fromstring(content).findall("{*}Version")  # noqa: S314  see above
        except ET.ParseError as problem:
            raise AnchorFailed(f"the bucket does not list its versions: {problem}") from problem
        found = [(each.findtext("{*}Key", ""), each.findtext("{*}VersionId", "")) for each in versions]
        first = min((key for key, _version in found), default=None)
        return next(((key, version) for key, version in reversed(found) if key == first), None)

    def _demand_lock(self, key: str, version: str, at: datetime) -> None:
        """A store that ignores what it does not know has taken the object and locked nothing."""
        said = self._ask("HEAD", key, {"versionId": version} if version else {}, seconds=WRITE_SECONDS).headers
        until = said.get("x-amz-object-lock-retain-until-date", "")
        try:
            is_long = datetime.fromisoformat(until) > at + timedelta(days=SEVEN_YEARS_DAYS - 1)
        except (ValueError, TypeError):
            is_long = False
        if said.get("x-amz-object-lock-mode") != MODE or not is_long:
            raise AnchorFailed(
                "the object was taken and not locked: make the bucket with Object Lock, and let the sealer's key read an "
                "object's retention"
            )

    def _ask(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes = b"",
        signed: Mapping[str, str] | None = None,
        seconds: float,
    ) -> httpx2.Response:
        url = f"{self.url}/{quote(key, safe='/~')}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        limits: dict[str, Any] = {"total_seconds": seconds, "max_response_bytes": LARGEST_ANSWER_BYTES}
        try:
            headers = s3_headers(
                self.credentials,
                method=method,
                url=url,
                region=self.region,
                at=datetime.now(UTC),
                body=body,
                signed=signed,
            )
            with Egress.only(self.url, **limits).client() as client:
                answer = client.request(method, url, content=body, headers=headers)
        except (httpx2.HTTPError, EgressRefused) as problem:
            raise AnchorFailed(f"the bucket does not answer: {problem}") from problem
        except UnusableCredentials as problem:
            raise AnchorFailed(str(problem)) from problem
        if answer.status_code != HTTPStatus.OK:
            code = _CODE.search(answer.content)
            why = f" ({code[1].decode()})" if code else ""
            raise AnchorFailed(f"the bucket answered {answer.status_code}{why} to {method}")
        return answer
