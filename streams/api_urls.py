"""REST addresses of streams and digests, under `/api/v1/`."""

from django.urls import path

from streams import api

urlpatterns = [
    path("audit/sinks", api.SinkList.as_view(), name="api-sinks"),
    path("audit/sinks/<str:sink_id>", api.SinkItem.as_view(), name="api-sink"),
    path("audit/digests", api.DigestList.as_view(), name="api-digests"),
    path("audit/digests/<str:digest_id>", api.DigestItem.as_view(), name="api-digest"),
]
