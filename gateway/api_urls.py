"""REST addresses of the gateway's records, under `/api/v1/`."""

from django.urls import path

from gateway import api

urlpatterns = [
    path("servers", api.ServerList.as_view(), name="api-servers"),
    path("tools", api.ToolList.as_view(), name="api-tools"),
    path("grants/<str:grant_id>/revoke", api.GrantRevoke.as_view(), name="api-grant-revoke"),
    path("grants", api.GrantList.as_view(), name="api-grants"),
]
