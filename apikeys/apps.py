from django.apps import AppConfig

from provenance import console
from provenance.permissions import Permission


class ApiKeysConfig(AppConfig):
    name = "apikeys"

    def ready(self) -> None:
        """Put the keys' page into the navigation, and say what searches and halts name."""
        from apikeys.models import ApiKey  # noqa: PLC0415  loaded by now
        from audit import names  # noqa: PLC0415  its models are loaded by now
        from workspaces import scopes  # noqa: PLC0415  as above

        scopes.register(
            "key", lambda place, name: scopes.id_of(ApiKey.objects.for_workspace(place), "key", name, prefix=name)
        )
        names.rows("key", Permission.API_KEYS_WRITE, ApiKey.objects.for_actor, "name")
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
