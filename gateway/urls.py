"""Pages of servers and tools, under `/w/<workspace>/tools/`."""

from django.urls import path

from gateway import pages

app_name = "gateway"
urlpatterns = [path("", pages.server_list, name="servers")]
