"""Every address says who may open it; what needs no sign-in is listed here, with its reason in the code."""

import pytest

from provenance.api import endpoint_of
from provenance.pages import door_of
from provenance.permissions import SCOPES, Permission
from tests.addresses import ADDRESSES

PUBLIC = {
    "healthz",
    "readyz",
    "sign-in/",
    "invitations/<str:token>/",
    "setup/<str:token>/",
    "api/v1/schema",
}
ANY_KEY = {"api/v1/key", "api/v1/key/revoke"}


@pytest.mark.parametrize(("address", "pattern"), ADDRESSES, ids=[address for address, _ in ADDRESSES])
def test_every_address_declares_its_door(address, pattern):
    endpoint, door = endpoint_of(pattern.callback), door_of(pattern.callback)
    assert (endpoint is None) != (door is None), f"{address} names neither a permission nor why it is public"
    if door is not None:
        assert door.in_workspace == address.startswith("w/<slug:workspace>/"), address


def test_what_is_public_is_listed():
    found = {address for address, pattern in ADDRESSES if (door := door_of(pattern.callback)) and door.public}
    assert found == PUBLIC


def test_what_any_key_may_do_is_listed():
    endpoints = [(address, endpoint_of(pattern.callback)) for address, pattern in ADDRESSES]
    assert {address for address, endpoint in endpoints if endpoint and endpoint.permission is None} == ANY_KEY


def test_endpoints_live_below_the_api_and_pages_do_not():
    for address, pattern in ADDRESSES:
        is_api = address.startswith("api/v1/") and address != "api/v1/schema"
        assert (endpoint_of(pattern.callback) is not None) == is_api, address


def test_an_endpoint_needs_what_a_key_can_carry():
    for address, pattern in ADDRESSES:
        endpoint = endpoint_of(pattern.callback)
        if endpoint is None or endpoint.permission is None:
            continue
        named = endpoint.permission
        needed = {named} if isinstance(named, Permission) else set(named.values())
        assert needed <= SCOPES, f"{address} needs {needed - SCOPES}, which no key carries"


def test_no_endpoint_decides():
    """A decision needs a person (vocabulary 2.2)."""
    assert not [address for address, _ in ADDRESSES if address.startswith("api/") and "decide" in address]
