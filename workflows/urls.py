"""Addresses of the pages, below `/w/<workspace>/`."""

from django.urls import path

from workflows import pages

app_name = "workflows"
urlpatterns = [
    path("runs/", pages.runs, name="runs"),
    path("runs/<str:run_id>/", pages.run, name="run"),
    path("runs/<str:run_id>/cancel", pages.cancel, name="cancel"),
    path("runs/<str:run_id>/calls/<str:call_id>/resolve", pages.resolve, name="resolve"),
    path("workflows/", pages.workflow_list, name="list"),
    path("workflows/<slug:slug>/", pages.workflow, name="detail"),
]
