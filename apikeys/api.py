"""What a key may ask about itself. Issuing and revoking others is for people (`apikeys.pages`): no key carries that."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apikeys import selectors, services
from apikeys.models import ApiKey
from provenance.api import ApiRequest, Endpoint, Input
from provenance.ids import public_id


class RevokeInput(Input):
    """Why the key ends."""

    reason = serializers.CharField(max_length=1000)


class KeyOutput(serializers.Serializer[ApiKey]):
    """The key of the request. `permissions` is what it may do now: its scopes as far as its owner has them."""

    id = serializers.CharField()
    name = serializers.CharField()
    prefix = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    permissions = serializers.ListField(child=serializers.CharField())
    environment = serializers.CharField()
    expires_at = serializers.DateTimeField()
    revoked_at = serializers.DateTimeField(allow_null=True)


class PresentedKey(Endpoint):
    """The key this request comes with."""

    permission = None

    @extend_schema(responses=KeyOutput)
    def get(self, request: ApiRequest) -> Response:
        """Name, scopes and end of the key."""
        return Response(_output(request, selectors.presented_key(request.actor)))


class PresentedKeyRevoke(Endpoint):
    """End the key this request comes with, for example after it was found in a public place."""

    permission = None

    @extend_schema(request=RevokeInput, responses=KeyOutput)
    def post(self, request: ApiRequest) -> Response:
        """The key stops working with this answer."""
        data = RevokeInput.parse(request.data)
        return Response(_output(request, services.revoke_presented_key(actor=request.actor, reason=data["reason"])))


def _output(request: ApiRequest, key: ApiKey) -> dict[str, Any]:
    return {
        "id": public_id("key", key.pk),
        "name": key.name,
        "prefix": key.prefix,
        "scopes": sorted(key.scopes),
        "permissions": sorted(permission.value for permission in request.actor.permissions),
        "environment": key.environment,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }
