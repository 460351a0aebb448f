"""Addresses whose views fail in every way that a door must survive. For tests with `@pytest.mark.urls`."""

from django.db import connection
from django.http import Http404, HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.response import Response

from audit.services import record
from audit.taxonomy import Event
from provenance.api import Endpoint, Input, Paging, list_response, repeatable
from provenance.errors import Conflict
from provenance.pages import member_page, page, public_page
from provenance.permissions import Permission
from provenance.urls import handler400, handler403, handler404, handler500  # noqa: F401  Django looks for them in the root URLconf
from provenance.urls import urlpatterns as real_addresses
from workspaces.models import Workspace


def _rename(name, audited=True):
    workspace = Workspace.objects.get()
    workspace.name = name
    workspace.save(update_fields=["name"])
    return workspace


@page(Permission.WORKSPACE_WRITE)
def rename(request):
    record(actor=request.actor, event=Event.WORKSPACE_SETTINGS_CHANGED, target=_rename("renamed"))
    return HttpResponse("renamed")


@page(Permission.WORKSPACE_WRITE)
def rename_then_refuse(request):
    record(actor=request.actor, event=Event.WORKSPACE_SETTINGS_CHANGED, target=_rename("half done"))
    raise Conflict("Not in this state.")


@page(Permission.WORKSPACE_WRITE)
def rename_then_break(request):
    record(actor=request.actor, event=Event.WORKSPACE_SETTINGS_CHANGED, target=_rename("half done"))
    raise ZeroDivisionError("password=hunter2 in a message")


@page(Permission.WORKSPACE_WRITE)
def rename_then_answer_500(request):
    record(actor=request.actor, event=Event.WORKSPACE_SETTINGS_CHANGED, target=_rename("half done"))
    return HttpResponse("no", status=503)


@page(Permission.WORKSPACE_WRITE)
def rename_without_event(_request):
    _rename("unaudited")
    return HttpResponse("saved")


@page(Permission.WORKSPACE_WRITE)
def rename_stale(request):
    workspace = Workspace.objects.get()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE workspaces_workspace SET name = 'faster' WHERE id = %s", [workspace.pk])
    workspace.name = "slower"
    workspace.save(update_fields=["name"])
    record(actor=request.actor, event=Event.WORKSPACE_SETTINGS_CHANGED, target=workspace)
    return HttpResponse("saved")


@member_page
def lazy_template(_request):
    template = engines["django"].from_string("{% for w in workspaces %}{{ w.name }}{% endfor %}")
    return TemplateResponse(_request, template, {"workspaces": Workspace.objects.all()})


@member_page
def missing(_request):
    raise Http404


@member_page
def whoami(request):
    return HttpResponse(",".join(sorted(request.actor.permissions)))


def undeclared(_request):
    return HttpResponse("nobody may see this")


@public_page("A test.")
def address_of_client(request):
    return HttpResponse(request.client_ip)


class EchoInput(Input):
    name = serializers.CharField(max_length=20)


class Echo(Endpoint):
    permission = {"GET": Permission.RUNS_READ, "POST": Permission.RUNS_WRITE}

    def get(self, request):
        return Response(
            {"actor": request.actor.id, "kind": request.actor.kind, "on_behalf_of": request.actor.on_behalf_of}
        )

    def post(self, request):
        asked = repeatable(request)
        return Response({"data": EchoInput.parse(request.data), "key": asked.key if asked else None})


class RenameOverApi(Endpoint):
    permission = Permission.RUNS_WRITE

    def post(self, request):
        record(actor=request.actor, event=Event.WORKSPACE_SETTINGS_CHANGED, target=_rename("half done"))
        raise Conflict("Not in this state.")


class UnauditedOverApi(Endpoint):
    permission = Permission.RUNS_WRITE

    def post(self, _request):
        _rename("unaudited")
        return Response({"status": "saved"}, status=201)


class BreakOverApi(Endpoint):
    permission = Permission.RUNS_READ

    def get(self, _request):
        raise ZeroDivisionError("password=hunter2 in a message")


class Workspaces(Endpoint):
    permission = Permission.RUNS_READ

    def get(self, request):
        rows, cursor = Paging.of(request).page(Workspace.objects.all())
        return list_response([row.slug for row in rows], cursor)


urlpatterns = [
    path("w/<slug:workspace>/rename", rename),
    path("w/<slug:workspace>/rename-then-refuse", rename_then_refuse),
    path("w/<slug:workspace>/rename-then-break", rename_then_break),
    path("w/<slug:workspace>/rename-then-answer-500", rename_then_answer_500),
    path("w/<slug:workspace>/rename-without-event", rename_without_event),
    path("w/<slug:workspace>/rename-stale", rename_stale),
    path("w/<slug:workspace>/lazy", lazy_template),
    path("w/<slug:workspace>/missing", missing),
    path("w/<slug:workspace>/whoami", whoami, name="whoami"),
    path("undeclared", undeclared),
    path("address", address_of_client),
    path("api/v1/echo", Echo.as_view(), name="echo"),
    path("api/v1/rename", RenameOverApi.as_view()),
    path("api/v1/unaudited", UnauditedOverApi.as_view()),
    path("api/v1/break", BreakOverApi.as_view()),
    path("api/v1/workspaces", Workspaces.as_view()),
    *real_addresses,
]
