"""REST for programs: endpoints with a permission, strict JSON in, `application/problem+json` (RFC 9457) on refusal.

The key door (`apikeys.middleware`) turns `X-API-Key` into `request.actor` and opens the transaction; an endpoint names
the permission and raises errors of `provenance.errors`.

    class RunCancel(Endpoint):
        permission = Permission.RUNS_WRITE

        def post(self, request: ApiRequest, run_id: str) -> Response: ...
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import IO, Any, ClassVar, TypeVar, cast
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from rest_framework import exceptions as drf
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from provenance import strict_json
from provenance.actor import Actor
from provenance.errors import (
    Invalid,
    NotFound,
    PermissionDenied,
    ProvenanceError,
    StaleRevision,
    Unauthenticated,
    problem_details,
)
from provenance.permissions import Permission

LARGEST_BODY_BYTES = 1024 * 1024
DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 200

Row = TypeVar("Row", bound=Model)


# --- Errors ----------------------------------------------------------------------------------------------------------


class MethodNotAllowed(ProvenanceError):
    """This address does not know the method."""

    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"


class NotAcceptable(ProvenanceError):
    """Answers are application/json; the Accept header excludes that."""

    code = "not_acceptable"
    status = 406
    title = "Not acceptable"


class TooLarge(ProvenanceError):
    """The body is too large."""

    code = "too_large"
    status = 413
    title = "Too large"


class UnsupportedMediaType(ProvenanceError):
    """The body must be application/json."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported media type"


def problem_response(problem: ProvenanceError, request_id: str = "") -> HttpResponse:
    """The error as an answer of REST, `application/problem+json`."""
    body = problem_details(problem, request_id)
    if isinstance(problem, PermissionDenied) and problem.permission:
        body["missing_scope"] = problem.permission.value
    response = JsonResponse(body, status=problem.status, content_type="application/problem+json")
    response["Cache-Control"] = "no-store"
    if problem.status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = 'ApiKey realm="provenance", header="X-API-Key"'
    return response


def exception_handler(exc: Exception, _context: Mapping[str, Any]) -> Response | None:
    """Translate what REST framework raises into our tree and let everything fly on to the door, which rolls back."""
    match exc:
        case drf.ValidationError():
            raise Invalid("The request is not valid.", errors=_flat(exc.detail)) from exc
        case drf.ParseError():
            raise Invalid(str(exc.detail)) from exc
        case drf.MethodNotAllowed():
            raise MethodNotAllowed(str(exc.detail)) from exc
        case drf.NotAcceptable():
            raise NotAcceptable from exc
        case drf.UnsupportedMediaType():
            raise UnsupportedMediaType(str(exc.detail)) from exc
    return None


def _flat(detail: Any, path: str = "") -> list[dict[str, str]]:
    """REST framework's nested errors as a flat list of path and message."""
    if isinstance(detail, Mapping):
        pairs: Sequence[tuple[Any, Any]] = list(detail.items())
    elif isinstance(detail, list) and any(isinstance(item, (Mapping, list)) for item in detail):
        pairs = list(enumerate(detail))
    else:
        return [{"path": path, "message": str(item)} for item in (detail if isinstance(detail, list) else [detail])]
    return [error for key, item in pairs for error in _flat(item, f"{path}.{key}" if path else str(key))]


# --- Bodies ----------------------------------------------------------------------------------------------------------


class StrictJSONParser(BaseParser):
    """JSON with a size cap that refuses what two parsers could read differently (`provenance.strict_json`)."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], _media_type: str | None = None, _parser_context: Any = None) -> Any:
        """The value. Raises `TooLarge` or `Invalid`."""
        raw = stream.read(LARGEST_BODY_BYTES + 1)
        if len(raw) > LARGEST_BODY_BYTES:
            raise TooLarge(f"The body is larger than {LARGEST_BODY_BYTES} bytes.")
        try:
            return strict_json.parse(raw, nul=False)
        except strict_json.Malformed as error:
            errors = [{"path": error.key, "message": "duplicate key"}] if error.key else []
            raise Invalid(f"The body is not valid JSON: {error}.", errors=errors) from None


def _refuse_unstorable(query: QueryDict) -> None:
    """Raise `Invalid` for an address whose parameters hold U+0000: Postgres takes no such text to compare with."""
    for name, values in query.lists():
        if "\0" in name or any("\0" in value for value in values):
            shown = name.replace("\0", "\ufffd")[:64]
            raise Invalid("The address holds U+0000.", errors=[{"path": shown, "message": "holds U+0000"}])


# --- The shape of lists ----------------------------------------------------------------------------------------------


class Page:
    """How the published schema describes a list; `Paging` and `list_response` below make one."""

    def get_schema_operation_parameters(self, _view: object) -> list[dict[str, Any]]:
        """The parameters that `Paging.of` reads."""
        limit = {
            "type": "integer",
            "minimum": 1,
            "maximum": LARGEST_PAGE_SIZE,
            "default": DEFAULT_PAGE_SIZE,
        }
        cursor = {"type": "string"}
        return [
            {"name": "limit", "in": "query", "schema": limit, "description": "How many items at most."},
            {"name": "cursor", "in": "query", "schema": cursor, "description": "`next` of the page before."},
        ]

    def get_paginated_response_schema(self, items: dict[str, Any]) -> dict[str, Any]:
        """The shape of `list_response`."""
        following = {"type": ["string", "null"], "description": "The cursor of the next page, null at the end."}
        return {"type": "object", "required": ["items", "next"], "properties": {"items": items, "next": following}}


# --- Endpoints -------------------------------------------------------------------------------------------------------


class ApiRequest(Request):
    """A request that came through the key door."""

    @property
    def actor(self) -> Actor:
        """Who asks. Raises `Unauthenticated` where no door stood in between, so that such a route serves nobody."""
        actor: Actor | None = getattr(self._request, "actor", None)
        if actor is None:
            raise Unauthenticated
        return actor

    @property
    def workspace_id(self) -> UUID:
        """The workspace of the key."""
        if self.actor.workspace_id is None:
            raise Unauthenticated
        return self.actor.workspace_id


class Endpoint(APIView):
    """One address of the API. A subclass names `permission`: one for all methods, or one for each.

    None is for what a key may do whatever its scopes are, and that is only to learn and to end itself.
    """

    permission: ClassVar[Permission | Mapping[str, Permission] | None]
    parser_classes = [StrictJSONParser]
    pagination_class = Page
    # No OPTIONS: the published schema says it better.
    http_method_names = ["get", "post", "put", "patch", "delete", "head"]

    @classmethod
    def permission_for(cls, method: str) -> Permission | None:
        """What a request with this method needs. Raises `MethodNotAllowed` where the table of permissions lacks it."""
        if cls.permission is None or isinstance(cls.permission, Permission):
            return cls.permission
        wanted = cls.permission.get("GET" if method == "HEAD" else method)
        if wanted is None:
            raise MethodNotAllowed(f"This address does not know {method}.")
        return wanted

    def initialize_request(self, request: HttpRequest, *_args: Any, **_kwargs: Any) -> ApiRequest:
        """Wrap Django's request in ours."""
        return ApiRequest(
            request,
            parsers=self.get_parsers(),
            authenticators=[],
            negotiator=self.get_content_negotiator(),
            parser_context=self.get_parser_context(request),
        )

    def get_exception_handler(self) -> Callable[..., Response | None]:
        """Ours, which lets errors fly on to the door."""
        return exception_handler

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Demand the permission before anything of the endpoint runs."""
        super().initial(request, *args, **kwargs)
        _refuse_unstorable(request.GET)
        actor = cast("ApiRequest", request).actor
        if permission := self.permission_for(request.method or ""):
            actor.require(permission)


def endpoint_of(view: Callable[..., Any]) -> type[Endpoint] | None:
    """The endpoint class behind a URL's view, None for other views."""
    cls = getattr(view, "cls", None)
    return cls if isinstance(cls, type) and issubclass(cls, Endpoint) else None


class Input(Serializer[Any]):
    """What an endpoint accepts. Unknown fields are refused: a misspelled one must not be silently ignored."""

    @classmethod
    def parse(cls, data: Any) -> dict[str, Any]:
        """The checked values. Raises `Invalid` with one error for each thing that is wrong."""
        if not isinstance(data, Mapping):
            raise Invalid("The body must be a JSON object.")
        serializer = cls(data=data)
        unknown = [
            {"path": str(name), "message": "There is no such field."} for name in data if name not in serializer.fields
        ]
        if not serializer.is_valid() or unknown:
            raise Invalid("The request is not valid.", errors=[*_flat(serializer.errors), *unknown])
        return dict(serializer.validated_data)


# --- Lists -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part of a list is asked for: `limit` rows that are older than the row `before` (None: from the newest)."""

    limit: int = DEFAULT_PAGE_SIZE
    before: UUID | None = None

    @classmethod
    def of(cls, request: HttpRequest | Request) -> "Paging":
        """Read `?limit=` (1 to 200) and `?cursor=` of an address. Raises `Invalid`."""
        return cls(limit=_limit(request.GET.get("limit", "")), before=_cursor(request.GET.get("cursor", "")))

    @classmethod
    def of_cursor(cls, cursor: str) -> "Paging":
        """The page that begins at this cursor. Raises `Invalid` for one that is not ours."""
        return cls(before=_cursor(cursor))

    def one_more(self) -> "Paging":
        """The same part with a row more: for lists that are put together of several."""
        return replace(self, limit=self.limit + 1)

    def page(self, rows: QuerySet[Row]) -> tuple[list[Row], str | None]:
        """The rows, newest first, and the cursor of the next page (None at the end). Keys must be UUIDv7."""
        older = rows.filter(pk__lt=self.before) if self.before else rows
        found = list(older.order_by("-pk")[: self.limit + 1])
        return found[: self.limit], cursor_after(found[self.limit - 1].pk) if len(found) > self.limit else None


def list_response(items: Sequence[Any], next_cursor: str | None) -> Response:
    """A list as the API gives it: `{"items": […], "next": cursor or null}`."""
    return Response({"items": items, "next": next_cursor})


def page_response(request: HttpRequest | Request, rows: QuerySet[Row], shown: Callable[[Row], Any]) -> Response:
    """The part of these rows that the request asks for, each as `shown` says it."""
    found_rows, following = Paging.of(request).page(rows)
    return list_response([shown(row) for row in found_rows], following)


def cursor_after(row_id: UUID) -> str:
    """The cursor of the page that starts after this row. Opaque to clients."""
    return base64.urlsafe_b64encode(row_id.bytes).decode("ascii").rstrip("=")


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_PAGE_SIZE
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= LARGEST_PAGE_SIZE:
        message = f"A number from 1 to {LARGEST_PAGE_SIZE}."
        raise Invalid(
            f"limit must be a number from 1 to {LARGEST_PAGE_SIZE}.", errors=[{"path": "limit", "message": message}]
        )
    return int(text)


def _cursor(text: str) -> UUID | None:
    if not text:
        return None
    try:
        return UUID(bytes=base64.b64decode(f"{text}==", altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        message = "Take it from `next` of the page before."
        raise Invalid("cursor is not one of ours.", errors=[{"path": "cursor", "message": message}]) from error


# --- Revisions -------------------------------------------------------------------------------------------------------


def etag(revision: int) -> str:
    """The ETag of a governed row: its `audit_rev`."""
    return f'"{revision}"'


def demand_match(request: HttpRequest | Request, revision: int) -> None:
    """Raise `StaleRevision` when the request carries `If-Match` and the row has moved on. Without the header: nothing."""
    wanted = request.META.get("HTTP_IF_MATCH", "").strip()
    if wanted and wanted != "*" and etag(revision) not in [part.strip() for part in wanted.split(",")]:
        raise StaleRevision(f"You changed revision {wanted[:32]}, but the newest is {etag(revision)}.")


# --- Repeats ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Repeatable:
    """An `Idempotency-Key` and the fingerprint (hex SHA-256) of the request it was first used for.

    The same key with the same fingerprint gives the first answer again; with another one it is `IdempotencyMismatch`.
    """

    key: str
    fingerprint: str


class IdempotencyMismatch(Invalid):
    """This Idempotency-Key was used for a different request."""

    code = "idempotency_mismatch"


def repeatable(request: ApiRequest) -> Repeatable | None:
    """The request's `Idempotency-Key`, None without one. Raises `Invalid` for one that is not 1 to 255 visible characters."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
        raise Invalid("Idempotency-Key must be 1 to 255 visible ASCII characters.")
    # Not the body's bytes: a client that repeats may order the same JSON differently.
    body = json.dumps(request.data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    text = "\n".join([request.method or "", request.path, body])
    return Repeatable(key, hashlib.sha256(text.encode("ascii")).hexdigest())


def found(value: Row | None, what: str) -> Row:
    """The row, or `NotFound` naming what was looked for."""
    if value is None:
        raise NotFound(f"There is no such {what} here.")
    return value
