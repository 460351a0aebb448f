from django.apps import AppConfig

from provenance import console, sweeper
from provenance.permissions import Permission


class ApprovalsConfig(AppConfig):
    name = "approvals"

    def ready(self) -> None:
        """Put the inbox into the navigation, the deadlines among the sweeps, and say what searches name."""
        from approvals import selectors, services  # noqa: PLC0415  they need the models, which are loaded by now
        from approvals.models import ApprovalRequest  # noqa: PLC0415  as above
        from audit import names  # noqa: PLC0415  as above

        sweeper.register("approvals.sla", services.expire_due)
        names.rows("approval", Permission.APPROVALS_READ, ApprovalRequest.objects.for_actor, "title", short="AP")
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
