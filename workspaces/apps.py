from django.apps import AppConfig

from provenance import console
from provenance.permissions import Permission


class WorkspacesConfig(AppConfig):
    name = "workspaces"

    def ready(self) -> None:
        """Put the members' page into the navigation, and let nothing serve who was erased."""
        from provenance import readiness  # noqa: PLC0415  models may be loaded only from here on
        from workspaces import erasure  # noqa: PLC0415  beside it

        readiness.register("workspaces.erasure", erasure.problems)
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
