from django.apps import AppConfig

from provenance import console
from provenance.permissions import Permission


class ApiKeysConfig(AppConfig):
    name = "apikeys"

    def ready(self) -> None:
        """Put the keys' page into the navigation, and say what halts of keys name."""
        from apikeys.models import ApiKey  # noqa: PLC0415  loaded by now
        from workspaces import scopes  # noqa: PLC0415  its models are loaded by now

        scopes.register(
            "key", lambda place, name: scopes.id_of(ApiKey.objects.for_workspace(place), "key", name, prefix=name)
        )
        console.register(
            console.Place(
                group="control",
                order=90,
                label="API keys",
                icon="key-round",
                route="apikeys:list",
                permission=Permission.API_KEYS_WRITE,
            )
        )
