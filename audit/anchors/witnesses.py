"""Witnesses: others who saw the log grow, and sign that what they saw last is the beginning of what is there now.

The client of c2sp.org/tlog-witness. A witness cosigns no second history and no smaller tree, so whoever checks its
cosignature is shown the same log as everybody else. Only the log of logs is witnessed; it holds every other's checkpoints.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psycopg

from audit.anchors import AnchorFailed, is_of_instance, text_of
from audit.epochs import tree_over
from audit.merkle import consistency_proof
from audit.notes import AnyCosigner, BadNote, Checkpoint, cosignatures, parse_cosigner
from provenance.egress import Egress, EgressRefused

EVERY_SECONDS = 10.0
TOTAL_SECONDS = 10.0
LARGEST_ANSWER_BYTES = 65_536
MOST_DIGITS = 18

Connect = Callable[[], psycopg.Connection[Any]]

_REFUSALS = {
    HTTPStatus.FORBIDDEN: "it does not accept the key of this log; tell its operator the verifier key",
    HTTPStatus.NOT_FOUND: "it does not know this log yet; tell its operator the log's name and verifier key",
    HTTPStatus.UNPROCESSABLE_ENTITY: "IT SAW ANOTHER HISTORY OF THIS LOG: what it cosigned is not the beginning of it",
}


@dataclass(frozen=True, slots=True)
class _Asking:
    """What one request needs: the tree, and the way out."""

    connection: psycopg.Connection[Any]
    client: httpx2.Client


@dataclass(slots=True)
class Witness:
    """One witness, asked for a cosignature of the newest published checkpoint of the log of logs."""

    url: str
    keys: tuple[AnyCosigner, ...]
    connect: Connect
    name: str
    every_seconds: float = EVERY_SECONDS
    # What it cosigned last, by log: without it, it says so itself.
    _cosigned: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str, vkeys: Sequence[str], connect: Connect) -> "Witness":
        """The witness at that submission prefix. Raises `BadNote` for a key that is none of a witness."""
        keys = tuple(parse_cosigner(vkey) for vkey in vkeys)
        return cls(url.rstrip("/"), keys, connect, f"witness {keys[0].name}")

    @property
    def where(self) -> str:
        """Its address."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def carry(self, notes: Mapping[str, str]) -> None:
        """Ask for a cosignature and store it beside the checkpoint. Raises `AnchorFailed`."""
        for note in (note for origin, note in notes.items() if is_of_instance(origin)):
            checkpoint = Checkpoint.parse(text_of(note))
            with self.connect() as connection, self._door().client() as client:
                connection.autocommit = True
                lines = self._cosignatures(_Asking(connection, client), checkpoint, note)
                names = [f" {key.name} " for key in self.keys]
                connection.execute(
                    _STORE, {"origin": checkpoint.origin, "size": checkpoint.size, "lines": lines, "names": names}
                )

    def _door(self) -> Egress:
        return Egress.only(self.url, total_seconds=TOTAL_SECONDS, max_response_bytes=LARGEST_ANSWER_BYTES)

    def _cosignatures(self, asking: "_Asking", checkpoint: Checkpoint, note: str) -> str:
        old = min(self._cosigned.get(checkpoint.origin, 0), checkpoint.size)
        answer = self._ask(asking, checkpoint, note, old)
        if answer.status_code == HTTPStatus.CONFLICT:
            old = self._size(answer)
            if old > checkpoint.size:
                raise AnchorFailed(
                    f"IT COSIGNED {old} ENTRIES, AND THERE ARE {checkpoint.size}: the database was set back, or somebody "
                    "else writes under this log's name"
                )
            answer = self._ask(asking, checkpoint, note, old)
        if answer.status_code != HTTPStatus.OK:
            why = _REFUSALS.get(HTTPStatus(answer.status_code), f"it answered {answer.status_code}")
            raise AnchorFailed(why)
        try:
            lines = cosignatures(checkpoint, answer.text, self.keys)
        except BadNote as problem:
            raise AnchorFailed(f"its answer does not verify: {problem}") from problem
        self._cosigned[checkpoint.origin] = checkpoint.size
        return lines

    def _ask(self, asking: "_Asking", checkpoint: Checkpoint, note: str, old: int) -> httpx2.Response:
        connection = asking.connection
        ((log_id,),) = connection.execute("SELECT id FROM audit.log WHERE origin = %s", [checkpoint.origin]).fetchall()
        proof = consistency_proof(tree_over(connection).reader(log_id, checkpoint.size), old, checkpoint.size)
        lines = [f"old {old}", *(base64.b64encode(value).decode() for value in proof)]
        body = "\n".join(lines) + f"\n\n{note}"
        try:
            return asking.client.post(f"{self.url}/add-checkpoint", content=body.encode())
        except (httpx2.HTTPError, EgressRefused) as problem:
            raise AnchorFailed(f"it does not answer: {problem}") from problem

    def _size(self, answer: httpx2.Response) -> int:
        """How much it cosigned last, as a conflict says it."""
        said = answer.text.removesuffix("\n")
        if not said.isdecimal() or not said.isascii() or len(said) > MOST_DIGITS:
            raise AnchorFailed("it refused the size that it cosigned last, and does not say which that is")
        return int(said)


# Once: whoever asks again gets another line for the same checkpoint, and readers want one of each key.
_STORE = """
UPDATE audit.checkpoint SET cosignatures = cosignatures || %(lines)s
WHERE log_id = (SELECT id FROM audit.log WHERE origin = %(origin)s) AND size = %(size)s
  AND NOT EXISTS (SELECT FROM unnest(%(names)s::text[]) AS name WHERE strpos(cosignatures, name) > 0)
"""
