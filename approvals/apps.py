from django.apps import AppConfig

from provenance import console, sweeper
from provenance.permissions import Permission


class ApprovalsConfig(AppConfig):
    name = "approvals"

    def ready(self) -> None:
        """Put the inbox into the navigation, and the deadlines among the sweeps."""
        from approvals import selectors, services  # noqa: PLC0415  they need the models, which are loaded by now

        sweeper.register("approvals.sla", services.expire_due)
        console.register(
            console.Place(
                group="work",
                order=20,
                label="Approvals",
                icon="inbox",
                route="approvals:inbox",
                permission=Permission.APPROVALS_READ,
                phone=True,
                count=selectors.waiting_for,
            )
        )
