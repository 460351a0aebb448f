"""The inbox in the navigation, the deadlines among the sweeps, and requests in searches."""

from approvals import selectors, services
from approvals.models import ApprovalDecision, ApprovalRequest
from audit import labels, names
from provenance import console, sweeper
from provenance.permissions import Permission

sweeper.register("approvals.sla", services.expire_due)
names.rows("approval", Permission.APPROVALS_READ, ApprovalRequest.objects.for_actor, "title", short="AP")
labels.rows("approval_decision", Permission.APPROVALS_READ, ApprovalDecision.objects.for_actor, "{request__title}")
console.register(
    console.Link(
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
