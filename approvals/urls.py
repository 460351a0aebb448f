"""Addresses of the pages, below `/w/<workspace>/approvals/`."""

from django.urls import path

from approvals import pages

app_name = "approvals"
urlpatterns = [
    path("", pages.inbox, name="inbox"),
    path("<str:approval_id>/", pages.detail, name="detail"),
    path("<str:approval_id>/decide", pages.decide, name="decide"),
]
