"""Tools and grants in the console: what was reviewed, what an agent may really call, in words."""

from django.db import transaction

from gateway import services
from gateway.models import ToolGrant
from provenance.db import scope
from tests import factories
from tests.browsing import browser


def page(world, rest):
    reader = factories.make_member(world.workspace, roles={"viewer"})
    return browser(reader).get(f"/w/{world.workspace.slug}/{rest}").text


def test_an_agent_shows_what_is_granted_to_it_beside_what_it_asks_for(echo):
    shown = page(echo, "agents/helper/")
    assert "Tools granted to it" in shown
    assert "It needs this for the tests." in shown
    with scope(echo.workspace.id), transaction.atomic():
        grant = ToolGrant.objects.for_actor(echo.admin).get()
        services.revoke_grant(actor=echo.admin, grant_id=grant.pk, reason="Not needed any more.")
    revoked = page(echo, "agents/helper/")
    assert "None now. The gateway refuses every call of it." in revoked
    assert "It needs to for the tests." in revoked


def test_tools_say_in_words_what_was_reviewed_and_what_was_not(world, fake):
    world.add_server("up", fake.url)
    assert "Waits for review" in page(world, "tools/")
    world.review("up.echo")
    reviewed = page(world, "tools/")
    assert "Waits for review" not in reviewed
    assert "1 of 4" in reviewed
