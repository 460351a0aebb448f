"""What the front hands to the gateway is what the gateway serves: neither half gets an address of the other's."""

import re

import httpx2
import pytest

from provenance.asgi import GATEWAY_PATHS, front
from tests.databases import CHECKOUT
from tests.gateway.world import served

NOTHING = 404


@pytest.fixture
def address(world):
    with served(front) as url:
        yield url


def test_each_path_of_the_gateway_is_served_by_it(world):
    for path in GATEWAY_PATHS:
        assert httpx2.post(f"{world.url}/{path}", json={}).status_code != NOTHING, path


def test_an_address_that_neither_half_serves_is_a_page_of_the_console(address):
    answer = httpx2.get(f"{address}/live", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (NOTHING, "text/html")


def test_the_decision_names_the_paths_that_there_are():
    text = (CHECKOUT / "docs/decisions/0002-one-process-front.md").read_text("utf-8")
    given = re.search(r"gives (.+?) to the gateway", text)
    assert given
    assert set(re.findall(r"`/(\w+)`", given[1])) == GATEWAY_PATHS
