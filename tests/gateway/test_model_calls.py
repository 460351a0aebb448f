"""Model calls of workers: the key is added here, the pinned model is the only one, and nothing of the key comes back."""

import httpx2
import openai
import pytest

from audit.taxonomy import Event
from gateway import tokens
from secrets_vault.services import Binding, create_secret
from tests.examples.processes import scripted_model
from tests.gateway.world import CALL_TOKEN, detail

MODEL = "scripted-analyst-2026-11-01"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with scripted_model(tmp_path_factory.mktemp("model")) as running:
        yield running


@pytest.fixture
def analyst(world, model):
    from agents.services import create_provider

    base_url = f"{model.url}/v1"
    create_secret(
        actor=world.admin, name="model-key", value=model.key, bindings=[Binding(base_url, "header:Authorization")]
    )
    create_provider(actor=world.admin, name="scripted", base_url=base_url, secret_name="model-key", scripted=True)
    world.add_agent("analyst", [], provider="scripted", model=MODEL)
    model.forget()
    return world


def client(world, **claims):
    token = tokens.mint(world.claims("analyst", **claims), CALL_TOKEN)
    return openai.OpenAI(base_url=f"{world.url}/call/model/scripted", api_key=token, max_retries=0, timeout=20)


def refusal(world, model=MODEL, **claims):
    """The code of the refusal, in a status that the openai client does not retry by itself."""
    token = tokens.mint(world.claims("analyst", **claims), CALL_TOKEN)
    url = f"{world.url}/call/model/scripted/chat/completions"
    response = httpx2.post(url, json={"model": model, **ASK}, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 403, response.text
    return response.json()["code"]


ASK = {"messages": [{"role": "user", "content": "Say hello."}]}


def test_the_openai_client_reaches_the_model_without_holding_its_key(analyst, model):
    answer = client(analyst).chat.completions.create(model=MODEL, **ASK)
    assert answer.choices[0].message is not None
    assert len(model.received()) == 1
    (event,) = analyst.events(Event.EGRESS_REQUESTED)
    assert detail(event)["origin"] in model.url + ":"
    assert analyst.events(Event.SECRET_INJECTED)


def test_a_streamed_answer_arrives_whole(analyst, model):
    whole = client(analyst).chat.completions.create(model=MODEL, **ASK).choices[0].message.content
    stream = client(analyst).chat.completions.create(model=MODEL, stream=True, **ASK)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == (whole or "")


def test_another_model_than_the_pinned_one_is_refused(analyst, model):
    assert refusal(analyst, model="scripted-obeys-2026-11-01") == "model_not_pinned"
    assert model.received() == []


def test_a_worker_without_the_lease_reaches_no_model(analyst, model):
    assert refusal(analyst, fence=7) == "call.fenced"
    assert model.received() == []


def test_a_halted_provider_is_not_called(analyst, model):
    from workspaces.services import engage_halt

    engage_halt(actor=analyst.admin, scope_kind="provider", scope_id="scripted", mode="pause", reason="Costs too much.")
    assert refusal(analyst) == "halt.engaged"
    assert model.received() == []
