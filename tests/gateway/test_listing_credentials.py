"""Looking at what a server offers sends its credential: the log says so before the byte leaves, and is not flooded."""

import asyncio

import pytest

from audit.taxonomy import Event
from gateway import injections
from gateway.catalog import LONGEST_SECONDS
from gateway.contract import CallState
from gateway.errors import AuditUnavailable
from gateway.journal import Journal
from secrets_vault.services import rotate_secret
from tests import databases
from tests.gateway.world import detail


@pytest.fixture
def seen(fake):
    """How many uses of a credential the log held, committed, when each listing reached the server."""
    counts = []

    def listing(_request):
        with databases.admin() as owner:
            found = owner.execute("SELECT count(*) FROM audit.event WHERE action = 'secret.injected'").fetchone()
        counts.append(found[0])
        return fake.tools

    fake.listing = listing
    return counts


def looks(world):
    return [event for event in world.events(Event.SECRET_INJECTED) if event.object_type == "mcp_server"]


def look_again(world):
    """The next call looks at the server anew."""
    for listing in world.application._gateway.catalog._listings.values():
        listing.looked_at -= LONGEST_SECONDS


def call(world):
    return world.call("helper", "up.echo", text="x").state


def test_a_person_s_discovery_is_told_before_the_server_hears_of_it(world, fake, seen):
    world.add_server("up", fake.url)
    (event,) = looks(world)
    assert seen == [1]
    assert (event.kid, event.actor_id, event.object_id) == ("gateway-1", "gateway.catalog", str(world.servers["up"].pk))
    said = detail(event)
    assert (said["secret"], said["version"], said["purpose"]) == ("up-token", 1, "tools/list")


def test_the_gateway_s_own_look_is_told_before_and_once_an_hour(echo, seen, monkeypatch):
    before = len(looks(echo))
    assert call(echo) is CallState.SUCCEEDED
    assert seen[0] == before + 1
    for _ in range(3):
        look_again(echo)
        assert call(echo) is CallState.SUCCEEDED
    assert len(seen) == 4
    assert len(looks(echo)) == before + 1
    monkeypatch.setattr(injections, "TELL_AGAIN_SECONDS", 0.0)
    look_again(echo)
    assert call(echo) is CallState.SUCCEEDED
    assert len(looks(echo)) == before + 2


def test_another_version_of_the_secret_is_another_use(echo, seen):
    call(echo)
    before = len(looks(echo))
    rotate_secret(actor=echo.admin, name="up-token", value="another-value-of-some-length")
    look_again(echo)
    call(echo)
    assert [detail(event)["version"] for event in looks(echo)[before:]] == [2]


def test_without_the_log_nothing_is_looked_at_and_nothing_called(echo, fake, seen, monkeypatch):
    async def full(*_):
        await asyncio.sleep(0)
        raise AuditUnavailable

    monkeypatch.setattr(Journal, "record", full)
    assert call(echo) is CallState.BLOCKED
    assert seen == []
    assert not fake.calls
