"""A workspace whose sealed log flows through a real gateway to receivers on loopback."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection

from audit.services import Entry, Target, record_all
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import enter
from streams import delivery
from streams.models import Cursor, Sink
from streams.services import sinks
from streams.services.sinks import Settings
from tests import databases, factories
from tests.audit import sealing
from tests.fakes.receivers import Authority, authority
from tests.gateway.world import World, world_of

WEBHOOK_KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BUCKET_KEY = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@dataclass
class River:
    """One workspace, its log and its streams."""

    world: World
    ca: Authority

    @property
    def workspace_id(self) -> UUID:
        return self.world.workspace.id

    @property
    def admin(self) -> Actor:
        return self.world.admin

    def tell(self, count: int = 1, event: Event = Event.RUN_STARTED, **more: Any) -> list[str]:
        """Events in the log, sealed; their ids."""
        values = {"target": Target("run", "r"), **more}
        told = self._tell([Entry(event=event, **values)] * count)
        sealing.seal()
        return told

    def tell_unsealed(self) -> str:
        """An event that no sealer has come to."""
        return self._tell([Entry(event=Event.RUN_STARTED, target=Target("run", "r"))])[0]

    def _tell(self, entries: list[Entry]) -> list[str]:
        with enter(self.workspace_id):
            told = record_all(actor=Actor.system("tests", self.workspace_id), entries=entries)
        return [str(one.id) for one in told]

    def sink(self, kind: str, address: str, **more: Any) -> Sink:
        """A receiver on this machine."""
        values = {"private_network": True, "authorities": self.ca.pem, **more}
        from_beginning = values.pop("from_beginning", False)
        name = values.pop("name", kind)
        if kind == "directory":
            values |= {"private_network": False, "authorities": ""}
        with enter(self.workspace_id):
            sink = sinks.create_sink(
                actor=self.admin,
                name=name,
                kind=kind,
                wanted=Settings(address=address, **values),
                from_beginning=from_beginning,
            )
        sealing.seal()
        return sink

    def flow(self, sink: Sink) -> int:
        """What a worker does when the bell rings; how many events were confirmed."""
        before = databases.become("prov_worker")
        signs, settings.AUDIT_SIGNS_AS = settings.AUDIT_SIGNS_AS, "worker"
        try:
            return delivery.stream(self.workspace_id, sink.pk)
        finally:
            settings.AUDIT_SIGNS_AS = signs
            databases.become(before)

    def cursor(self, sink: Sink) -> Cursor:
        with enter(self.workspace_id):
            return Cursor.objects.get(sink=sink)

    def hurry(self, sink: Sink) -> None:
        """Let the pause after a failure be over."""
        with databases.admin() as owner:
            owner.execute("UPDATE streams_cursor SET next_at = now(), rung_until = now() WHERE sink_id = %s", [sink.pk])

    def log(self) -> list[tuple[int, str]]:
        """Every index of the log with its event."""
        leaves = sealing.leaves(self.workspace_id)
        return [(index, str(event_id)) for index, (_leaf, event_id) in enumerate(leaves)]

    def events(self, event: Event) -> list[Any]:
        with enter(self.workspace_id):
            return factories.events(event)


def indices(records: list[dict[str, Any]]) -> list[int]:
    return [record["log_index"] for record in records]


def records_of(body: bytes) -> list[dict[str, Any]]:
    """The native records of a webhook's body."""
    return json.loads(body)["data"]["events"]


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that only receivers of these tests have."""
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def river(transactional_db: None, ca: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[River]:
    """A workspace behind a running gateway."""
    with world_of(factories.make_workspace()) as world:
        monkeypatch.setattr(settings, "GATEWAY_URL", world.url)
        yield River(world, ca)
    connection.close()
