"""Every address. Pages live below `/w/<workspace>/`, the API below `/api/v1/`; what needs no sign-in stands at the top."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from provenance import fallbacks, health
from provenance.pages import public_page
from workspaces import pages as people

api_schema = public_page("Documentation of the API; it holds no data.")(SpectacularAPIView.as_view())

urlpatterns = [
    path("healthz", health.alive, name="alive"),
    path("readyz", health.ready, name="ready"),
    # The names that allauth looks for.
    path("sign-in/", people.sign_in, name="account_login"),
    path("sign-out/", people.sign_out, name="account_logout"),
    path("account/password/", people.change_password, name="account_change_password"),
    path("", include("workspaces.urls")),
    path("w/<slug:workspace>/", include("apikeys.urls")),
    path("w/<slug:workspace>/approvals/", include("approvals.urls")),
    path("w/<slug:workspace>/", include("workflows.urls")),
    path("w/<slug:workspace>/audit/", include("audit.urls")),
    path("w/<slug:workspace>/agents/", include("agents.urls")),
    path("w/<slug:workspace>/tools/", include("gateway.urls")),
    path("w/<slug:workspace>/streams/", include("streams.urls")),
    # The last of a workspace: what no app above knows. It ends with a slash, so that one that was forgotten is added first.
    path("w/<slug:workspace>/<path:rest>/", people.nowhere, name="nowhere"),
    path("api/v1/", include("workspaces.api_urls")),
    path("api/v1/", include("apikeys.api_urls")),
    path("api/v1/", include("audit.api_urls")),
    path("api/v1/", include("streams.api_urls")),
    path("api/v1/", include("agents.api_urls")),
    path("api/v1/", include("gateway.api_urls")),
    path("api/v1/", include("approvals.api_urls")),
    path("api/v1/", include("workflows.api_urls")),
    path("api/v1/schema", api_schema, name="api-schema"),
]

handler400 = fallbacks.bad_request
handler403 = fallbacks.forbidden
handler404 = fallbacks.not_found
handler500 = fallbacks.server_error
