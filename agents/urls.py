"""Pages of agents, under `/w/<workspace>/agents/`."""

from django.urls import path

from agents import pages

app_name = "agents"
urlpatterns = [
    path("", pages.agent_list, name="list"),
    path("<slug:agent>/", pages.detail, name="detail"),
    path("<slug:agent>/versions/<int:number>/prompt", pages.prompt, name="prompt"),
]
