"""A workspace with servers, agents, grants and a running run, and the real gateway on a free port in front of it."""

import asyncio
import base64
import hashlib
import json
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx2
import pytest
import uvicorn
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from agents import services as agents
from agents.services import Configuration, RequestedTool
from audit.attestation import LoadedRow
from audit.models import AuditDetail
from audit.services import Entry, RowChange, record_all
from audit.signing import KeyRing
from audit.taxonomy import Event
from bench.guards import past_the_guards
from gateway import database, journal, services, tokens
from gateway.contract import CallRequest, CallResponse, FactsRequest, FactsResponse, OfferedTool
from gateway.discovery import discover_tools
from gateway.server import Application, Gateway
from gateway.tokens import RunClaims
from provenance.actor import Actor
from provenance.db import scope
from provenance.ids import uuid7
from secrets_vault.services import Binding, create_secret
from tests import databases, factories
from tests.attacks.walls import governed_tables

# Not one letter again and again: a process refuses a key that somebody chose.
CALL_TOKEN = base64.b64encode(hashlib.sha256(b"run tokens of the tests").digest()).decode()
SECRET = "tok-9f8e7d6c5b4a39281706"


@dataclass
class World:
    """One workspace and its gateway."""

    workspace: Any
    admin: Actor
    url: str
    application: Application
    environment: str = "production"
    servers: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, Any] = field(default_factory=dict)
    agents: dict[str, Any] = field(default_factory=dict)
    run: Any = None
    approver: Any = None

    # --- Setting up ------------------------------------------------------------------------------------------------

    def add_server(self, slug: str, url: str, token: str = SECRET, access: str = "read") -> Any:
        """A registered server with its credential, its tools discovered and not yet reviewed."""
        name = f"{slug}-token"
        create_secret(
            actor=self.admin, name=name, value=token, bindings=[Binding(url, "header:Authorization")], access=access
        )
        server = services.register_server(
            actor=self.admin, slug=slug, title=slug.upper(), url=url, secret_name=name, private_network=True
        )
        self.servers[slug] = server
        self.discover(slug)
        return server

    def discover(self, slug: str) -> None:
        for tool in discover_tools(actor=self.admin, server_id=self.servers[slug].pk):
            self.tools[f"{slug}.{tool.name}"] = tool

    def review(self, full_name: str, effect: str = "read", **more: Any) -> None:
        """Review one tool, and approve its server when it is not yet."""
        tool = self.tools[full_name]
        values = {"retry_class": "read" if effect == "read" else "once", "data_tier": 1, **more}
        self.tools[full_name] = services.review_tool(
            actor=self.admin, tool_id=tool.pk, pin=tool.pin, effect=effect, **values
        )
        with transaction.atomic():
            server = self.servers[full_name.partition(".")[0]].fresh()
        if server.status != "approved":
            services.approve_server(actor=self.admin, server_id=server.pk, reason="Reviewed for the tests.")

    def add_agent(self, slug: str, requests: list[str], trust: str = "low", provider: str = "", **more: Any) -> Any:
        """An agent of that trust whose version requests these tools."""
        if not provider:
            provider = "unused"
            with transaction.atomic():
                known = agents.ModelProvider.objects.filter(name=provider).exists()
            if not known:
                agents.create_provider(actor=self.admin, name=provider, base_url="https://models.example.com/v1")
        agent = agents.create_agent(actor=self.admin, slug=slug, title=slug.title())
        requested = [RequestedTool(tool=name, reason="It needs to for the tests.") for name in requests]
        configuration = Configuration(
            provider=provider,
            **{"model": "model-2026-01-01", **more},
            system_prompt="You help.",
            requested_tools=requested,
        )
        version = agents.publish_version(actor=self.admin, agent_id=agent.pk, configuration=configuration)
        person = self.admin
        for level in ("medium", "high")[: ("low", "medium", "high").index(trust)]:
            agents.raise_trust(
                actor=person, agent_id=agent.pk, level=level, justification="Watched over many runs of these tests."
            )
        self.agents[slug] = SimpleNamespace(id=agent.pk, version=version.pk, slug=slug)
        if self.run:
            self.pin_agents()
        return self.agents[slug]

    def grant(self, agent: str, full_name: str, **more: Any) -> Any:
        return services.grant_tool(
            actor=self.admin,
            agent_id=self.agents[agent].id,
            tool_id=self.tools[full_name].pk,
            reason="It needs this for the tests.",
            **more,
        )

    def start_run(self) -> Any:
        """A run that a worker holds: rows as the engine leaves them, made past it."""
        self.run = make_running_run(self.workspace.id, self.environment)
        self.pin_agents()
        return self.run

    def pin_agents(self, *slugs: str) -> None:
        """Write these agents, or all there are, into the run's manifest, as web does when a run begins."""
        agents = {slug: self.agents[slug] for slug in slugs or self.agents}
        content = {
            "agents": {slug: {"agent_id": str(a.id), "version_id": str(a.version)} for slug, a in agents.items()}
        }
        with unguarded("workflows_runmanifest") as connection:
            connection.execute("DELETE FROM workflows_runmanifest WHERE run_id = %s", [self.run.id])
            connection.execute(
                "INSERT INTO workflows_runmanifest (id, workspace_id, run_id, content) VALUES (%s, %s, %s, %s)",
                [uuid7(), self.workspace.id, self.run.id, Jsonb(content)],
            )

    def owner_does(self, statement: str, *parameters: Any) -> None:
        """Change rows behind everybody's back: of those that grant power the gateway sees that they are not as signed."""
        with unguarded(statement.split()[1]) as connection:
            connection.execute(statement, parameters)

    def served(self, statement: str, *parameters: Any) -> None:
        """Change rows as no service does and sign what they became, as if one had: to the gateway they are genuine."""
        table = statement.split()[1]
        (type_,) = [wall.object_type for wall in governed_tables() if wall.table == table]
        with unguarded(table) as connection:
            connection.execute(statement, parameters)
            connection.execute(f"UPDATE {table} SET audit_rev = audit_rev + 1")
            with connection.cursor(row_factory=dict_row) as cursor:
                rows = [LoadedRow.of(type_, row) for row in cursor.execute(f"SELECT * FROM {table}").fetchall()]
            # Rows that are written once are never told as updated.
            ((is_updated,),) = connection.execute(
                "SELECT EXISTS (SELECT FROM audit.teller WHERE object_type = %s AND op = 'update')", [type_]
            ).fetchall()
        op = "update" if is_updated else "insert"
        changes = [RowChange(type=row.type, id=row.id, rev=row.rev, op=op, state=row.state) for row in rows]
        with transaction.atomic():
            entries = [Entry(event=Event.AGENT_UPDATED, target=change) for change in changes]
            record_all(actor=factories.system_of(self.workspace), entries=entries)

    # --- Calling ---------------------------------------------------------------------------------------------------

    def claims(self, agent: str, **changes: Any) -> RunClaims:
        run = self.run or self.start_run()
        values = {
            "workspace_id": self.workspace.id,
            "run_id": run.id,
            "step_id": run.step_id,
            "agent_id": self.agents[agent].id,
            "agent_version_id": self.agents[agent].version,
            "token_id": run.token_id,
            "fence": 1,
            "environment": self.environment,
            "workflow_version": str(run.version_id),
            "step": "assess",
        }
        return RunClaims(**{**values, **changes})

    def http(self, agent: str, **claims: Any) -> httpx2.Client:
        token = tokens.mint(self.claims(agent, **claims), CALL_TOKEN)
        return httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def call(
        self,
        agent: str,
        tool: str,
        *,
        call_id: UUID | None = None,
        approval_id: UUID | None = None,
        key: str = "",
        **arguments: Any,
    ) -> CallResponse:
        call_id = call_id or uuid7()
        request = CallRequest(
            call_id=call_id, call_key=key or f"key-{call_id}", tool=tool, arguments=arguments, approval_id=approval_id
        )
        with self.http(agent) as client:
            response = client.post("/call", json=request.to_json())
        assert response.status_code == 200, response.text
        return CallResponse.parse(response.json())

    def outcome(self, agent: str, call_id: UUID) -> CallResponse | None:
        with self.http(agent) as client:
            response = client.get(f"/call/{call_id}")
        return None if response.status_code == 404 else CallResponse.parse(response.json())

    def facts(self, agent: str, tool: str, key: str, **arguments: Any) -> FactsResponse:
        with self.http(agent) as client:
            response = client.post(
                "/call/facts", json=FactsRequest(tool=tool, arguments=arguments, call_key=key).to_json()
            )
        assert response.status_code == 200, response.text
        return FactsResponse.parse(response.json())

    def offered(self, agent: str) -> list[OfferedTool]:
        with self.http(agent) as client:
            response = client.post("/call/tools", json={})
        assert response.status_code == 200, response.text
        return [OfferedTool.parse(tool) for tool in response.json()["tools"]]

    # --- Looking ---------------------------------------------------------------------------------------------------

    def events(self, event: Any = None) -> list[Any]:
        with transaction.atomic():
            return factories.events(event)

    def rule(self, event: Any) -> str:
        """The rule in the detail of the one event of that type."""
        (found,) = self.events(event)
        return detail(found)["rule"]


def detail(event: Any) -> dict[str, Any]:
    """The erasable detail of an event."""
    with transaction.atomic():
        return json.loads(bytes(AuditDetail.objects.get(event_id=event.id).body))


def reread_policy(world: World) -> None:
    """The promise is a second; nothing tells when it is over, so the snapshot is made to look again now."""
    gateway = world.application._gateway
    assert gateway is not None
    gateway.policy.forget(world.workspace.id)


@contextmanager
def world_of(workspace: Any) -> Iterator[World]:
    """The workspace behind a gateway that runs until the end of the block."""
    settings.CALL_TOKEN = CALL_TOKEN
    settings.GATEWAY_DATABASE_URL = databases.role_url("gateway")
    application = Application(lambda: Gateway(databases.role_url("gateway"), KeyRing.from_settings("gateway")))
    with pytest.MonkeyPatch.context() as patient:
        # A busy machine is none that a caller would have to be told of.
        patient.setattr(database, "WAIT_SECONDS", 30.0)
        patient.setattr(journal, "COMMIT_SECONDS", 30.0)
        with served(application) as url, scope(workspace.id):
            admin = factories.make_member(workspace, roles={"admin"})
            yield World(workspace=workspace, admin=admin, url=url, application=application)


@contextmanager
def served(application: Any) -> Iterator[str]:
    """An ASGI application on a free port, in a thread with an event loop of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, lifespan="on", log_level="error", timeout_graceful_shutdown=5))
    started = threading.Event()

    async def serve() -> None:
        startup = server.startup

        async def noting(sockets: Any = None) -> None:
            await startup(sockets)
            started.set()

        server.startup = noting
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(60), "the gateway did not start"
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listener.close()


@contextmanager
def unguarded(*tables: str) -> Iterator[Any]:
    """A transaction of the administrator in which these tables have no guards and no foreign keys."""
    with databases.admin() as connection, connection.transaction(), past_the_guards(connection, *tables):
        connection.execute("SET LOCAL session_replication_role = replica")
        yield connection
        connection.execute("SET LOCAL session_replication_role = origin")


@contextmanager
def on_another_timeline() -> Iterator[None]:
    """As after a restore: the database is on a timeline that nobody has reconciled."""
    here = "left(pg_walfile_name(pg_current_wal_lsn()), 8)"
    with unguarded("audit.timeline") as owner:
        owner.execute("UPDATE audit.timeline SET timeline = 'another'")
    try:
        yield
    finally:
        with unguarded("audit.timeline") as owner:
            owner.execute(f"UPDATE audit.timeline SET timeline = {here} WHERE timeline = 'another'")


def make_running_run(workspace_id: UUID, environment: str = "production", publisher: str = "") -> Any:
    """Rows of a run that a worker drives, with its lease, written by the owner."""
    ids = {name: uuid7() for name in ("workflow", "version", "run", "scope", "token", "step")}
    now = timezone.now()
    salt = secrets.token_bytes(32)
    tables = ("workflow", "workflowversion", "run", "token")
    with unguarded(*(f"workflows_{table}" for table in tables)) as connection:

        def insert(table: str, **columns: Any) -> None:
            names = ", ".join(f'"{name}"' for name in columns)
            marks = ", ".join(["%s"] * len(columns))
            connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(columns.values()))

        governed = {"workspace_id": workspace_id, "audit_rev": 1, "audit_salt": salt}
        insert(
            "workflows_workflow",
            id=ids["workflow"],
            slug=f"flow-{ids['run']}",
            title="Flow",
            created_at=now,
            **governed,
        )
        insert(
            "workflows_workflowversion", id=ids["version"], workflow_id=ids["workflow"], number=1, content_hash="0" * 64,
            definition="{}", schema_version=1, published_by=publisher, published_at=now, **governed,
        )  # fmt: skip
        insert(
            "workflows_run", id=ids["run"], workflow_id=ids["workflow"], version_id=ids["version"], status="running",
            waiting_on=[], failure_code="", failure_reason="", environment=environment, root_run_id=ids["run"], depth=0,
            replay_mode="", input_ref="", output_ref="", manifest_hash="", started_by_kind="user", started_by_id="",
            on_behalf_of="", created_at=now, started_at=now, deadline_at=now + timedelta(hours=1),
            cancel_requested_by="", cancel_reason="", **governed,
        )  # fmt: skip
        insert(
            "workflows_token", id=ids["token"], workspace_id=workspace_id, run_id=ids["run"], scope_id=ids["scope"],
            node_key="assess", item_index=0, state="leased", fence=1, owner="tests", lease_until=now + timedelta(hours=1),
            dispatch_no=1, crash_claims=0, priority=2, waiting_on="",
        )  # fmt: skip
    return SimpleNamespace(
        id=ids["run"],
        version_id=ids["version"],
        token_id=ids["token"],
        step_id=ids["step"],
        workflow_id=ids["workflow"],
    )
