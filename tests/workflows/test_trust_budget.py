"""The trust level caps what a run may use up, whatever the agent's version asks for."""

import pytest
from django.db import transaction

from agents import services as agents
from agents.trust import LIMITS, Trust
from tests.workflows.desk import desk_in
from workflows import doorbell
from workflows.models import RunManifest

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("level", ["low", "high"])
def test_a_run_gets_no_more_tokens_than_its_agents_trust_allows(transactional_db, as_role, monkeypatch, level):
    monkeypatch.setattr(doorbell, "ring", lambda *_: True)
    with desk_in(as_role, trust=level) as desk:
        greedy = agents.Configuration(
            provider="fake", model="model-2026-01-01", system_prompt="You help.", token_budget=200_000
        )
        agents.publish_version(actor=desk.world.admin, agent_id=desk.world.agents["helper"].id, configuration=greedy)
        run = desk.start("asking")
        with transaction.atomic():
            pinned = RunManifest.objects.get(run_id=run.pk).content["agents"]["helper"]
        assert pinned["token_budget"] == LIMITS[Trust(level)].tokens_per_run
