"""Addresses of the log below `/api/v1/`."""

from django.urls import include, path

from audit import api
from audit.retention import api as retention_api

# The layout of c2sp.org/tlog-tiles below an address that ends like the log's name; earlier epochs have theirs beside it.
_LOG = [
    path("checkpoint", api.LogCheckpoint.as_view(), name="api-audit-log-checkpoint"),
    path("tile/entries/<path:place>", api.LogEntries.as_view(), name="api-audit-log-entries"),
    path("tile/<str:level>/<path:place>", api.LogTile.as_view(), name="api-audit-log-tile"),
]

urlpatterns = [
    path("audit/events", api.EventList.as_view(), name="api-audit-events"),
    path("audit/events/<str:event_id>", api.EventDetail.as_view(), name="api-audit-event"),
    path("audit/events/<str:event_id>/proof", api.EventProof.as_view(), name="api-audit-event-proof"),
    path("audit/timelines/<str:kind>/<str:subject>", api.Timeline.as_view(), name="api-audit-timeline"),
    path("audit/seal", api.Seal.as_view(), name="api-audit-seal"),
    path("audit/log/<uuid:workspace_id>/", include(_LOG)),
    path("audit/log/<uuid:workspace_id>/epoch/<int:epoch>/", include(_LOG)),
    path("audit/retention", retention_api.Retention.as_view(), name="api-audit-retention"),
    path("audit/holds", retention_api.LegalHoldList.as_view(), name="api-audit-holds"),
    path("audit/evidence", api.EvidenceList.as_view(), name="api-audit-evidence"),
    path("audit/evidence/<slug:framework_id>", api.EvidencePack.as_view(), name="api-audit-evidence-pack"),
    path("audit/export", api.Export.as_view(), name="api-audit-export"),
]
