"""What a key's scope says that it allows, some address of the API does; one that opens nothing says so."""

from collections.abc import Mapping

import pytest

from apikeys.scopes import SCOPE_MEANINGS
from provenance.api import endpoint_of
from tests.addresses import ADDRESSES

UNSAFE = {"post", "put", "patch", "delete"}


def opened():
    """The permissions that addresses ask for, each with the methods that ask for it."""
    found = {}
    for _, pattern in ADDRESSES:
        endpoint = endpoint_of(pattern.callback)
        if endpoint is None or endpoint.permission is None:
            continue
        methods = {name for name in endpoint.http_method_names if hasattr(endpoint, name)}
        asked = endpoint.permission
        for method in methods:
            permission = asked[method.upper()] if isinstance(asked, Mapping) else asked
            found.setdefault(permission, set()).add(method)
    return found


@pytest.mark.parametrize("scope", SCOPE_MEANINGS, ids=str)
def test_a_scope_opens_an_address_or_says_that_it_opens_none(scope):
    assert (scope not in opened()) == SCOPE_MEANINGS[scope].startswith("Nothing yet")


@pytest.mark.parametrize("scope", [scope for scope in SCOPE_MEANINGS if scope.endswith(":write")], ids=str)
def test_a_scope_for_writing_opens_an_address_that_changes_something(scope):
    assert SCOPE_MEANINGS[scope].startswith("Nothing yet") or opened()[scope] & UNSAFE
