"""What the API accepts and how it lists and refuses: the parts that need no door."""

import io
from uuid import UUID

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from rest_framework import exceptions as drf

from provenance import api
from provenance.errors import Conflict, Invalid, PermissionDenied, StaleRevision
from provenance.ids import uuid7
from provenance.permissions import Permission


def ask(query="", **headers):
    return RequestFactory(headers=headers).get(f"/api/v1/x{query}")


@given(st.uuids())
def test_a_cursor_comes_back_as_the_row_it_was_made_from(row):
    assert api.Paging.of(ask(f"?cursor={api.cursor_after(row)}")).before == row


@pytest.mark.parametrize("cursor", ["x", "AAAA", "é", "A" * 200, "../..", "AAAAAAAAAAAAAAAAAAAAA!"])
def test_an_invented_cursor_is_refused(cursor):
    with pytest.raises(Invalid, match="cursor"):
        api.Paging.of(ask(f"?cursor={cursor}"))


@pytest.mark.parametrize("limit", ["0", "201", "-1", "1.5", "x", "٣", "99999"])
def test_a_limit_out_of_bounds_is_refused(limit):
    with pytest.raises(Invalid, match="limit"):
        api.Paging.of(ask(f"?limit={limit}"))


def test_without_a_word_a_page_has_fifty_rows_from_the_newest():
    assert api.Paging.of(ask()) == api.Paging(limit=50, before=None)


def test_pages_follow_each_other_newest_first_without_gap_or_repeat(workspace):
    from workspaces.models import Environment

    rows = Environment.objects.all()
    first, cursor = api.Paging(limit=2).page(rows)
    rest, end = api.Paging.of(ask(f"?limit=2&cursor={cursor}")).page(rows)
    assert [row.pk for row in [*first, *rest]] == sorted((row.pk for row in rows), reverse=True)
    assert end is None


@pytest.mark.parametrize(
    ("header", "is_fine"),
    [(None, True), ('"3"', True), ("*", True), ('"2", "3"', True), ('"2"', False), ("3", False), ('W/"3"', False)],
)
def test_if_match_demands_the_revision_that_was_read(header, is_fine):
    request = ask(**({"If-Match": header} if header else {}))
    if is_fine:
        api.demand_match(request, 3)
    else:
        with pytest.raises(StaleRevision):
            api.demand_match(request, 3)


def test_a_problem_names_code_reason_and_what_is_missing():
    response = api.problem_response(PermissionDenied(Permission.RUNS_WRITE), "req_1")
    assert response["Content-Type"] == "application/problem+json"
    assert response.status_code == 403
    body = api.json.loads(response.content)
    assert body["type"] == "urn:provenance:problem:permission_denied"
    assert (body["missing_scope"], body["request_id"]) == ("runs:write", "req_1")


def test_data_of_an_error_cannot_replace_its_status():
    body = api.json.loads(api.problem_response(Conflict("No.", status=200, code="fine")).content)
    assert (body["status"], body["code"]) == (409, "conflict")


def test_nested_errors_become_a_flat_list_of_paths():
    detail = {"name": ["Too long."], "steps": [{}, {"when": ["Does not compile."]}]}
    with pytest.raises(Invalid) as refused:
        api.exception_handler(drf.ValidationError(detail), {})
    assert refused.value.data["errors"] == [
        {"path": "name", "message": "Too long."},
        {"path": "steps.1.when", "message": "Does not compile."},
    ]


@pytest.mark.parametrize("raw", [b'{"a":{"b":1,"b":2}}', b"[1,2,NaN]", b"\xff", b"{", b"[" * 50_000, b"1" * 5000])
def test_a_body_that_two_parsers_could_read_differently_is_refused(raw):
    with pytest.raises(Invalid):
        api.StrictJSONParser().parse(io.BytesIO(raw))


def test_the_same_request_in_another_order_has_the_same_fingerprint():
    class Asked:
        META = {"HTTP_IDEMPOTENCY_KEY": "k"}
        method, path = "POST", "/api/v1/x"

        def __init__(self, data):
            self.data = data

    one, two = api.repeatable(Asked({"a": 1, "b": 2})), api.repeatable(Asked({"b": 2, "a": 1}))
    assert one == two
    assert one != api.repeatable(Asked({"a": 1, "b": 3}))


def test_a_cursor_is_a_uuid_and_nothing_more():
    assert UUID(bytes=api.base64.urlsafe_b64decode(api.cursor_after(row := uuid7()) + "==")) == row
