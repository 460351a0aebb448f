"""A door to one upstream: what a worker holds, so that code which runs in it sends nothing past the gateway."""

import pytest

from provenance.egress import Egress, EgressRefused
from tests.fakes.http_server import serving
from tests.provenance.http_clients import both, fetch, ok
from workflows import gateway_client

OTHERS = [
    "https://93.184.216.34/",
    "https://example.com/",
    "http://127.0.0.1:1/",
    "https://localhost/",
    "https://169.254.169.254/",
]


@both
def test_the_one_upstream_is_reached_though_it_is_private(kind):
    with serving(ok) as server:
        assert fetch(Egress.only(server.url), server.url, kind).status_code == 200


@both
@pytest.mark.parametrize("url", OTHERS)
def test_nothing_else_is_reached_not_even_what_is_public(url, kind):
    with pytest.raises(EgressRefused) as refusal:
        fetch(Egress.only("https://gateway.example:8443"), url, kind)
    assert refusal.value.rule == "not_listed"


def test_another_port_of_the_same_host_is_another_upstream():
    with pytest.raises(EgressRefused, match="this is another"):
        Egress.only("https://gateway.example:8443").check("https://gateway.example/")


@pytest.mark.parametrize("url", OTHERS)
def test_a_workers_client_calls_the_gateway_and_nobody_else(settings, url):
    """The gateway performs, nobody else: the client of the engine refuses before it connects."""
    settings.GATEWAY_URL = "https://gateway.example:8443"
    with pytest.raises(EgressRefused) as refusal:
        gateway_client.http_client().get(url)
    assert refusal.value.rule == "not_listed"
