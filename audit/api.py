"""The log for programs: search it, read one event with its exact signed bytes, follow its tiles, take a bundle away."""

import gzip
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import FileResponse, HttpResponse
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from audit import evidence, exports, names, narrative, one_event, selectors
from audit.envelope import OUTCOMES, timestamp
from audit.reads import TREE, LogEndpoint
from audit.seal import SealState, seal_of
from audit.selectors import EventFilters, EventRow
from audit.spool import spooled
from audit.steps import State
from audit.tiles import published_log
from audit.words import ACTIONS
from provenance.api import ApiRequest, Endpoint, Paging, list_response
from provenance.errors import Invalid, NotFound
from provenance.ids import parse_public_id, public_id
from provenance.permissions import Permission
from provenance.risk import Risk

_FIRST_YEAR, _LAST_YEAR = 2000, 2200
PATIENCE_SECONDS = 0.5
"""How long a search looks for rare events. Programs wait longer than people, but not for 84 months."""


class ActorOutput(serializers.Serializer[Any]):
    """Who did it. `label` is erasable."""

    kind = serializers.CharField()
    id = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field named like a property of fields


class ObjectOutput(serializers.Serializer[Any]):
    """What it is about; `rev` is the revision after the change, `op` what was done with it."""

    type = serializers.CharField()
    id = serializers.CharField()
    rev = serializers.IntegerField(allow_null=True)
    op = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field named like a property of fields


class EventOutput(serializers.Serializer[Any]):
    """One event. Everything but labels, reason and detail is signed."""

    event_id = serializers.CharField()
    event_type = serializers.CharField()
    event_version = serializers.IntegerField()
    occurred_at = serializers.CharField()
    log_index = serializers.IntegerField(
        allow_null=True, help_text="Its place in the workspace's Merkle log; null until it is sealed."
    )
    workspace = serializers.CharField()
    actor = ActorOutput()
    on_behalf_of = serializers.CharField()
    object = ObjectOutput()
    changed = serializers.ListField(child=serializers.CharField())
    outcome = serializers.CharField()
    risk = serializers.CharField()
    reason = serializers.CharField()
    context = serializers.DictField()  # type: ignore[assignment]  # a field named like a property of fields
    key_id = serializers.CharField()
    mac = serializers.CharField(help_text="HMAC-SHA256 in hex over `provenance-audit-v1`, a line feed and `body`.")


class ProofOutput(serializers.Serializer[Any]):
    """What the server itself found; recompute it to be sure. null: it could not be checked here."""

    signature_valid = serializers.BooleanField(allow_null=True)
    contents_match = serializers.BooleanField()
    detail_matches = serializers.BooleanField(allow_null=True)
    detail_erased = serializers.BooleanField()
    in_log = serializers.BooleanField(allow_null=True)
    in_checkpoint = serializers.BooleanField(allow_null=True)
    checkpoint_signed = serializers.BooleanField(allow_null=True)


class ProofStepOutput(serializers.Serializer[Any]):
    """One step of the proof in words. A failed one says what was expected and what was found."""

    state = serializers.ChoiceField(choices=list(State))
    title = serializers.CharField()
    figure = serializers.CharField()
    expected = serializers.CharField()
    found = serializers.CharField()


class EventDetailOutput(EventOutput):
    """One event with the exact signed text and its erasable detail."""

    body = serializers.CharField()
    detail = serializers.DictField()
    proof = ProofOutput()
    steps = ProofStepOutput(many=True)
    checkpoint_size = serializers.IntegerField(
        allow_null=True, help_text="Size of the first published checkpoint that holds it; null until there is one."
    )


class SealOutput(serializers.Serializer[Any]):
    """Up to where the log is sealed. `stale`: longer ago than a log may be silent. `broken`: something did not verify."""

    state = serializers.ChoiceField(choices=list(SealState))
    sealed_at = serializers.DateTimeField(allow_null=True)
    origin = serializers.CharField(
        help_text="The log's name, the first line of its checkpoints; empty before the first."
    )
    size = serializers.IntegerField(help_text="How many events the newest checkpoint holds.")
    address = serializers.CharField(help_text="Where the log is read in the layout of c2sp.org/tlog-tiles.")


_FILTERS = [
    OpenApiParameter("since", OpenApiTypes.DATETIME, description="Not before this time (RFC 3339)."),
    OpenApiParameter("until", OpenApiTypes.DATETIME, description="Before this time (RFC 3339)."),
    OpenApiParameter(
        "type", OpenApiTypes.STR, many=True, description="A type (`run.failed`), or a part of it: `run`, `failed`."
    ),
    OpenApiParameter("actor", OpenApiTypes.STR, description="Id of the actor, `usr_…` or as events hold it."),
    OpenApiParameter("object", OpenApiTypes.STR, description="Id of the object, `apr_…` or as events hold it."),
    OpenApiParameter("run", OpenApiTypes.STR, description="Id of a run, `run_…`."),
    OpenApiParameter("risk", OpenApiTypes.STR, enum=list(Risk), description="This risk or worse."),
    OpenApiParameter("outcome", OpenApiTypes.STR, enum=OUTCOMES),
]


class EventList(LogEndpoint):
    """Search the log, newest first."""

    permission = Permission.AUDIT_READ

    @extend_schema(parameters=_FILTERS, responses=EventOutput(many=True))
    def get(self, request: ApiRequest) -> Response:
        """A page of events. A search for something rare may end before its page is full: go on with `next`."""
        rows, cursor = selectors.search(
            actor=request.actor,
            filters=filters_of(request),
            paging=Paging.of(request),
            patience_seconds=PATIENCE_SECONDS,
        )
        return list_response([EventOutput(_event(row)).data for row in rows], cursor)


class EventDetail(LogEndpoint):
    """One event with its exact signed bytes."""

    permission = Permission.AUDIT_READ

    @extend_schema(responses=EventDetailOutput)
    def get(self, request: ApiRequest, event_id: str) -> Response:
        """The event."""
        found = one_event.event_detail(actor=request.actor, event_id=parse_public_id("evt", event_id))
        facts = {
            "body": found.row.event.body,
            "detail": found.row.facts,
            "proof": found.proof,
            "steps": found.steps,
            "checkpoint_size": found.sealed_in.checkpoint.size if found.sealed_in else None,
        }
        return Response(EventDetailOutput(_event(found.row) | facts).data)


class EventProof(LogEndpoint):
    """What proves one event to whoever has the log's public key."""

    permission = Permission.AUDIT_READ

    @extend_schema(responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: ApiRequest, event_id: str) -> HttpResponse:
        """The `.tlog-proof` (c2sp.org/tlog-proof); its `extra` line is the event itself."""
        found = one_event.event_proof_text(actor=request.actor, event_id=parse_public_id("evt", event_id))
        return HttpResponse(found, content_type="text/plain; charset=utf-8")


class TimelineOutput(EventOutput):
    """One event with what happened as a sentence."""

    told = serializers.CharField()


class Timeline(LogEndpoint):
    """What the log holds about one run, member or agent: a chain of events that reads as what was done and why."""

    permission = Permission.AUDIT_READ

    @extend_schema(responses=TimelineOutput(many=True))
    def get(self, request: ApiRequest, kind: str, subject: str) -> Response:
        """A page of events, newest first. `kind` is `run`, `user` or `agent`, `subject` its id; of the last two also a name."""
        if kind not in {"run", "user", "agent"}:
            raise NotFound("There are timelines of a run, a user and an agent.")
        named = str(parse_public_id("run", subject)) if kind == "run" else names.subject(request.actor, kind, subject)
        rows, cursor = selectors.timeline(actor=request.actor, kind=kind, subject=named, paging=Paging.of(request))
        told = [_event(row) | {"told": narrative.told(row)} for row in rows]
        return list_response([TimelineOutput(item).data for item in told], cursor)


class Seal(LogEndpoint):
    """Is the log sealed, and up to where?"""

    permission = Permission.AUDIT_READ

    @extend_schema(responses=SealOutput)
    def get(self, request: ApiRequest) -> Response:
        """The state of the seal."""
        seal = seal_of(request.actor)
        address = reverse("api-audit-log-checkpoint", args=[request.workspace_id]).removesuffix("/checkpoint")
        return Response(SealOutput({**asdict(seal), "address": address}).data)


# --- The Merkle log (c2sp.org/tlog-tiles) ------------------------------------------------------------------------------

_NEVER_CHANGES = "private, max-age=31536000, immutable"
_BYTES = {(200, "application/octet-stream"): OpenApiTypes.BINARY}


class LogCheckpoint(LogEndpoint):
    """The newest checkpoint of the workspace's log, as a signed note."""

    permission = Permission.AUDIT_READ
    surface = TREE

    @extend_schema(responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: ApiRequest, workspace_id: UUID, epoch: int | None = None) -> HttpResponse:
        """The note."""
        log = published_log(actor=request.actor, workspace_id=workspace_id, epoch=epoch)
        return HttpResponse(log.checkpoint.note, content_type="text/plain; charset=utf-8")


class LogTile(LogEndpoint):
    """A tile of the Merkle tree: up to 256 hashes. `place` is `<N>` or `<N>.p/<W>`, N in groups of three digits."""

    permission = Permission.AUDIT_READ
    surface = TREE

    @extend_schema(responses=_BYTES)
    def get(
        self, request: ApiRequest, workspace_id: UUID, level: str, place: str, epoch: int | None = None
    ) -> HttpResponse:
        """The hashes."""
        log = published_log(actor=request.actor, workspace_id=workspace_id, epoch=epoch)
        return _unchanging(request, log.tile(level, place))


class LogEntries(LogEndpoint):
    """Up to 256 entries of the log, each with its length before it. `place` is as for tiles."""

    permission = Permission.AUDIT_READ
    surface = TREE

    @extend_schema(responses=_BYTES)
    def get(self, request: ApiRequest, workspace_id: UUID, place: str, epoch: int | None = None) -> HttpResponse:
        """The entries."""
        log = published_log(actor=request.actor, workspace_id=workspace_id, epoch=epoch)
        return _unchanging(request, log.entries(place))


def _unchanging(request: ApiRequest, data: bytes) -> HttpResponse:
    """Bytes that stay as they are for ever, packed for whoever takes that."""
    headers = {"Cache-Control": _NEVER_CHANGES, "Vary": "X-API-Key, Accept-Encoding"}
    if "gzip" in request.META.get("HTTP_ACCEPT_ENCODING", ""):
        # Without a time in it: the same bytes for everybody.
        data, headers["Content-Encoding"] = gzip.compress(data, mtime=0), "gzip"
    return HttpResponse(data, content_type="application/octet-stream", headers=headers)


class ControlOutput(serializers.Serializer[Any]):
    """One control, in what way the log supports it, and which events do."""

    id = serializers.CharField()
    name = serializers.CharField()
    supports = serializers.CharField()
    event_types = serializers.ListField(child=serializers.CharField(), source="actions")
    without = serializers.CharField()


class FrameworkOutput(serializers.Serializer[Any]):
    """A standard with its edition and the controls that the log supports."""

    id = serializers.CharField()
    name = serializers.CharField()
    edition = serializers.CharField()
    controls = ControlOutput(many=True)


class FrameworksOutput(serializers.Serializer[Any]):
    """All frameworks. They come with the platform and are few, so there is one page of them."""

    frameworks = FrameworkOutput(many=True)


class EvidenceList(Endpoint):
    """The frameworks for which the log holds evidence."""

    permission = Permission.AUDIT_READ

    @extend_schema(operation_id="audit_evidence_frameworks", responses=FrameworksOutput)
    def get(self, _request: ApiRequest) -> Response:
        """All of them. Which events support a control is the same in every workspace."""
        return Response(FrameworksOutput({"frameworks": list(evidence.frameworks().values())}).data)


class EvidencePack(Endpoint):
    """One archive with the events that support a framework's controls, their proofs and the verifier."""

    permission = Permission.AUDIT_READ

    @extend_schema(
        operation_id="audit_evidence_pack",
        parameters=_FILTERS[:2],
        responses={(200, "application/zip"): OpenApiTypes.BINARY},
    )
    def get(self, request: ApiRequest, framework_id: str) -> HttpResponse | FileResponse:
        """The zip. Taking it is an event; it is committed before the first byte leaves."""
        actor, times = request.actor, filters_of(request)
        file = spooled(lambda out: evidence.evidence_pack(actor=actor, framework_id=framework_id, times=times, out=out))
        name = f"evidence-{framework_id}.zip"
        return FileResponse(file, as_attachment=True, filename=name, content_type="application/zip")


class Export(Endpoint):
    """A bundle of events to verify offline."""

    permission = Permission.AUDIT_READ

    @extend_schema(parameters=_FILTERS, responses={(200, "application/zip"): OpenApiTypes.BINARY})
    def get(self, request: ApiRequest) -> HttpResponse | FileResponse:
        """The zip. Exporting is an event; it is committed before the first byte leaves."""
        actor, filters = request.actor, filters_of(request)
        file = spooled(lambda out: exports.export_bundle(actor=actor, out=out, filters=filters))
        return FileResponse(file, as_attachment=True, filename="audit-events.zip", content_type="application/zip")


def filters_of(request: ApiRequest) -> EventFilters:
    """The filters in an address. Raises `Invalid` naming the parameter that is wrong."""
    query = request.GET
    known = {parameter.name for parameter in _FILTERS} | {"limit", "cursor"}
    if unknown := sorted(set(query) - known):
        raise Invalid(
            "There is no such filter.", errors=[{"path": name[:64], "message": "unknown parameter"} for name in unknown]
        )
    risk, outcome = query.get("risk", ""), query.get("outcome", "")
    if risk and risk not in list(Risk):
        raise _invalid("risk", f"One of {', '.join(Risk)}.")
    if outcome and outcome not in OUTCOMES:
        raise _invalid("outcome", f"One of {', '.join(OUTCOMES)}.")
    if unknown := sorted(set(query.getlist("type")) - ACTIONS):
        # Nothing would be found, and that would look like silence.
        raise _invalid("type", f"There is no event {unknown[0][:64]!r}, and none whose name begins or ends so.")
    since, until = _time("since", query.get("since", "")), _time("until", query.get("until", ""))
    if since and until and since > until:
        raise _invalid("until", "A time that is not before `since`.")
    return EventFilters(
        since=since,
        until=until,
        actions=query.getlist("type"),
        actor_id=_held("actor", query.get("actor", "")),
        object_id=_held("object", query.get("object", "")),
        run_id=parse_public_id("run", query["run"]) if _held("run", query.get("run", "")) else None,
        risk=Risk(risk) if risk else None,
        outcome=outcome,
    )


def _held(name: str, text: str) -> str:
    try:
        return selectors.held_id(text)
    except Invalid as error:
        raise _invalid(name, error.message) from error


def _time(name: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or not _FIRST_YEAR <= found.year <= _LAST_YEAR:
        raise _invalid(name, "A time with its zone, for example 2026-11-21T09:00:00Z.")
    return found


def _invalid(name: str, message: str) -> Invalid:
    return Invalid(f"{name}: {message}", errors=[{"path": name, "message": message}])


def _event(row: EventRow) -> dict[str, Any]:
    # From the columns where there is one: of a body that somebody replaced, the proof says so and the rest stays readable.
    event, body = row.event, row.event.signed
    return {
        "event_id": event.public_id,
        "event_type": event.action,
        "event_version": version if isinstance(version := body.get("v"), int) else 0,
        "occurred_at": timestamp(row.at),
        "log_index": row.log_index,
        "workspace": str(event.workspace_id),
        "actor": {"kind": event.actor_type, "id": event.actor_id, "label": row.actor_label},
        "on_behalf_of": str(body.get("on_behalf_of") or ""),
        "object": {
            "type": event.object_type,
            "id": event.object_id,
            "rev": event.rev,
            "op": event.op,
            "label": row.object_label,
        },
        "changed": event.changed,
        "outcome": event.outcome,
        "risk": event.risk,
        "reason": row.reason,
        "context": _context(event.context),
        "key_id": event.kid,
        "mac": bytes(event.mac).hex(),
    }


def _context(context: dict[str, Any]) -> dict[str, Any]:
    """The context with the run's id as the rest of the API writes it."""
    try:
        return {**context, "run_id": public_id("run", UUID(context["run_id"]))}
    except (KeyError, ValueError, TypeError, AttributeError):
        return context
