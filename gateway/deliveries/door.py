"""The door for deliveries: whether this worker may bring them now, where they go, with which secret, and what was answered.

Receiver, address and secret come from the governed record; a worker names none of them. A halt stops agents and never the
evidence about them, so none is looked for here.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx2
from django.conf import settings
from psycopg.types.json import Jsonb

from audit.attestation import altered_rows, select, split
from audit.envelope import ObjectFacts
from audit.signing import KeyRing
from gateway.alterations import Alterations
from gateway.contract import FENCED
from gateway.credentials import Credential, sealed
from gateway.database import Connection, Database, one
from gateway.deliveries import syslog
from gateway.deliveries.contract import DELIVERY_SECONDS, NEEDS_SECRET, OBJECT_NAME, SLOTS, Kind, url_of
from gateway.deliveries.signing import UnusableSecret, webhook_headers
from gateway.deliveries.tickets import Ticket
from gateway.http import Refused
from gateway.injections import Injections
from provenance import crypto, mail
from provenance.actor import Actor
from provenance.egress import Egress, EgressRefused, origin_of
from provenance.permissions import Permission
from provenance.s3 import UnusableCredentials, s3_headers
from secrets_vault.references import NotBound
from workspaces.roles import ROLE_PERMISSIONS

# Nothing of an answer's body is read: what counts is the status, and a body could go on for ever.
LARGEST_ANSWER_BYTES = 64 * 1024
SAFETY_SECONDS = 5.0
MOST_THREADS = 16
ALTERED = "The settings in the database are not those that were signed; nothing is sent until an administrator looked."

# Whether this worker holds the stream, and for how long; then the record, held against what was signed of it (T06).
HELD_SINK = """
SELECT extract(epoch FROM lease_until - clock_timestamp())::float8 AS seconds_left FROM streams_cursor
 WHERE sink_id = %(id)s AND fence = %(fence)s AND lease_until > clock_timestamp()
"""
SINK = select("streams_sink", "sink", "row.id = %(id)s AND row.status = 'enabled'")

HELD_DIGEST = """
SELECT FROM streams_digestsend
 WHERE digest_id = %(id)s AND fence = %(fence)s AND lease_until > clock_timestamp() AND sent_at IS NULL
"""
DIGEST = select("streams_digest", "digest", "row.id = %(id)s")
# Addresses are copies that web made: nobody but web may read accounts (T07). Who is a member now is looked up each time.
READERS = """
SELECT DISTINCT reader.email FROM jsonb_to_recordset(%(readers)s::jsonb) AS reader (user_id uuid, email text)
  JOIN workspaces_membership member ON member.user_id = reader.user_id
 WHERE member.removed_at IS NULL AND member.roles && %(roles)s::varchar[]
"""
READING_ROLES = tuple(role.value for role, held in ROLE_PERMISSIONS.items() if Permission.AUDIT_READ in held)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the receiver has confirmed; if not, why, in words for an administrator."""

    confirmed: bool
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """The form of the wire."""
        return {"confirmed": self.confirmed, "problem": self.problem}


class Deliveries:
    """The deliveries of this process. Each has a connection of its own, so that one receiver never waits for another."""

    def __init__(self, database: Database, injections: Injections, keys: KeyRing, alterations: Alterations) -> None:
        self._database = database
        self._injections = injections
        self._keys = keys
        self._alterations = alterations
        # Not the loop's own threads, which calls need: a receiver may take half a minute.
        self._threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="deliveries")
        self._in_threads = asyncio.Semaphore(MOST_THREADS)

    def close(self) -> None:
        """Take no further work."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def to_sink(self, ticket: Ticket, body: Any) -> Outcome:
        """Send what a worker brought to the receiver of the ticket. Raises `Refused` when it may not bring it (now)."""
        if ticket.purpose != "sink" or not _has_texts(body, "body", "name", "message_id"):
            raise Refused(400, "malformed", "A delivery is a body, an object name and a message id.")
        if not (OBJECT_NAME.fullmatch(body["name"]) and OBJECT_NAME.fullmatch(body["message_id"])):
            raise Refused(400, "malformed", "The name or the id of the delivery is not a plain one.")
        try:
            sink, credential, seconds = await self._admit(ticket)
            await self._send(sink, credential, body, seconds)
        except (_NotSent, UnusableSecret, UnusableCredentials, syslog.Unconfirmed) as error:
            return Outcome(confirmed=False, problem=str(error))
        except (NotBound, EgressRefused, crypto.Undecipherable, crypto.KeyMissing) as error:
            return Outcome(confirmed=False, problem=error.message)
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            return Outcome(confirmed=False, problem=f"The receiver did not answer ({type(error).__name__}).")
        return Outcome(confirmed=True)

    async def _admit(self, ticket: Ticket) -> tuple[dict[str, Any], Credential | None, float]:
        """The record that is believed, the secret that is bound to its address, and how long sending may take."""
        place = {"id": ticket.subject_id, "fence": ticket.fence}
        workspace_id = ticket.workspace_id
        async with self._alterations.of_secrets(workspace_id), self._database.scope(workspace_id) as connection:
            held = await one(connection, HELD_SINK, place)
            found = await one(connection, SINK, place) if held else None
            if held is None or found is None or found["kind"] == Kind.DIRECTORY:
                raise Refused(403, FENCED, "Another worker holds this stream, or it is not enabled.")
            sink = split(found)[0]
            credential = await _credential(connection, self._keys, workspace_id, sink)
        await self._demand_as_signed(workspace_id, "sink", found)
        seconds = min(DELIVERY_SECONDS, held["seconds_left"] - SAFETY_SECONDS)
        if seconds <= 0:
            raise Refused(403, FENCED, "The lease is nearly over; nothing was sent.")
        return sink, credential, seconds

    async def _demand_as_signed(self, workspace_id: UUID, type_: str, found: dict[str, Any]) -> None:
        """Raise `_NotSent` when a record is not what its newest event signed, and have the log say so."""
        if altered := altered_rows([(type_, found)], self._keys):
            await self._alterations.record(workspace_id, altered)
            raise _NotSent(ALTERED)

    async def _send(
        self, sink: dict[str, Any], credential: Credential | None, body: dict[str, str], seconds: float
    ) -> None:
        """Send it and return once the receiver has confirmed."""
        url = url_of(sink["kind"], sink["address"])
        limits: dict[str, Any] = {
            "total_seconds": seconds,
            "max_response_bytes": LARGEST_ANSWER_BYTES,
            "authorities": sink["authorities"],
        }
        egress = Egress.to(url, **limits) if sink["private_network"] else Egress(**limits)
        content = body["body"].encode()
        if sink["kind"] in {Kind.SYSLOG, Kind.CEF}:
            await self._in_a_thread(syslog.send, egress, url, content)
            return
        if credential:
            actor = Actor.system("streams.delivery", credential.workspace_id)
            target = ObjectFacts(type="sink", id=str(sink["id"]), label=sink["name"])
            await self._injections.tell(actor, target, origin_of(url), credential, "audit stream")
        method, url, headers = _request(sink, url, credential, content, body)
        async with (
            egress.async_client() as client,
            client.stream(method, url, content=content, headers=headers) as response,
        ):
            if not response.is_success:
                raise _NotSent(f"The receiver answered {response.status_code}.")

    async def _in_a_thread(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do blocking work in a thread of deliveries' own; nobody waits for one, because a lease would run out meanwhile."""
        if self._in_threads.locked():
            raise _NotSent("Too many deliveries are under way; it is tried again.")
        async with self._in_threads:
            await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def to_readers(self, ticket: Ticket, body: Any) -> Outcome:
        """Mail a digest to those of its readers who are members now and may read the log. Raises `Refused`."""
        if ticket.purpose != "digest" or not _has_texts(body, "subject", "text", "message_id"):
            raise Refused(400, "malformed", "A digest is a subject, a text and a message id.")
        if not OBJECT_NAME.fullmatch(body["message_id"]) or not body["subject"].isprintable():
            raise Refused(400, "malformed", "The subject or the id of the digest is not a plain one.")
        place = {"id": ticket.subject_id, "fence": ticket.fence}
        async with self._database.scope(ticket.workspace_id) as connection:
            held = await one(connection, HELD_DIGEST, place)
            digest = await one(connection, DIGEST, place) if held is not None else None
            if digest is None:
                raise Refused(403, FENCED, "Another worker sends this digest, or it is not there any more.")
            among = {"readers": Jsonb(digest["readers"]), "roles": list(READING_ROLES)}
            readers = [row["email"] for row in await (await connection.execute(READERS, among)).fetchall()]
        if not readers:
            return Outcome(confirmed=False, problem="None of its readers is a member who may read the log.")
        letter = mail.Mail(
            id=body["message_id"],
            sender=settings.EMAIL_FROM,
            to=readers,
            subject=body["subject"],
            text=body["text"],
        )
        try:
            await self._demand_as_signed(ticket.workspace_id, "digest", digest)
            await self._in_a_thread(mail.send, settings.EMAIL_URL, letter)
        except (_NotSent, mail.MailRefused) as error:
            return Outcome(confirmed=False, problem=str(error))
        return Outcome(confirmed=True)


class _NotSent(Exception):
    """Nothing was sent, or it was not confirmed; the text says why."""


async def _credential(
    connection: Connection, keys: KeyRing, workspace_id: UUID, sink: dict[str, Any]
) -> Credential | None:
    """The secret of the receiver's record, when it is bound to where the address leads now (T02)."""
    slot, name = SLOTS.get(sink["kind"], ""), sink["secret_name"]
    if not name:
        if sink["kind"] in NEEDS_SECRET:
            raise _NotSent("This kind of receiver needs a secret, and none is named.")
        return None
    origin = origin_of(url_of(sink["kind"], sink["address"]))
    return await sealed(connection, keys, workspace_id, secret_name=name, origin=origin, slot=slot)


def _request(
    sink: dict[str, Any], url: str, credential: Credential | None, content: bytes, body: dict[str, str]
) -> tuple[str, str, dict[str, str]]:
    """Method, URL and headers of the one request."""
    now = datetime.now(UTC)
    headers = {"content-type": "application/json"}
    match sink["kind"]:
        case Kind.WEBHOOK:
            assert credential  # noqa: S101  `_credential` saw to it
            headers |= webhook_headers(
                credential.opened()[1].decode(), message_id=body["message_id"], at=now, body=content
            )
        case Kind.S3:
            assert credential  # noqa: S101  `_credential` saw to it
            url = f"{url.rstrip('/')}/{body['name']}"
            signed = {"content-type": "application/x-ndjson"}
            headers = s3_headers(
                credential.opened()[1].decode(),
                method="PUT",
                url=url,
                region=sink["region"],
                at=now,
                body=content,
                signed=signed,
            )
            return "PUT", url, headers
        case _:
            headers |= credential.opened()[0] if credential else {}
    return "POST", url, headers


def _has_texts(body: Any, *names: str) -> bool:
    """Whether what a worker brought has exactly these texts."""
    return isinstance(body, dict) and body.keys() == set(names) and all(isinstance(text, str) for text in body.values())
