"""JSON about what is kept: legal holds, engaged by programs and people and released by two people, and days by class."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from audit.models import HOLD_KINDS, LegalHold
from audit.retention import services as retention
from provenance.api import ApiRequest, Endpoint, Input, page_response
from provenance.ids import public_id
from provenance.permissions import Permission
from provenance.reasons import LONGEST_REASON


class HoldInput(Input):
    """What may be neither erased nor expire. `scope_id` is an id as addresses have it (`run_…`) or as events name it; none for `workspace`."""

    scope_kind = serializers.ChoiceField(choices=HOLD_KINDS)
    scope_id = serializers.CharField(max_length=200, required=False, default="", allow_blank=True)
    reason = serializers.CharField(max_length=LONGEST_REASON)


class HoldOutput(serializers.Serializer[Any]):
    """A legal hold. `release_asked_at` is null until somebody asked; `released_at` until a second person agreed."""

    id = serializers.CharField()
    scope_kind = serializers.ChoiceField(choices=HOLD_KINDS)
    scope_id = serializers.CharField()
    reason = serializers.CharField()
    engaged_at = serializers.DateTimeField()
    release_asked_at = serializers.DateTimeField(allow_null=True)
    released_at = serializers.DateTimeField(allow_null=True)


class KeptOutput(serializers.Serializer[Any]):
    """How many days details of one class are kept here. Events themselves stay for seven years."""

    retention_class = serializers.CharField()
    days = serializers.IntegerField()
    floor_days = serializers.IntegerField()
    is_usual = serializers.BooleanField()


class RetentionOutput(serializers.Serializer[Any]):
    """Every class there is."""

    classes = KeptOutput(many=True)


class LegalHoldList(Endpoint):
    """Legal holds, engaged and released."""

    permission = {"GET": Permission.AUDIT_READ, "POST": Permission.GATEWAY_WRITE}

    @extend_schema(responses=HoldOutput(many=True))
    def get(self, request: ApiRequest) -> Response:
        """Every hold, newest first."""
        return page_response(request, retention.holds(request.actor), _hold)

    @extend_schema(request=HoldInput, responses={201: HoldOutput})
    def post(self, request: ApiRequest) -> Response:
        """Keep what this covers. A key cannot release what it held: two people do."""
        data = HoldInput.parse(request.data)
        return Response(_hold(retention.engage_hold(actor=request.actor, **data)), status=HTTPStatus.CREATED)


class Retention(Endpoint):
    """How long details of each class are kept."""

    permission = Permission.AUDIT_READ

    @extend_schema(responses=RetentionOutput)
    def get(self, request: ApiRequest) -> Response:
        """Every class. People change the days in the console."""
        rows = [
            {
                "retention_class": item.retention_class.value,
                "days": item.days,
                "floor_days": item.retention_class.floor_days,
                "is_usual": item.is_usual,
            }
            for item in retention.kept(request.actor)
        ]
        return Response({"classes": rows})


def _hold(hold: LegalHold) -> dict[str, Any]:
    return {
        "id": public_id("hld", hold.pk),
        "scope_kind": hold.scope_kind,
        "scope_id": hold.scope_id,
        "reason": hold.reason,
        "engaged_at": hold.engaged_at,
        "release_asked_at": hold.release_asked_at,
        "released_at": hold.released_at,
    }
