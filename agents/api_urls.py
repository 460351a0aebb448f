"""REST addresses of agents, under `/api/v1/`."""

from django.urls import path

from agents import api

urlpatterns = [
    path("agents", api.AgentList.as_view(), name="api-agents"),
    path("agents/<slug:slug>", api.AgentDetail.as_view(), name="api-agent"),
    path("agents/<slug:slug>/suspend", api.AgentSuspend.as_view(), name="api-agent-suspend"),
    path("agents/<slug:slug>/versions/<int:number>", api.AgentVersionDetail.as_view(), name="api-agent-version"),
    path("agents/<slug:slug>/versions/<int:number>/diff", api.AgentVersionDiff.as_view(), name="api-agent-diff"),
]
