"""Addresses of the pages, below `/w/<workspace>/audit/`."""

from django.urls import path

from audit import pages
from audit.retention import pages as retention_pages

app_name = "audit"
urlpatterns = [
    path("", pages.events, name="events"),
    path("new", pages.tail, name="tail"),
    path("export", pages.export, name="export"),
    path("exports/", pages.export_jobs, name="export_jobs"),
    path("exports/ask", pages.ask_for_export, name="ask_for_export"),
    path("exports/<str:export_id>/", pages.export_job, name="export_job"),
    path("exports/<str:export_id>/fetch", pages.fetch_export, name="fetch_export"),
    path("evidence/", pages.evidence, name="evidence"),
    path("evidence/<slug:framework_id>", pages.take_evidence, name="take_evidence"),
    path("views/save", pages.save_view, name="save_view"),
    path("views/<uuid:view_id>/remove", pages.remove_view, name="remove_view"),
    path("of/<str:kind>/<str:actor_id>/", pages.timeline, name="timeline"),
    path("retention/", retention_pages.shown, name="retention"),
    path("retention/holds", retention_pages.engage, name="hold_engage"),
    path("retention/holds/<str:hold_id>/ask", retention_pages.ask_release, name="hold_ask_release"),
    path("retention/holds/<str:hold_id>/release", retention_pages.release, name="hold_release"),
    path("retention/<slug:retention_class>", retention_pages.change, name="retention_change"),
    path("<str:event_id>/", pages.event, name="event"),
    path("<str:event_id>/proof", pages.proof_file, name="proof"),
]
