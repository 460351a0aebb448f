"""The facts of a call, gathered from the snapshot for the decision, and what makes two calls the same one. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from approvals.digest import ActionFacts, exact_bytes
from gateway.contract import CallRequest
from gateway.decision import Deny, Facts, GrantFacts, ToolPolicy
from gateway.events import Caller
from gateway.policy import AgentSnapshot, Snapshot, ToolSnapshot, VersionSnapshot
from gateway.tokens import RunClaims
from provenance import strict_json
from provenance.canonical import NotCanonical
from provenance.dlp.engine import Findings, Redactor
from provenance.schemas import Schema
from secrets_vault.references import ReferenceInArguments, refuse_in
from workspaces import control
from workspaces.control import Scope

DIGEST_PREFIX = b"provenance.tool-call.v1\n"
NOT_UNDERSTOOD = Deny(
    "dlp.not_understood",
    "The arguments name a field that a policy withholds, in a form that cannot be redacted in part, or are too large to"
    " be searched for it. Give the value under the field's own name, or leave it out.",
)


def who(snapshot: Snapshot, caller: Caller) -> tuple[AgentSnapshot | None, VersionSnapshot | None]:
    agent = snapshot.agents.get(caller.agent_id)
    return agent, agent.version(caller.agent_version_id) if agent else None


def standing_of(run: RunClaims) -> dict[str, Any]:
    """The parameters of `sql.STANDING` for a run token."""
    return {
        "run_id": run.run_id,
        "token_id": run.token_id,
        "fence": run.fence,
        "agent_id": str(run.agent_id),
        "agent_version_id": str(run.agent_version_id),
    }


def stands(run: RunClaims, standing: Mapping[str, Any] | None) -> bool:
    """Whether a worker holds the run's lease and its token says of the run what the run's rows say (T04).

    Workers mint these tokens: which agent acts, where, by which definition and for whom is what web wrote down.
    """
    return bool(
        standing
        and standing["holds_lease"]
        and standing["names_agent"]
        and standing["environment"] == run.environment
        and standing["workflow_version"] == run.workflow_version
        and standing["on_behalf_of"] == run.on_behalf_of
    )


def scopes_of(
    caller: Caller,
    standing: Mapping[str, Any] | None,
    *,
    server: UUID | None = None,
    tool: UUID | None = None,
    provider: UUID | None = None,
) -> frozenset[Scope]:
    """What a call belongs to, as halts name it; `standing` says of a run its workflow, and the key that started it."""
    return control.scopes_of(
        caller.workspace_id,
        environment=caller.environment,
        workflow=standing["workflow_id"] if standing else None,
        agent=caller.agent_id,
        server=server,
        tool=tool,
        provider=provider,
        key=caller.key_id or (standing["key_id"] if standing else None),
    )


def facts_of(
    snapshot: Snapshot,
    caller: Caller,
    agent: AgentSnapshot | None,
    version: VersionSnapshot | None,
    tool: ToolSnapshot | None,
    *,
    now: datetime,
    arguments: dict[str, Any] | None,
    call_key: str = "",
    standing: Mapping[str, Any] | None = None,
) -> Facts:
    """What is decided on, the server's offer assumed unchanged. Without arguments: whether the tool may be offered."""
    if agent is None or version is None or tool is None:
        return Facts(agent=None, tool=None, grant=None, now=now, environment=caller.environment)
    grant = snapshot.grant(agent.id, tool)
    server = tool.server
    policy = ToolPolicy(
        full_name=tool.full_name,
        server_status=server.status,
        status=tool.status,
        pin=tool.pin,
        observed_pin=tool.pin,
        effect=tool.facts.effect,
        data_tier=tool.facts.data_tier,
        secret_access=snapshot.secret_access.get(server.secret_name, "admin") if server.secret_name else "",
    )
    facts = Facts(
        agent=agent.facts(version),
        tool=policy,
        grant=GrantFacts(expires_at=grant.expires_at) if grant else None,
        now=now,
        environment=caller.environment,
        halts=snapshot.halted(scopes_of(caller, standing, server=server.id, tool=tool.id)),
    )
    if arguments is None:
        return facts
    return replace(
        facts,
        broken_constraints=grant.broken(arguments) if grant else (),
        schema_errors=schema_errors(tool, arguments, call_key),
        secret_references=secret_references(arguments),
        blocked_fields=blocked_fields(snapshot, tool, arguments),
    )


def schema_errors(tool: ToolSnapshot, arguments: dict[str, Any], call_key: str) -> list[str]:
    if tool.arguments is None or tool.problem:
        return [tool.problem or "the tool has no schema"]
    own = tool.facts.idempotency_argument
    if not own:
        return _sentences(tool.arguments, arguments)
    if own in arguments:
        return [f"{own}: is filled in by the gateway and may not be given"]
    # The schema may require the key, so it is there when the rest is checked.
    return _sentences(tool.arguments, {**arguments, own: call_key})


def _sentences(schema: Schema, arguments: Mapping[str, Any]) -> list[str]:
    return [str(violation) for violation in schema.violations(arguments)]


def secret_references(arguments: dict[str, Any]) -> list[str]:
    try:
        refuse_in(arguments)
    except ReferenceInArguments as error:
        return [str(error.data.get("path", "(root)"))]
    return []


def would_send(
    snapshot: Snapshot, tool: ToolSnapshot | None, arguments: dict[str, Any]
) -> tuple[dict[str, Any], Findings]:
    """The arguments as they would be sent: without hidden characters and withheld fields; and what was taken out.

    When everything would be withheld there is nothing to send: the findings say so, and the arguments are as given.
    """
    if tool is None:
        return arguments, Findings()
    redactor = Redactor(snapshot.field_policies(tool, "input"))
    shown = redactor.value(arguments)
    findings = redactor.findings()
    return (arguments if findings.withheld else shown), findings


def blocked_fields(snapshot: Snapshot, tool: ToolSnapshot, arguments: dict[str, Any]) -> list[str]:
    redactor = Redactor(snapshot.field_policies(tool, "input", "block"))
    redactor.value(arguments)
    return sorted({name for hits in redactor.findings().fields.values() for name in hits})


def action_facts(
    snapshot: Snapshot, caller: Caller, agent: AgentSnapshot, tool: ToolSnapshot, call_key: str
) -> ActionFacts:
    return ActionFacts(
        workspace_id=caller.workspace_id,
        call_key=call_key,
        environment=caller.environment,
        tool=tool.full_name,
        pin=tool.pin,
        target=tool.server.url,
        workflow_version=caller.run.workflow_version if caller.run else "",
        policy_digest=snapshot.policy_digest(tool, agent),
    )


def request_digest(caller: Caller, request: CallRequest) -> str:
    """What makes a repeat the same call: who, which tool, which key and which arguments, as they were asked for."""
    head = strict_json.dump(
        [str(caller.workspace_id), caller.principal, str(caller.run_id), request.tool, request.call_key]
    )
    try:
        body = exact_bytes(request.arguments)
    except NotCanonical:
        body = strict_json.dump(request.arguments)
    return hashlib.sha256(DIGEST_PREFIX + head + b"\n" + body).hexdigest()
