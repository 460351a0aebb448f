"""Pages of streams and digests, below `/w/<workspace>/streams/`."""

from django.urls import path

from streams import pages

app_name = "streams"
urlpatterns = [
    path("", pages.stream_list, name="list"),
    path("create", pages.create, name="create"),
    path("digests/create", pages.create_digest, name="create_digest"),
    path("digests/<str:digest_id>/", pages.digest, name="digest"),
    path("digests/<str:digest_id>/remove", pages.remove_digest, name="remove_digest"),
    path("<str:sink_id>/", pages.detail, name="detail"),
    path("<str:sink_id>/disable", pages.disable, name="disable"),
    path("<str:sink_id>/enable", pages.enable, name="enable"),
    path("<str:sink_id>/remove", pages.remove, name="remove"),
]
