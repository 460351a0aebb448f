"""REST addresses of keys, under `/api/v1/`."""

from django.urls import path

from apikeys import api

urlpatterns = [
    path("key", api.PresentedKey.as_view(), name="api-key"),
    path("key/revoke", api.PresentedKeyRevoke.as_view(), name="api-key-revoke"),
]
