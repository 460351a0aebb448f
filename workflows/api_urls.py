"""REST addresses of workflows and runs, under `/api/v1/`."""

from django.urls import path

from workflows import api

urlpatterns = [
    path("workflows", api.WorkflowList.as_view(), name="api-workflows"),
    path("workflows/<slug:slug>", api.WorkflowDetail.as_view(), name="api-workflow"),
    path("workflows/<slug:slug>/draft", api.WorkflowDraft.as_view(), name="api-workflow-draft"),
    path("workflows/<slug:slug>/publish", api.WorkflowPublish.as_view(), name="api-workflow-publish"),
    path("workflows/<slug:slug>/runs", api.RunStart.as_view(), name="api-workflow-runs"),
    # The name under which other products know the same thing.
    path("workflows/<slug:slug>/trigger", api.RunStart.as_view(), name="api-workflow-trigger"),
    path("runs", api.RunList.as_view(), name="api-runs"),
    path("runs/<str:run_id>", api.RunDetail.as_view(), name="api-run"),
    path("runs/<str:run_id>/cancel", api.RunCancel.as_view(), name="api-run-cancel"),
]
