"""Pages of people and workspaces."""

from django.urls import path

from workspaces import pages

app_name = "workspaces"
urlpatterns = [
    path("", pages.choose, name="choose"),
    path("sign-out/", pages.sign_out, name="sign_out"),
    path("theme", pages.theme, name="theme"),
    path("invitations/<str:token>/", pages.invitation, name="invitation"),
    path("setup/<str:token>/", pages.setup, name="setup"),
    path("w/<slug:workspace>/", pages.home, name="home"),
    path("w/<slug:workspace>/members/", pages.members, name="members"),
    path("w/<slug:workspace>/members/invite", pages.invite, name="invite"),
    path("w/<slug:workspace>/members/<str:user_id>/roles", pages.change_roles, name="change_roles"),
    path("w/<slug:workspace>/members/<str:user_id>/remove", pages.remove, name="remove"),
    path("w/<slug:workspace>/members/<str:user_id>/erase", pages.erase, name="erase"),
]
