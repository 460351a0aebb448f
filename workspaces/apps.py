from django.apps import AppConfig

from provenance import console
from provenance.permissions import Permission


class WorkspacesConfig(AppConfig):
    name = "workspaces"

    def ready(self) -> None:
        """Put the members' page into the navigation, say what searches name, and let nothing serve who was erased."""
        from audit import names  # noqa: PLC0415  models may be loaded only from here on
        from provenance import readiness  # noqa: PLC0415  beside it
        from workspaces import erasure, selectors  # noqa: PLC0415  as above

        readiness.register("workspaces.erasure", erasure.problems)
        names.register("member", selectors.members_called)
        console.register(
            console.Place(
                group="control",
                order=80,
                label="Members",
                icon="users",
                route="workspaces:members",
                permission=Permission.MEMBERS_READ,
            )
        )
