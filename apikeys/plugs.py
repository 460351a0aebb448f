"""Keys in searches, halts and the navigation."""

from apikeys.models import ApiKey
from audit import names
from provenance import console
from provenance.permissions import Permission
from workspaces import scopes

scopes.register("key", lambda place, name: scopes.id_of(ApiKey.objects.for_workspace(place), "key", name, prefix=name))
names.rows("key", Permission.API_KEYS_WRITE, ApiKey.objects.for_actor, "name", object_type="api_key")
console.register(
    console.Link(
        group="control",
        order=90,
        label="API keys",
        icon="key-round",
        route="apikeys:list",
        permission=Permission.API_KEYS_WRITE,
    )
)
