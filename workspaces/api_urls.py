"""REST addresses of halts and members, under `/api/v1/`."""

from django.urls import path

from workspaces import api

urlpatterns = [
    path("halts", api.HaltList.as_view(), name="api-halts"),
    path("members/<str:user_id>/erase", api.MemberErase.as_view(), name="api-member-erase"),
]
