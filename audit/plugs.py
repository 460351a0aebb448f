"""The log among the sweeps, in the navigation, and on every page that must say how it is."""

from audit import background, condition, partitions, seal, watch
from audit.retention import services as retention
from provenance import sweeper
from provenance.console import Link, add_notice, register, show_seal
from provenance.permissions import Permission

sweeper.register("audit.partitions", partitions.keep_ahead)
sweeper.register("audit.retention", retention.erase_due)
sweeper.register("audit.watch", watch.Watch())
sweeper.register("audit.exports", background.sweep)
add_notice(condition.notices)
show_seal(seal.shown_seal)
register(
    Link(
        group="evidence",
        order=90,
        label="Audit log",
        icon="scroll-text",
        route="audit:events",
        permission=Permission.AUDIT_READ,
        phone=True,
    )
)
