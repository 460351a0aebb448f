"""JSON about halts, which people alone release, and about erasing who was a member."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from provenance.api import ApiRequest, Endpoint, Input, page_response
from provenance.ids import parse_public_id, public_id
from provenance.permissions import Permission
from provenance.reasons import LONGEST_REASON
from workspaces import selectors, services
from workspaces.erasure import erase_member
from workspaces.models import HALT_MODES, SCOPE_KINDS, Control


class HaltInput(Input):
    """What to stop. `scope_id` is an id or the name that people use: `ledger-ops`, `erp.getVendor`, a key's prefix."""

    scope_kind = serializers.ChoiceField(choices=SCOPE_KINDS)
    scope_id = serializers.CharField(max_length=200)
    mode = serializers.ChoiceField(choices=HALT_MODES, default="pause")
    reason = serializers.CharField(max_length=LONGEST_REASON)


class HaltOutput(serializers.Serializer[Any]):
    """A halt. `scope_id` is the id of the one thing that it stops; `released_at` is null while it holds."""

    id = serializers.CharField()
    scope_kind = serializers.ChoiceField(choices=SCOPE_KINDS)
    scope_id = serializers.CharField()
    mode = serializers.ChoiceField(choices=HALT_MODES)
    reason = serializers.CharField()
    engaged_at = serializers.DateTimeField()
    released_at = serializers.DateTimeField(allow_null=True)


class HaltList(Endpoint):
    """Halts, engaged and released."""

    permission = {"GET": Permission.GATEWAY_READ, "POST": Permission.GATEWAY_WRITE}

    @extend_schema(responses=HaltOutput(many=True))
    def get(self, request: ApiRequest) -> Response:
        """Every halt, newest first."""
        return page_response(request, selectors.halts(request.actor), _halt)

    @extend_schema(request=HaltInput, responses={201: HaltOutput})
    def post(self, request: ApiRequest) -> Response:
        """Stop a scope at once. A key cannot release what it halted: a person does."""
        data = HaltInput.parse(request.data)
        return Response(_halt(services.engage_halt(actor=request.actor, **data)), status=HTTPStatus.CREATED)


class EraseInput(Input):
    """Why this person is erased."""

    reason = serializers.CharField(max_length=LONGEST_REASON)


class EraseOutput(serializers.Serializer[Any]):
    """What was erased, and when first: asking again changes nothing."""

    id = serializers.CharField()
    erased_at = serializers.DateTimeField()


class MemberErase(Endpoint):
    """Destroy what is personal of somebody who was a member. The log keeps what was done, and every proof holds."""

    permission = Permission.GATEWAY_WRITE

    @extend_schema(request=EraseInput, responses=EraseOutput)
    def post(self, request: ApiRequest, user_id: str) -> Response:
        """Erase, for good. The key must be an administrator's, and the member removed before, which a person does."""
        data = EraseInput.parse(request.data)
        erased = erase_member(actor=request.actor, user_id=parse_public_id("usr", user_id), **data)
        return Response({"id": public_id("usr", erased.user_id), "erased_at": erased.erased_at})


def _halt(halt: Control) -> dict[str, Any]:
    return {
        "id": public_id("hlt", halt.pk),
        "scope_kind": halt.scope_kind,
        "scope_id": halt.scope_id,
        "mode": halt.mode,
        "reason": halt.reason,
        "engaged_at": halt.engaged_at,
        "released_at": halt.released_at,
    }
