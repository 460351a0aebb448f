"""Entries for the tests of formats: events as the code signs them, and as an attacker plants them."""

from typing import Any

import orjson

from audit.envelope import EventContext, ObjectFacts, build
from audit.judging import event_entry
from audit.merkle import leaf_hash
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.ids import uuid7
from streams.records import Entry
from tests.audit.sealing import all_keys

ORIGIN = "log.example/01a22b96-0000-7000-8000-000000000000"


def entry(event: Event = Event.RUN_STARTED, *, index: int = 7, previous: int | None = 6, **more: Any) -> Entry:
    """A signed event at a place in the log. `target`, `context` and `outcome` are the event's; the rest the entry's."""
    workspace_id = uuid7()
    signed = build(
        keys=all_keys("worker"),
        actor=more.pop("actor", Actor.system("tests", workspace_id)),
        event=event,
        target=more.pop("target", ObjectFacts(type="run", id="run-1")),
        workspace_id=workspace_id,
        context=more.pop("context", EventContext()),
        outcome=more.pop("outcome", "success"),
    )
    return planted(
        signed.body,
        index=index,
        previous=previous,
        kid=orjson.loads(signed.body)["kid"],
        mac=signed.mac,
        id=signed.id,
        **more,
    )


def planted(body: str, *, index: int = 7, previous: int | None = 6, **more: Any) -> Entry:
    """Whatever stands in a row of the log."""
    mac = more.pop("mac", b"m" * 32)
    return Entry(
        origin=ORIGIN,
        index=index,
        previous=previous,
        leaf=leaf_hash(event_entry(body.encode(), mac)),
        event_id=more.pop("id", None) or uuid7(),
        kid=more.pop("kid", "web-1"),
        mac=mac,
        body=body,
        **more,
    )
