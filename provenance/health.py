"""Is the process alive, and may it serve? Both answer without a sign-in, so they say no more than an operator needs."""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from audit.condition import condition
from provenance.pages import probe
from provenance.readiness import problems


@probe("Supervisors and load balancers ask this.")
@require_safe
def alive(_request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "alive"})


@probe("Supervisors and load balancers ask this.")
@require_safe
def ready(_request: HttpRequest) -> JsonResponse:
    """200 when database, migrations, guards and rights are as the code wants them; else 503 with what is wrong.

    `degraded`, with `warnings`: what is wrong with sealing the log. Events are signed and kept all the same, so pages go on
    being served, and say so.
    """
    found = problems()
    if found:
        return JsonResponse({"status": "not ready", "problems": found, "warnings": []}, status=503)
    warnings = condition().brief
    return JsonResponse({"status": "degraded" if warnings else "ready", "problems": [], "warnings": warnings})
