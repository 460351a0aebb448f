"""Pages of keys, under `/w/<workspace>/`."""

from django.urls import path

from apikeys import pages

app_name = "apikeys"
urlpatterns = [
    path("keys/", pages.key_list, name="list"),
    path("keys/issue", pages.issue, name="issue"),
    path("keys/<str:key_id>/revoke", pages.revoke, name="revoke"),
]
