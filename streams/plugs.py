"""Streams among the sweeps, in searches and in the navigation; readers who leave are forgotten."""

from audit import names
from provenance import sweeper
from provenance.console import Link, register
from provenance.permissions import Permission
from streams import sweep
from streams.models import Sink
from streams.services import digests
from workspaces import departures

sweeper.register("streams", sweep.sweep)
departures.register("streams.digests", digests.forget_reader)
names.rows("stream", Permission.AUDIT_READ, Sink.objects.for_actor, "name", object_type="sink")
register(
    Link(
        group="evidence",
        order=95,
        label="Streams",
        icon="arrow-up-right",
        route="streams:list",
        permission=Permission.AUDIT_READ,
    )
)
