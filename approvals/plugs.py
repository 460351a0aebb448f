"""The inbox in the navigation, the deadlines among the sweeps, and requests in searches."""

from approvals import selectors, services
from approvals.models import ApprovalRequest
from audit import names
from provenance import console, sweeper
from provenance.permissions import Permission

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
