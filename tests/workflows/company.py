"""The two examples as people would set them up: servers, tools, agents, grants and workflows of the demo."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings
from django.db import transaction

from agents import services as agents
from approvals import services as approvals
from approvals.models import ApprovalRequest
from gateway import services as gateway
from secrets_vault.services import Binding, create_secret
from tests import factories
from tests.examples.processes import example_servers, scripted_model
from tests.gateway.world import World, world_of
from workflows import engine, services
from workflows.models import Call, Run, Token

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FINANCE_INPUT = {"vendor_id": "V-10233", "contract": "CON-4821"}
RESEARCH_INPUT = {"account_id": "ACC-20417"}
REASON = "The amendment names this date in clause 7.2."


class Company:
    """A workspace with the demo's agents and workflows in front of the example servers and the scripted model."""

    def __init__(self, world: World, servers: Any, model: Any, as_role: Callable[[str], Any]) -> None:
        self.world = world
        self.erp = servers["erp"]
        self._as_role = as_role
        settings.GATEWAY_URL = world.url
        demo = yaml.safe_load((EXAMPLES / "demo.yaml").read_text("utf-8"))
        self.operator = factories.make_member(world.workspace, roles={"admin", "editor"}, name="Operator")
        self.approver = factories.make_member(world.workspace, roles={"approver"}, name="Approver")
        self._add_model(model, demo["model"])
        for server in demo["servers"]:
            world.add_server(
                server["slug"], servers[server["slug"]].url, servers[server["slug"]].token, server["access"]
            )
            for review in server["reviews"]:
                name = f"{server['slug']}.{review['tool']}"
                world.review(name, **{key: value for key, value in review.items() if key != "tool"})
        for policy in demo["redactions"]:
            gateway.set_dlp_policy(actor=world.admin, **policy)
        for agent in demo["agents"]:
            self._add_agent(agent)
        for path in demo["workflows"]:
            self.publish((EXAMPLES / path).read_text("utf-8"))

    def _add_model(self, model: Any, wanted: dict[str, Any]) -> None:
        url = f"{model.url}/v1"
        create_secret(
            actor=self.world.admin,
            name=wanted["secret"],
            value=model.key,
            bindings=[Binding(url, "header:Authorization")],
            access="read",
        )
        agents.create_provider(
            actor=self.world.admin,
            name=wanted["name"],
            base_url=url,
            secret_name=wanted["secret"],
            scripted=True,
            input_price=wanted["input_price"],
            output_price=wanted["output_price"],
        )

    def _add_agent(self, wanted: dict[str, Any]) -> None:
        written = yaml.safe_load((EXAMPLES / wanted["file"]).read_text("utf-8"))
        slug = written["slug"]
        self.world.add_agent(
            slug,
            [],
            trust=wanted.get("trust", "low"),
            provider=written["provider"],
            model=written["model"],
        )
        self.change_agent(slug, written)
        for grant in wanted["grants"]:
            self.world.grant(
                slug, grant["tool"], **({"constraints": grant["constraints"]} if "constraints" in grant else {})
            )

    def change_agent(self, slug: str, written: dict[str, Any]) -> None:
        """Publish a version of the agent with this configuration."""
        requested = [agents.RequestedTool(tool=one["tool"], reason=one["reason"]) for one in written["requested_tools"]]
        kept = (
            "provider",
            "model",
            "system_prompt",
            "forbidden_actions",
            "forbidden_tools",
            "max_turns",
            "token_budget",
        )
        configuration = agents.Configuration(
            requested_tools=requested, **{name: written[name] for name in kept if name in written}
        )
        version = agents.publish_version(
            actor=self.world.admin, agent_id=self.world.agents[slug].id, configuration=configuration
        )
        self.world.agents[slug].version = version.pk

    def publish(self, source: str) -> Any:
        """Publish a definition under the name it gives itself."""
        slug = yaml.safe_load(source)["name"]
        services.save_draft(actor=self.operator, slug=slug, source=source)
        return services.publish_version(actor=self.operator, slug=slug)

    # --- Playing -----------------------------------------------------------------------------------------------------

    def start(self, workflow: str, given: dict[str, Any]) -> Run:
        with transaction.atomic():
            return services.start_run(actor=self.operator, workflow_slug=workflow, input=given)

    def token(self, run: Run) -> Token:
        with transaction.atomic():
            return Token.objects.get(run_id=run.pk)

    def drive(self, run: Run) -> Run:
        """Answer the run's doorbell as a worker; the run as it stands then."""
        token = self.token(run)
        with self._as_role("worker"):
            engine.drive(run.workspace_id, token.pk, token.dispatch_no)
        return self.fresh(run)

    def fresh(self, run: Run) -> Run:
        with transaction.atomic():
            return Run.objects.get(pk=run.pk)

    def calls(self, run: Run, kind: str = "tool") -> list[Call]:
        with transaction.atomic():
            return list(Call.objects.filter(run_id=run.pk, kind=kind).order_by("id"))

    def request(self, run: Run) -> ApprovalRequest:
        """The newest request of the run."""
        with transaction.atomic():
            return ApprovalRequest.objects.filter(run_id=run.pk).latest("id")

    def open_requests(self, run: Run) -> int:
        """How many requests of the run wait for a person."""
        with transaction.atomic():
            return ApprovalRequest.objects.filter(run_id=run.pk, status="pending").count()

    def decide(self, run: Run, verdict: str = "approve", **edit: Any) -> None:
        """Decide the run's request as the approver, with these fields edited."""
        request = self.request(run)
        approvals.decide(
            actor=self.approver,
            request_id=request.pk,
            verdict=verdict,
            payload={**request.payload, **edit} if edit else None,
            reason=REASON,
        )

    def ledger(self) -> list[dict[str, Any]]:
        """What the ERP itself says was changed."""
        with closing(sqlite3.connect(self.erp.database)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM ledger ORDER BY rowid")]


@contextmanager
def company_in(home: Path, as_role: Callable[[str], Any]) -> Iterator[Company]:
    """The company in front of fresh example servers, a scripted model and a running gateway."""
    with (
        example_servers(home / "examples") as servers,
        scripted_model(home / "model") as model,
        world_of(factories.make_workspace()) as world,
    ):
        yield Company(world, servers, model, as_role)
