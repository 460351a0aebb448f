"""JSON about streams and digests: where the log goes and how far each receiver has confirmed. Never a credential.

Whoever changes them needs two scopes: `gateway:write`, which the address asks for, and `audit:read`.
"""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from gateway.deliveries.contract import Kind
from provenance.api import ApiRequest, Endpoint, Input, Paging, demand_match, etag, list_response
from provenance.ids import parse_public_id, public_id
from provenance.permissions import Permission
from provenance.risk import Risk
from streams import selectors
from streams.models import LONGEST_ADDRESS, LONGEST_NAME, Digest, Sink
from streams.selectors import ShownDigest, ShownSink
from streams.services import digests, sinks
from streams.services.digests import MOST_READERS, Contents
from streams.services.sinks import LARGEST_AUTHORITIES, MOST_EVENTS, Settings

_KINDS = [(kind.value, kind.value) for kind in Kind]
_RISKS = [(risk.value, risk.value) for risk in Risk]
LONGEST_REASON = 1000


class SinkOutput(serializers.Serializer[Any]):
    """A receiver of the log. `backlog` is how many published events it has not confirmed; `next_index` is the first of them.

    `state` is current, behind, failing or disabled. `secret` is a reference, never a value.
    """

    id = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=_KINDS)
    address = serializers.CharField()
    secret = serializers.CharField()
    region = serializers.CharField()
    authorities = serializers.CharField()
    private_network = serializers.BooleanField()
    risk = serializers.CharField()
    events = serializers.ListField(child=serializers.CharField())
    with_labels = serializers.BooleanField()
    status = serializers.ChoiceField(choices=Sink.Status.choices)
    state = serializers.CharField()
    epoch = serializers.IntegerField()
    next_index = serializers.IntegerField()
    backlog = serializers.IntegerField()
    failures = serializers.IntegerField()
    failing_since = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField()
    confirmed_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class SinkChangeInput(Input):
    """Some settings of a receiver. `secret` is `secret://name`; `credential` is a value to keep in the vault instead."""

    address = serializers.CharField(max_length=LONGEST_ADDRESS, required=False)
    secret = serializers.CharField(max_length=110, required=False, allow_blank=True)
    credential = serializers.CharField(max_length=4096, required=False, write_only=True)
    region = serializers.CharField(max_length=40, required=False, allow_blank=True)
    authorities = serializers.CharField(max_length=LARGEST_AUTHORITIES, required=False, allow_blank=True)
    private_network = serializers.BooleanField(required=False)
    risk = serializers.ChoiceField(choices=_RISKS, required=False, allow_blank=True)
    events = serializers.ListField(
        child=serializers.CharField(max_length=80), required=False, max_length=MOST_EVENTS, allow_empty=True
    )
    with_labels = serializers.BooleanField(required=False)


class SinkInput(SinkChangeInput):
    """A new receiver. Without `from_beginning` it gets what is published from now on."""

    name = serializers.CharField(max_length=LONGEST_NAME)
    kind = serializers.ChoiceField(choices=_KINDS)
    address = serializers.CharField(max_length=LONGEST_ADDRESS)
    from_beginning = serializers.BooleanField(required=False, default=False)


class ReasonInput(Input):
    """Why it is done."""

    reason = serializers.CharField(max_length=LONGEST_REASON)


class DigestOutput(serializers.Serializer[Any]):
    """A regular mail about the log. `readers` are members; `last_error` says why the newest mail has not gone."""

    id = serializers.CharField()
    title = serializers.CharField()
    period = serializers.ChoiceField(choices=Digest.Period.choices)
    risk = serializers.CharField()
    review = serializers.BooleanField()
    readers = serializers.ListField(child=serializers.CharField())
    last_period = serializers.DateTimeField(allow_null=True)
    sent_at = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField()
    created_at = serializers.DateTimeField()


class DigestInput(Input):
    """What a digest tells, how often, and to which members."""

    title = serializers.CharField(max_length=100)
    period = serializers.ChoiceField(choices=Digest.Period.choices, required=False, default=Digest.Period.WEEKLY)
    risk = serializers.ChoiceField(choices=_RISKS, required=False, allow_blank=True, default="")
    review = serializers.BooleanField(required=False, default=True)
    readers = serializers.ListField(child=serializers.CharField(max_length=40), min_length=1, max_length=MOST_READERS)


class SinkList(Endpoint):
    """Receivers of the log."""

    permission = {"GET": Permission.AUDIT_READ, "POST": Permission.GATEWAY_WRITE}

    @extend_schema(responses=SinkOutput(many=True))
    def get(self, request: ApiRequest) -> Response:
        """Every receiver with how far it has confirmed, newest first."""
        rows, following = Paging.of(request).page(selectors.sinks(request.actor))
        return list_response([_sink(row) for row in selectors.shown_sinks(request.actor, rows)], following)

    @extend_schema(request=SinkInput, responses={201: SinkOutput})
    def post(self, request: ApiRequest) -> Response:
        """Events leave for it from the next checkpoint on. Needs `audit:read` as well."""
        data = SinkInput.parse(request.data)
        name, kind, from_beginning = data.pop("name"), data.pop("kind"), data.pop("from_beginning")
        sink = sinks.create_sink(
            actor=request.actor, name=name, kind=kind, wanted=Settings(**data), from_beginning=from_beginning
        )
        return _answer(request, sink.pk, 201)


class SinkItem(Endpoint):
    """One receiver."""

    permission = {"GET": Permission.AUDIT_READ, "PATCH": Permission.GATEWAY_WRITE}

    @extend_schema(responses=SinkOutput)
    def get(self, request: ApiRequest, sink_id: str) -> Response:
        """Its settings and how far it has confirmed."""
        return _answer(request, parse_public_id("snk", sink_id))

    @extend_schema(request=SinkChangeInput, responses=SinkOutput)
    def patch(self, request: ApiRequest, sink_id: str) -> Response:
        """Change what is named. A secret that is not bound to a new address is refused. Needs `audit:read` as well."""
        changes = SinkChangeInput.parse(request.data)
        number = parse_public_id("snk", sink_id)
        demand_match(request, selectors.sink_detail(request.actor, number).sink.audit_rev)
        sinks.change_sink(actor=request.actor, sink_id=number, changes=changes)
        return _answer(request, number)


class SinkDisable(Endpoint):
    """Stopping a receiver."""

    permission = Permission.GATEWAY_WRITE

    @extend_schema(request=ReasonInput, responses=SinkOutput)
    def post(self, request: ApiRequest, sink_id: str) -> Response:
        """It gets nothing until it is enabled, and keeps its place in the log. Needs `audit:read` as well."""
        number, reason = parse_public_id("snk", sink_id), ReasonInput.parse(request.data)["reason"]
        sinks.disable_sink(actor=request.actor, sink_id=number, reason=reason)
        return _answer(request, number)


class SinkEnable(Endpoint):
    """Starting a receiver again."""

    permission = Permission.GATEWAY_WRITE

    @extend_schema(request=ReasonInput, responses=SinkOutput)
    def post(self, request: ApiRequest, sink_id: str) -> Response:
        """It goes on from where it stopped. Needs `audit:read` as well."""
        number, reason = parse_public_id("snk", sink_id), ReasonInput.parse(request.data)["reason"]
        sinks.enable_sink(actor=request.actor, sink_id=number, reason=reason)
        return _answer(request, number)


class SinkRemove(Endpoint):
    """Removing a receiver."""

    permission = Permission.GATEWAY_WRITE

    @extend_schema(request=ReasonInput, responses={204: None})
    def post(self, request: ApiRequest, sink_id: str) -> Response:
        """It is gone with its place in the log. Needs `audit:read` as well."""
        number, reason = parse_public_id("snk", sink_id), ReasonInput.parse(request.data)["reason"]
        sinks.remove_sink(actor=request.actor, sink_id=number, reason=reason)
        return Response(status=204)


class DigestList(Endpoint):
    """Regular mails about the log."""

    permission = {"GET": Permission.AUDIT_READ, "POST": Permission.GATEWAY_WRITE}

    @extend_schema(responses=DigestOutput(many=True))
    def get(self, request: ApiRequest) -> Response:
        """Every digest with its newest mail, newest first."""
        rows, following = Paging.of(request).page(selectors.digests(request.actor))
        return list_response([_digest(row) for row in selectors.shown_digests(request.actor, rows)], following)

    @extend_schema(request=DigestInput, responses={201: DigestOutput})
    def post(self, request: ApiRequest) -> Response:
        """The first mail is about the period that is now. Needs `audit:read` as well."""
        digest = digests.create_digest(actor=request.actor, contents=_contents(request))
        return Response(_digest(selectors.digest_detail(request.actor, digest.pk)), status=201)


class DigestItem(Endpoint):
    """One digest."""

    permission = {"GET": Permission.AUDIT_READ, "PUT": Permission.GATEWAY_WRITE}

    @extend_schema(responses=DigestOutput)
    def get(self, request: ApiRequest, digest_id: str) -> Response:
        """Its settings and its newest mail."""
        return Response(_digest(selectors.digest_detail(request.actor, parse_public_id("dgs", digest_id))))

    @extend_schema(request=DigestInput, responses=DigestOutput)
    def put(self, request: ApiRequest, digest_id: str) -> Response:
        """Replace what it tells and to whom. Needs `audit:read` as well."""
        number = parse_public_id("dgs", digest_id)
        digests.change_digest(actor=request.actor, digest_id=number, contents=_contents(request))
        return Response(_digest(selectors.digest_detail(request.actor, number)))


class DigestRemove(Endpoint):
    """Ending a digest."""

    permission = Permission.GATEWAY_WRITE

    @extend_schema(request=ReasonInput, responses={204: None})
    def post(self, request: ApiRequest, digest_id: str) -> Response:
        """No further mail goes. Needs `audit:read` as well."""
        number, reason = parse_public_id("dgs", digest_id), ReasonInput.parse(request.data)["reason"]
        digests.remove_digest(actor=request.actor, digest_id=number, reason=reason)
        return Response(status=204)


def _answer(request: ApiRequest, sink_id: UUID, status: int = 200) -> Response:
    shown = selectors.sink_detail(request.actor, sink_id)
    return Response(_sink(shown), status=status, headers={"ETag": etag(shown.sink.audit_rev)})


def _contents(request: ApiRequest) -> Contents:
    data = DigestInput.parse(request.data)
    return Contents(**{**data, "readers": [parse_public_id("usr", reader) for reader in data["readers"]]})


def _sink(shown: ShownSink) -> dict[str, Any]:
    sink, cursor = shown.sink, shown.cursor
    return {
        "id": public_id("snk", sink.pk),
        "name": sink.name,
        "kind": sink.kind,
        "address": sink.address,
        "secret": f"secret://{sink.secret_name}" if sink.secret_name else "",
        "region": sink.region,
        "authorities": sink.authorities,
        "private_network": sink.private_network,
        "risk": sink.risk,
        "events": list(sink.events),
        "with_labels": sink.with_labels,
        "status": sink.status,
        "state": shown.state,
        "epoch": cursor.epoch,
        "next_index": cursor.next_idx,
        "backlog": shown.backlog,
        "failures": cursor.failures,
        "failing_since": cursor.failing_since,
        "last_error": cursor.last_error,
        "confirmed_at": cursor.confirmed_at,
        "created_at": sink.created_at,
    }


def _digest(shown: ShownDigest) -> dict[str, Any]:
    digest, newest = shown.digest, shown.newest
    return {
        "id": public_id("dgs", digest.pk),
        "title": digest.title,
        "period": digest.period,
        "risk": digest.risk,
        "review": digest.review,
        "readers": [public_id("usr", UUID(reader["user_id"])) for reader in digest.readers],
        "last_period": newest.period_start if newest else None,
        "sent_at": shown.sent_at,
        "last_error": newest.last_error if newest else "",
        "created_at": digest.created_at,
    }
