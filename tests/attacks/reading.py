"""A sealed log, and every address at which people and programs read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.test import Client

from apikeys import services as keys
from provenance.actor import Actor
from provenance.db import enter
from provenance.ids import public_id
from tests.audit import sealing
from tests.browsing import browser, program


@dataclass(frozen=True)
class ReadLog:
    """The log of one workspace. `addresses`: name -> who asks, and where."""

    addresses: Mapping[str, tuple[Client, str]]

    @classmethod
    def of(cls, workspace: Any, admin: Actor, auditor: Actor) -> "ReadLog":
        """Sealed, and with its first event as the one that is looked at."""
        with enter(workspace.pk):
            _key, text = keys.issue_key(actor=admin, name="monitor", scopes=["audit:read"])
        sealing.seal()
        (_hash, event_id), *more = sealing.leaves(workspace.pk)
        event, place = public_id("evt", event_id), f"000.p/{1 + len(more)}"
        pages, log = f"/w/{workspace.slug}", f"/api/v1/audit/log/{workspace.pk}"
        by_people = {
            "the log": f"{pages}/audit/",
            "an event": f"{pages}/audit/{event}/",
            "a member": f"{pages}/audit/of/user/{admin.id}/",
            "exports": f"{pages}/audit/exports/",
            "retention": f"{pages}/audit/retention/",
            "streams": f"{pages}/streams/",
        }
        by_programs = {
            "events": "/api/v1/audit/events",
            "one event": f"/api/v1/audit/events/{event}",
            "timeline": f"/api/v1/audit/timelines/user/{admin.id}",
            "seal": "/api/v1/audit/seal",
            "checkpoint": f"{log}/checkpoint",
            "tile": f"{log}/tile/0/{place}",
            "entries": f"{log}/tile/entries/{place}",
            "proof": f"/api/v1/audit/events/{event}/proof",
            "export": "/api/v1/audit/export",
            "evidence": "/api/v1/audit/evidence/soc2",
        }
        person, monitor = browser(auditor), program(text)
        return cls(
            {name: (person, address) for name, address in by_people.items()}
            | {name: (monitor, address) for name, address in by_programs.items()}
        )

    def answers(self) -> dict[str, Any]:
        """What each answers now."""
        found = {name: client.get(address) for name, (client, address) in self.addresses.items()}
        for answer in found.values():
            if answer.streaming:
                answer.close()
        return found
