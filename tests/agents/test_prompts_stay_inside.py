"""No answer of the API holds a system prompt, also after a run that used it (M080)."""

import io
import zipfile
from uuid import UUID

import pytest
from django.db import transaction

from agents import services as agents
from apikeys.services import issue_key
from approvals.models import ApprovalRequest
from provenance.api import endpoint_of
from provenance.permissions import SCOPES
from streams.services import digests, sinks
from streams.services.digests import Contents
from streams.services.sinks import Settings
from tests.addresses import addresses
from tests.audit import sealing
from tests.browsing import program
from tests.workflows.desk import calls, desk_in, says
from workflows import doorbell

pytestmark = pytest.mark.django_db(transaction=True)

PROMPT = "You compare what was signed with what is stored. The word of the day is marzipan."
TELLING = b"marzipan"


@pytest.fixture
def played(transactional_db, as_role, monkeypatch):
    """A run of an agent with that prompt, which waited for a person and then went on to its end."""
    monkeypatch.setattr(doorbell, "ring", lambda *_: True)
    with desk_in(as_role, trust="medium") as desk:
        configuration = agents.Configuration(
            provider="fake",
            model="model-2026-01-01",
            system_prompt=PROMPT,
            requested_tools=[agents.RequestedTool("up.send", "It needs to for the tests.")],
        )
        agents.publish_version(
            actor=desk.world.admin, agent_id=desk.world.agents["helper"].id, configuration=configuration
        )
        desk.answers = [calls(text="hello"), says({"number": 7})]
        run = desk.drive(desk.start("asking"))
        desk.decide(run)
        desk.run = desk.drive(run)
        assert desk.run.status == "succeeded", desk.run.failure_reason
        yield desk


def getters():
    """Every address of the API that answers a GET."""
    found = [(address, endpoint_of(pattern.callback)) for address, pattern in addresses()]
    return [address for address, endpoint in found if endpoint is not None and hasattr(endpoint, "get")]


def outlets(admin):
    """A stream and a digest, so that their addresses lead somewhere."""
    wanted = Settings(address="https://siem.example.com/events")
    sink = sinks.create_sink(actor=admin, name="siem", kind="ocsf", wanted=wanted)
    digest = digests.create_digest(actor=admin, contents=Contents(title="Daily", readers=[UUID(admin.id)]))
    return {"<str:sink_id>": str(sink), "<str:digest_id>": str(digest)}


def filled(address, desk, event_id, more):
    """The address with what there is in it."""
    with transaction.atomic():
        approval = ApprovalRequest.objects.for_workspace(desk.world.workspace.id).get()
    values = {
        "api/v1/agents/<slug:slug>": "api/v1/agents/helper",
        "api/v1/workflows/<slug:slug>": "api/v1/workflows/asking",
        "<int:number>": "2",
        "<str:run_id>": desk.run.public_id,
        "<str:approval_id>": approval.public_id,
        "<str:event_id>": event_id,
        "<str:kind>/<str:subject>": f"agent/{desk.world.agents['helper'].id}",
        "<uuid:workspace_id>": str(desk.world.workspace.id),
        "<int:epoch>": "1",
        "<slug:framework_id>": "eu-ai-act",
        "tile/entries/<path:place>": "tile/entries/000.p/1",
        "tile/<str:level>/<path:place>": "tile/0/000.p/1",
    }
    for name, value in (values | more).items():
        address = address.replace(name, value)
    assert "<" not in address, f"nobody has said what to put into {address}"
    return f"/{address}"


def content(response):
    """The bytes of an answer, unpacked where it is a bundle."""
    body = b"".join(response) if response.streaming else response.content
    if not body.startswith(b"PK"):
        return body
    with zipfile.ZipFile(io.BytesIO(body)) as bundle:
        return b"\n".join(bundle.read(name) for name in bundle.namelist())


def test_no_get_of_the_api_shows_a_prompt(played):
    """Every address, each with ids that exist: an address that could not be opened proves nothing."""
    assert TELLING in str(played.asked[0]).encode(), "the model was given the prompt, so it was there to be leaked"
    _key, text = issue_key(actor=played.world.admin, name="all", scopes=sorted(SCOPES), expires_in_days=1)
    api = program(text)
    more = outlets(played.world.admin)
    sealing.seal()
    event_ids = {event.action: event.public_id for event in played.world.events()}.values()
    wanted = {filled(address, played, event_id, more) for address in getters() for event_id in event_ids}
    assert len(getters()) >= 15
    for address in sorted(wanted | {"/api/v1/schema"}):
        response = api.get(address)
        assert response.status_code == 200, (address, response.status_code)
        assert TELLING not in content(response), address
