"""Servers and their tools for people. Reading only: what changes them are services."""

from django.http import HttpResponse
from django.views.decorators.http import require_GET

from gateway import selectors
from provenance.pages import PageRequest, page, render
from provenance.permissions import Permission

LONGEST_LIST = 100


@page(Permission.GATEWAY_READ)
@require_GET
def server_list(request: PageRequest) -> HttpResponse:
    """Every server with its tools: what each does, what it may be repeated as, and whether somebody reviewed it."""
    servers = list(selectors.servers(request.actor)[:LONGEST_LIST])
    return render(request, "gateway/servers.html", {"servers": servers})
