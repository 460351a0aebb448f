from django.apps import AppConfig

from provenance.console import Place, add_notice, register, show_seal
from provenance.permissions import Permission


class AuditConfig(AppConfig):
    name = "audit"

    def ready(self) -> None:
        """Keep the months of the log ahead of time, watch over it, stand in the navigation, and tell on pages how it is."""
        from audit import background, condition, partitions, retention, seal, watch  # noqa: PLC0415  loadable now
        from provenance import sweeper  # noqa: PLC0415  beside it

        sweeper.register("audit.partitions", partitions.keep_ahead)
        sweeper.register("audit.retention", retention.erase_due)
        sweeper.register("audit.watch", watch.Watch())
        sweeper.register("audit.exports", background.sweep)
        add_notice(condition.notices)
        show_seal(seal.shown_seal)
        register(
            Place(
                group="evidence",
                order=90,
                label="Audit log",
                icon="scroll-text",
                route="audit:events",
                permission=Permission.AUDIT_READ,
                phone=True,
            )
        )
