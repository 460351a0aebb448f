"""JSON about streams and digests: where the log goes and how far each receiver has confirmed. Never a credential.

Only to read: where the log goes is decided by people, in the console, because a stream outlives the key that made it.
"""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from gateway.deliveries.contract import Kind
from provenance.api import ApiRequest, Endpoint, Paging, list_response
from provenance.ids import parse_public_id, public_id
from provenance.permissions import Permission
from streams import selectors
from streams.models import Digest, Sink
from streams.selectors import ShownDigest, ShownSink

_KINDS = [(kind.value, kind.value) for kind in Kind]


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


class SinkList(Endpoint):
    """Receivers of the log."""

    permission = Permission.AUDIT_READ

    @extend_schema(responses=SinkOutput(many=True))
    def get(self, request: ApiRequest) -> Response:
        """Every receiver with how far it has confirmed, newest first."""
        rows, following = Paging.of(request).page(selectors.sinks(request.actor))
        return list_response([_sink(row) for row in selectors.shown_sinks(request.actor, rows)], following)


class SinkItem(Endpoint):
    """One receiver."""

    permission = Permission.AUDIT_READ

    @extend_schema(responses=SinkOutput)
    def get(self, request: ApiRequest, sink_id: str) -> Response:
        """Its settings and how far it has confirmed."""
        return Response(_sink(selectors.sink_detail(request.actor, parse_public_id("snk", sink_id))))


class DigestList(Endpoint):
    """Regular mails about the log."""

    permission = Permission.AUDIT_READ

    @extend_schema(responses=DigestOutput(many=True))
    def get(self, request: ApiRequest) -> Response:
        """Every digest with its newest mail, newest first."""
        rows, following = Paging.of(request).page(selectors.digests(request.actor))
        return list_response([_digest(row) for row in selectors.shown_digests(request.actor, rows)], following)


class DigestItem(Endpoint):
    """One digest."""

    permission = Permission.AUDIT_READ

    @extend_schema(responses=DigestOutput)
    def get(self, request: ApiRequest, digest_id: str) -> Response:
        """Its settings and its newest mail."""
        return Response(_digest(selectors.digest_detail(request.actor, parse_public_id("dgs", digest_id))))


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
