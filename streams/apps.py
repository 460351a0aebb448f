from django.apps import AppConfig

from provenance import sweeper
from provenance.console import Place, register
from provenance.permissions import Permission


class StreamsConfig(AppConfig):
    name = "streams"

    def ready(self) -> None:
        """Look among the sweeps for what is due, forget readers who leave, say what searches name, and stand in the navigation."""
        from audit import names  # noqa: PLC0415  it needs models, which are loaded by now
        from streams import sweep  # noqa: PLC0415  as above
        from streams.models import Sink  # noqa: PLC0415  as above
        from streams.services import digests  # noqa: PLC0415  as above
        from workspaces import departures  # noqa: PLC0415  beside it

        sweeper.register("streams", sweep.sweep)
        departures.register("streams.digests", digests.forget_reader)
        names.rows("stream", Permission.AUDIT_READ, Sink.objects.for_actor, "name")
        register(
            Place(
                group="evidence",
                order=95,
                label="Streams",
                icon="arrow-up-right",
                route="streams:list",
                permission=Permission.AUDIT_READ,
            )
        )
