"""Addresses of the API, below `/api/v1/`."""

from django.urls import path

from approvals import api

app_name = "approvals_api"
urlpatterns = [
    path("approvals", api.ApprovalList.as_view(), name="list"),
    path("approvals/<str:approval_id>", api.ApprovalView.as_view(), name="detail"),
]
