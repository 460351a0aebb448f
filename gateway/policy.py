"""What the gateway knows of a workspace: one immutable compiled snapshot, swapped whole.

It is compiled from rows, kept for a second, then checked against a fingerprint of those rows and reloaded only when the
fingerprint differs. Without contact for five seconds it counts for nothing, and every call is denied.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from audit.attestation import NEWEST_CHANGES, Altered, LoadedRow, altered_among
from audit.signing import KeyRing
from gateway import schemas, sql
from gateway.alterations import Alterations, gone
from gateway.contract import ToolFacts
from gateway.database import Database
from gateway.decision import AgentFacts
from gateway.errors import PolicyUnavailable
from gateway.threads import off_loop
from provenance.canonical import digest
from provenance.dlp.engine import FieldPolicy
from provenance.schemas import Schema, SchemaError
from workspaces.control import Halt, Scope

log = structlog.get_logger(__name__)

FRESH_SECONDS = 1.0
STALE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ServerPolicy:
    """A registered server."""

    id: UUID
    slug: str
    url: str
    origin: str
    status: str
    secret_name: str
    slot: str
    environment: str
    private_network: bool


@dataclass(frozen=True, slots=True)
class ToolSnapshot:
    """A tool with its compiled schemas. `problem` says why its schema cannot be used; then nothing passes it."""

    id: UUID
    full_name: str
    name: str
    server: ServerPolicy
    title: str
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    pin: str
    status: str
    facts: ToolFacts
    arguments: Schema | None
    result: Schema | None
    problem: str = ""

    @property
    def offered_schema(self) -> dict[str, Any]:
        """The schema as callers see it: closed, and without the argument that the gateway fills in."""
        return schemas.without(schemas.closed(self.input_schema), self.facts.idempotency_argument)


@dataclass(frozen=True, slots=True)
class GrantSnapshot:
    """A live grant with its compiled constraints; None when there are none."""

    id: UUID
    expires_at: datetime
    constraints: Schema | None
    problem: str = ""

    def broken(self, arguments: Mapping[str, Any]) -> list[str]:
        """What of the arguments the grant does not cover."""
        if self.problem:
            return [self.problem]
        return [str(violation) for violation in self.constraints.violations(arguments)] if self.constraints else []


@dataclass(frozen=True, slots=True)
class VersionSnapshot:
    """An agent version: what it requests and rules out, and which model it is pinned to."""

    id: UUID
    number: int
    requested: frozenset[str]
    forbidden: frozenset[str]
    provider_id: UUID
    model: str


@dataclass(frozen=True, slots=True)
class AgentSnapshot:
    """An agent with all its versions."""

    id: UUID
    slug: str
    title: str
    status: str
    trust_level: str
    current_version: int
    versions: Mapping[UUID, VersionSnapshot]

    def version(self, version_id: UUID | None) -> VersionSnapshot | None:
        """The version of that id, or the current one when none is named (outside clients)."""
        if version_id is not None:
            return self.versions.get(version_id)
        return next((v for v in self.versions.values() if v.number == self.current_version), None)

    def facts(self, version: VersionSnapshot) -> AgentFacts:
        """What a decision needs. A tool that the current version rules out is ruled out for runs in flight, too."""
        current = self.version(None)
        return AgentFacts(
            status=self.status,
            trust_level=self.trust_level,
            requested=version.requested,
            forbidden=version.forbidden | (current.forbidden if current else frozenset()),
        )


@dataclass(frozen=True, slots=True)
class ProviderSnapshot:
    """Where a model is called."""

    id: UUID
    name: str
    base_url: str
    origin: str
    secret_name: str
    scripted: bool
    private_network: bool


@dataclass(frozen=True, slots=True)
class DlpSnapshot:
    """A redaction policy."""

    name: str
    selector: str
    direction: str
    action: str
    fields: tuple[str, ...]

    def covers(self, full_name: str) -> bool:
        """Whether it applies to a tool."""
        return self.selector in selectors_of(full_name)


def selectors_of(full_name: str) -> frozenset[str]:
    """What a redaction policy may name to cover a tool: every tool, its server, or the tool itself."""
    return frozenset({"", full_name.partition(".")[0], full_name})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that decides calls of one workspace, as of one moment."""

    workspace_id: UUID
    epoch: int
    tools: Mapping[str, ToolSnapshot]
    agents: Mapping[UUID, AgentSnapshot]
    grants: Mapping[tuple[UUID, UUID], GrantSnapshot]
    policies: Sequence[DlpSnapshot]
    providers: Mapping[str, ProviderSnapshot]
    halts: Sequence[Halt]
    secret_access: Mapping[str, str]

    def grant(self, agent_id: UUID, tool: ToolSnapshot) -> GrantSnapshot | None:
        """The live grant that joins the two."""
        return self.grants.get((agent_id, tool.id))

    def field_policies(self, tool: ToolSnapshot, direction: str, action: str = "redact") -> list[FieldPolicy]:
        """The policies of a direction that cover a tool."""
        return [
            FieldPolicy(policy.name, policy.fields)
            for policy in self.policies
            if policy.direction == direction and policy.action == action and policy.covers(tool.full_name)
        ]

    def halted(self, scopes: AbstractSet[Scope]) -> list[str]:
        """A sentence for each engaged halt that stops the work that belongs to these scopes (`control.scopes_of`)."""
        stopping = [halt for halt in self.halts if (halt.scope_kind, halt.scope_id) in scopes]
        return [f"The {halt.scope_kind} is halted: {halt.reason}" for halt in stopping]

    def policy_digest(self, tool: ToolSnapshot, agent: AgentSnapshot) -> str:
        """A digest of the rules under which one agent's calls of one tool are judged; an approval is bound to it (T05).

        Only what bears on this call: an approval must not die because somebody renamed another agent.
        """
        grant = self.grant(agent.id, tool)
        rules = {
            "tool": [tool.facts.effect, tool.facts.retry_class, tool.facts.data_tier, tool.facts.idempotency_argument],
            "server": [str(tool.server.id), tool.server.origin, tool.server.environment],
            "trust": agent.trust_level,
            "grant": str(grant.id) if grant else "",
            "policies": [
                [p.name, p.direction, p.action, list(p.fields)] for p in self.policies if p.covers(tool.full_name)
            ],
        }
        return digest(rules)


class PolicyStore:
    """The snapshots of this process, one per workspace that is being used."""

    def __init__(self, database: Database, keys: KeyRing, alterations: Alterations) -> None:
        self._database = database
        self._keys = keys
        self._alterations = alterations
        self._kept: dict[UUID, _Kept] = {}

    async def current(self, workspace_id: UUID) -> Snapshot:
        """The snapshot, at most a second old; `PolicyUnavailable` without contact for five.

        Callers at the same moment share one check of the database.
        """
        kept = self._kept.setdefault(workspace_id, _Kept())
        if kept.snapshot is None or time.monotonic() - kept.checked_at > FRESH_SECONDS:
            await self._check(workspace_id, kept)
        if kept.snapshot is None or time.monotonic() - kept.checked_at > STALE_SECONDS:
            raise PolicyUnavailable
        return kept.snapshot

    async def knowing(self, workspace_id: UUID, agent_id: UUID, version_id: UUID | None) -> Snapshot:
        """The snapshot, looked at again when it does not know the caller's agent version.

        A version may be published and run within the second that a snapshot counts as fresh.
        """
        snapshot = await self.current(workspace_id)
        agent = snapshot.agents.get(agent_id)
        if agent is None or agent.version(version_id) is None:
            self.forget(workspace_id)
            snapshot = await self.current(workspace_id)
        return snapshot

    def forget(self, workspace_id: UUID) -> None:
        """Make the next call look at the database: after a change that this process made or was told of."""
        if workspace_id in self._kept:
            self._kept[workspace_id].checked_at = 0.0

    async def _check(self, workspace_id: UUID, kept: "_Kept") -> None:
        async with kept.lock:
            if kept.snapshot is not None and time.monotonic() - kept.checked_at <= FRESH_SECONDS:
                return
            # Before the question, so that an answer that took long is not taken for a fresh one.
            asked_at = time.monotonic()
            try:
                async with asyncio.timeout(STALE_SECONDS):
                    await self._reload(workspace_id, kept)
            except (psycopg.Error, PoolTimeout, TimeoutError, OSError) as error:
                log.warning("policy.unreachable", error=type(error).__name__)
                return
            kept.checked_at = asked_at

    async def _reload(self, workspace_id: UUID, kept: "_Kept") -> None:
        async with self._database.scope(workspace_id) as connection:
            await connection.execute(sql.ONE_MOMENT)
            fingerprint = await (await connection.execute(sql.POLICY_FINGERPRINT)).fetchone()
            if kept.snapshot is not None and fingerprint == kept.fingerprint:
                return
            rows = await (await connection.execute(sql.POLICY_ROWS)).fetchone()
            governing = [
                (type_, row)
                for type_, statement in sql.GOVERNING_ROWS.items()
                for row in await (await connection.execute(statement)).fetchall()
            ]
            asked = {"types": [type_ for type_, _row in governing], "ids": [str(row["id"]) for _type, row in governing]}
            newest = await (await connection.execute(NEWEST_CHANGES, asked)).fetchall()
            told = await (await connection.execute(sql.TOLD_RESTRAINTS)).fetchall()
        altered = await off_loop(_altered, governing, [tuple(event.values()) for event in newest], self._keys)
        altered += gone(workspace_id, told, zip(asked["types"], asked["ids"], strict=True))
        # Before the snapshot serves: a row that is passed over must not be so in silence.
        await self._alterations.record(workspace_id, altered)
        kept.snapshot = compile_snapshot(workspace_id, rows["policy"] if rows else {}, altered)
        kept.fingerprint = fingerprint


@dataclass(slots=True)
class _Kept:
    """A snapshot and when it was last known to be right."""

    snapshot: Snapshot | None = None
    fingerprint: Any = None
    checked_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


def _altered(
    rows: Sequence[tuple[str, Mapping[str, Any]]], newest: Sequence[Sequence[Any]], keys: KeyRing
) -> list[Altered]:
    return altered_among([LoadedRow.of(type_, row) for type_, row in rows], newest, keys)


def compile_snapshot(workspace_id: UUID, rows: Mapping[str, Any], altered: Sequence[Altered] = ()) -> Snapshot:
    """The snapshot of the rows that `sql.POLICY_ROWS` returns. Pure.

    What is `altered` grants nothing: it is left out, and what hangs on it is denied. Where the row is one that takes
    power away (a halt, a redaction policy), nothing of the workspace works until somebody has looked.
    """
    out = {(item.row.type, item.row.id) for item in altered}

    def kept(kind: str, type_: str) -> list[Mapping[str, Any]]:
        return [row for row in rows[kind] or () if (type_, row["id"]) not in out]

    servers = {row["id"]: _server(row) for row in kept("servers", "mcp_server")}
    tools = [_tool(row, servers[row["server_id"]]) for row in kept("tools", "tool") if row["server_id"] in servers]
    versions: dict[str, dict[UUID, VersionSnapshot]] = {}
    for row in kept("versions", "agent_version"):
        version = _version(row)
        versions.setdefault(row["agent_id"], {})[version.id] = version
    return Snapshot(
        workspace_id=workspace_id,
        epoch=rows["epoch"] or 0,
        tools=MappingProxyType({tool.full_name: tool for tool in tools}),
        agents=MappingProxyType(
            {UUID(row["id"]): _agent(row, versions.get(row["id"], {})) for row in kept("agents", "agent")}
        ),
        grants=MappingProxyType(
            {(UUID(row["agent_id"]), UUID(row["tool_id"])): _grant(row) for row in kept("grants", "tool_grant")}
        ),
        policies=tuple(
            DlpSnapshot(row["name"], row["selector"], row["direction"], row["action"], tuple(row["fields"]))
            for row in rows["policies"] or ()
        ),
        providers=MappingProxyType({row["name"]: _provider(row) for row in kept("providers", "model_provider")}),
        halts=tuple(
            Halt(UUID(row["id"]), row["scope_kind"], row["scope_id"], row["mode"], row["reason"])
            for row in rows["halts"] or ()
        )
        + tuple(_halt_of_all(workspace_id, item) for item in altered if item.row.type in _RESTRAINTS),
        secret_access=MappingProxyType({row["name"]: row["access"] for row in kept("secrets", "secret")}),
    )


_RESTRAINTS = frozenset({"control", "dlp_policy"})


def _halt_of_all(workspace_id: UUID, altered: Altered) -> Halt:
    reason = f"The {altered.row.type} {altered.row.id} is not what the log says: {altered.problem}."
    return Halt(UUID(altered.row.id), "workspace", str(workspace_id), "pause", reason)


def _server(row: Mapping[str, Any]) -> ServerPolicy:
    return ServerPolicy(
        id=UUID(row["id"]),
        slug=row["slug"],
        url=row["url"],
        origin=row["origin"],
        status=row["status"],
        secret_name=row["secret_name"],
        slot=row["slot"],
        environment=row["environment"],
        private_network=row["private_network"],
    )


def _tool(row: Mapping[str, Any], server: ServerPolicy) -> ToolSnapshot:
    arguments, problem = _compiled(schemas.closed(row["input_schema"]))
    result, result_problem = _compiled(row["output_schema"]) if row["output_schema"] else (None, "")
    return ToolSnapshot(
        id=UUID(row["id"]),
        full_name=f"{server.slug}.{row['name']}",
        name=row["name"],
        server=server,
        title=row["title"],
        description=row["description"],
        input_schema=row["input_schema"],
        output_schema=row["output_schema"],
        pin=row["pin"],
        status=row["status"],
        facts=ToolFacts(
            effect=row["effect"],
            retry_class=row["retry_class"],
            verify_tool=f"{server.slug}.{row['verify_tool']}" if row["verify_tool"] else "",
            idempotency_argument=row["idempotency_argument"],
            data_tier=row["data_tier"],
        ),
        arguments=arguments,
        result=result,
        problem=problem or result_problem,
    )


def _grant(row: Mapping[str, Any]) -> GrantSnapshot:
    constraints, problem = _compiled(row["constraints"]) if row["constraints"] else (None, "")
    return GrantSnapshot(
        id=UUID(row["id"]),
        expires_at=datetime.fromisoformat(row["expires_at"]),
        constraints=constraints,
        problem=problem,
    )


def _version(row: Mapping[str, Any]) -> VersionSnapshot:
    return VersionSnapshot(
        id=UUID(row["id"]),
        number=row["number"],
        requested=frozenset(request["tool"] for request in row["requested_tools"]),
        forbidden=frozenset(row["forbidden_tools"]),
        provider_id=UUID(row["provider_id"]),
        model=row["model"],
    )


def _agent(row: Mapping[str, Any], versions: Mapping[UUID, VersionSnapshot]) -> AgentSnapshot:
    return AgentSnapshot(
        id=UUID(row["id"]),
        slug=row["slug"],
        title=row["title"],
        status=row["status"],
        trust_level=row["trust_level"],
        current_version=row["current_version"],
        versions=MappingProxyType(dict(versions)),
    )


def _provider(row: Mapping[str, Any]) -> ProviderSnapshot:
    return ProviderSnapshot(
        id=UUID(row["id"]),
        name=row["name"],
        base_url=row["base_url"],
        origin=row["origin"],
        secret_name=row["secret_name"],
        scripted=row["scripted"],
        private_network=row["private_network"],
    )


def _compiled(schema: dict[str, Any]) -> tuple[Schema | None, str]:
    try:
        return Schema(schema), ""
    except SchemaError as error:
        return None, f"its schema cannot be used: {error}"
