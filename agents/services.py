"""Every write to agents and model providers: register, publish, trust, suspend."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from agents import definition
from agents.completions import HIGHEST_PRICE, Capabilities, price_of
from agents.definition import RequestedTool
from agents.diffs import version_diff
from agents.errors import AgentExists, AgentNotActive, NothingChanged, ProviderExists
from agents.models import Agent, AgentVersion, ModelProvider
from agents.trust import Trust
from audit.awaiting import hold_until_sealed
from audit.loading import demand_as_signed
from audit.services import record
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.db import service, workspace_of
from provenance.egress import Destination, destination
from provenance.errors import Conflict, Invalid, NotFound, PermissionDenied
from provenance.permissions import Permission
from secrets_vault.references import NAME as SECRET_NAME

SHORTEST_JUSTIFICATION = 20
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?")
_CURRENCY = re.compile(r"[A-Z]{3}")


# --- Model providers -------------------------------------------------------------------------------------------------


@service
def create_provider(
    *,
    actor: Actor,
    name: str,
    base_url: str,
    secret_name: str = "",
    scripted: bool = False,
    private_network: bool = False,
    input_price: str = "",
    output_price: str = "",
    currency: str = "USD",
    capabilities: Mapping[str, bool] | None = None,
) -> ModelProvider:
    """Register an OpenAI-compatible server. Needs gateway:write, because it opens a new way out.

    `secret_name` is the secret with its key, bound to the server's origin. `private_network` allows exactly this host and
    port although they are not on the public internet (T20). A scripted model is on this machine's loopback by its nature,
    and is refused in production.
    """
    actor.require(Permission.GATEWAY_WRITE)
    provider = ModelProvider(
        workspace_id=workspace_of(actor),
        name=_checked_slug(name, "name"),
        base_url=base_url.rstrip("/"),
        origin=_model_server(base_url).origin,
        secret_name=_checked_secret_name(secret_name),
        scripted=scripted,
        private_network=private_network or scripted,
        input_price=_checked_price(input_price, "input_price"),
        output_price=_checked_price(output_price, "output_price"),
        currency=_checked_currency(currency),
        capabilities=asdict(Capabilities.parse(capabilities or {})),
    )
    if scripted and settings.ENVIRONMENT == "production":
        raise Invalid("A scripted model is not a language model and is refused in production.")
    _insert(provider, ProviderExists(name=name))
    record(actor=actor, event=Event.PROVIDER_CREATED, target=provider, detail=_provider_facts(provider))
    return provider


@service
def move_provider(*, actor: Actor, name: str, base_url: str, reason: str) -> ModelProvider:
    """Change a provider's address. Its key stays bound to the old origin: calls fail until it is bound anew (T02)."""
    actor.require(Permission.GATEWAY_WRITE)
    provider: ModelProvider = _found(ModelProvider.locked(actor, name=name))
    before = provider.base_url
    provider.base_url, provider.origin = base_url.rstrip("/"), _model_server(base_url).origin
    provider.save(update_fields=["base_url", "origin"])
    detail = {"before": {"base_url": before}, "after": {"base_url": provider.base_url}}
    record(actor=actor, event=Event.PROVIDER_UPDATED, target=provider, reason=reason, detail=detail)
    return provider


# --- Agents ----------------------------------------------------------------------------------------------------------


@service
def create_agent(*, actor: Actor, slug: str, title: str) -> Agent:
    """Register an agent. It starts at low trust and without a version, so it can do nothing yet (M004, M005)."""
    actor.require(Permission.AGENTS_WRITE)
    agent = Agent(
        workspace_id=workspace_of(actor),
        slug=_checked_slug(slug, "slug"),
        title=title.strip() or slug,
        created_by=actor.id,
    )
    _insert(agent, AgentExists(slug=slug))
    detail = {"slug": agent.slug, "title": agent.title, "trust_level": agent.trust_level}
    record(actor=actor, event=Event.AGENT_CREATED, target=agent, detail=detail)
    return agent


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a version is made of, as its author writes it. `provider` is the provider's name."""

    provider: str
    model: str
    system_prompt: str
    requested_tools: Sequence[RequestedTool] = ()
    forbidden_actions: Sequence[str] = ()
    forbidden_tools: Sequence[str] = ()
    max_turns: int = 12
    token_budget: int = 32_000


@service
def publish_version(*, actor: Actor, agent_id: UUID, configuration: Configuration) -> AgentVersion:
    """Publish an immutable version; new runs use it from now on, runs in flight keep theirs.

    Raises `Invalid` with one error for each thing that is wrong: a model that is not pinned, a tool without a reason, a
    wildcard, a tool that is requested and forbidden at once.
    """
    actor.require(Permission.AGENTS_WRITE)
    agent = _locked(actor, agent_id)
    if not agent.is_active:
        raise AgentNotActive(slug=agent.slug)
    former = AgentVersion.objects.for_actor(actor).filter(agent=agent, number=agent.current_version).first()
    version = _new_version(actor, agent, configuration)
    if former is not None and former.content_hash == version.content_hash:
        raise NothingChanged(slug=agent.slug, version=former.number)
    version.save(force_insert=True)
    changes = version_diff(former, version)
    record(
        actor=actor,
        event=Event.AGENT_VERSION_PUBLISHED,
        target=version,
        detail={"slug": agent.slug, "changes": changes},
    )
    agent.current_version = version.number
    agent.save(update_fields=["current_version"])
    moved = former is not None and (former.model, former.provider_id) != (version.model, version.provider_id)
    record(
        actor=actor,
        event=Event.AGENT_MODEL_CHANGED if moved else Event.AGENT_UPDATED,
        target=agent,
        detail={"version": version.number, "model": version.model, "former_model": former.model if former else ""},
    )
    return version


@service
def raise_trust(*, actor: Actor, agent_id: UUID, level: str, justification: str) -> Agent:
    """Trust an agent one level more. For people only, never for keys or agents.

    One level at a time: what the agent did at the level between is the evidence for the next, and each step has its own
    justification in the log.
    """
    actor.require(Permission.AGENTS_TRUST)
    if actor.kind is not ActorKind.USER:
        raise PermissionDenied(message="Only a person raises an agent's trust level.")
    agent = _locked(actor, agent_id)
    demand_as_signed(agent)
    wanted, current = _level(level), Trust(agent.trust_level)
    if wanted.rank != current.rank + 1:
        raise Conflict(
            f"{agent.slug} has trust level {current.value}; it can be raised by one level at a time, not to {wanted.value}.",
            trust_level=current.value,
        )
    if len(justification.strip()) < SHORTEST_JUSTIFICATION:
        message = f"at least {SHORTEST_JUSTIFICATION} characters that an auditor will understand"
        raise Invalid(f"The justification needs {message}.", errors=[{"path": "justification", "message": message}])
    return _set_trust(actor, agent, wanted, Event.AGENT_TRUST_LEVEL_RAISED, justification.strip())


@service
def lower_trust(*, actor: Actor, agent_id: UUID, level: str, reason: str) -> Agent:
    """Trust an agent less, by any number of levels, at once."""
    actor.require(Permission.AGENTS_WRITE)
    agent = _locked(actor, agent_id)
    wanted, current = _level(level), Trust(agent.trust_level)
    if wanted >= current:
        raise Conflict(f"{agent.slug} has trust level {current.value}; {wanted.value} is not lower.")
    return _set_trust(actor, agent, wanted, Event.AGENT_TRUST_LEVEL_LOWERED, reason)


@service
def suspend_agent(*, actor: Actor, agent_id: UUID, reason: str) -> Agent:
    """Stop an agent from starting runs or calling tools. State and log stay (M022)."""
    actor.require(Permission.AGENTS_WRITE)
    agent = _locked(actor, agent_id)
    if not agent.is_active:
        raise AgentNotActive(f"{agent.slug} is {agent.status} already.", slug=agent.slug)
    return _set_status(actor, agent, Agent.Status.SUSPENDED, Event.AGENT_SUSPENDED, reason)


@service
def resume_agent(*, actor: Actor, agent_id: UUID, reason: str) -> Agent:
    """Let a suspended agent act again. Giving power back is for people, so it needs what no key carries."""
    actor.require(Permission.AGENTS_TRUST)
    agent = _locked(actor, agent_id)
    if agent.status != Agent.Status.SUSPENDED:
        raise Conflict(f"{agent.slug} is {agent.status}, not suspended.", slug=agent.slug)
    return _set_status(actor, agent, Agent.Status.ACTIVE, Event.AGENT_RESUMED, reason)


@service
def retire_agent(*, actor: Actor, agent_id: UUID, reason: str) -> Agent:
    """Take an agent out of service for good. Its versions stay readable."""
    actor.require(Permission.AGENTS_WRITE)
    agent = _locked(actor, agent_id)
    if agent.status == Agent.Status.RETIRED:
        raise AgentNotActive(f"{agent.slug} is retired already.", slug=agent.slug)
    return _set_status(actor, agent, Agent.Status.RETIRED, Event.AGENT_RETIRED, reason)


@service
def view_prompt(*, actor: Actor, agent_id: UUID, number: int) -> str:
    """The full system prompt of a version, for a person who edits it. Each reading is an event (C16)."""
    actor.require(Permission.AGENTS_PROMPT)
    agent = _found(Agent.objects.for_actor(actor).filter(pk=agent_id).first())
    version = _found(AgentVersion.objects.for_actor(actor).filter(agent=agent, number=number).first())
    seen = {"slug": agent.slug, "version": number}
    # The page leaves only when nobody can take back that it did.
    hold_until_sealed(record(actor=actor, event=Event.AGENT_PROMPT_VIEWED, target=version, detail=seen))
    return str(version.system_prompt)


# --- Steps of the above ----------------------------------------------------------------------------------------------


def _new_version(actor: Actor, agent: Agent, wanted: Configuration) -> AgentVersion:
    errors = definition.problems(wanted)
    provider = ModelProvider.objects.for_actor(actor).filter(name=wanted.provider).first()
    if provider is None:
        errors.append({"path": "provider", "message": f"There is no model provider {wanted.provider[:60]!r} here."})
    if errors:
        raise Invalid("This version cannot be published.", errors=errors)
    return AgentVersion(
        workspace_id=agent.workspace_id,
        agent=agent,
        number=agent.current_version + 1,
        provider=provider,
        model=wanted.model,
        system_prompt=wanted.system_prompt,
        forbidden_actions=list(wanted.forbidden_actions),
        forbidden_tools=sorted(set(wanted.forbidden_tools)),
        requested_tools=[asdict(tool) for tool in wanted.requested_tools],
        max_turns=wanted.max_turns,
        token_budget=wanted.token_budget,
        content_hash=definition.content_hash(wanted),
        published_by=actor.answerable,
        published_at=timezone.now(),
    )


def _set_trust(actor: Actor, agent: Agent, level: Trust, event: Event, reason: str) -> Agent:
    former, agent.trust_level = agent.trust_level, level.value
    agent.save(update_fields=["trust_level"])
    detail = {"slug": agent.slug, "from": former, "to": level.value}
    record(actor=actor, event=event, target=agent, reason=reason, detail=detail)
    return agent


def _set_status(actor: Actor, agent: Agent, status: Agent.Status, event: Event, reason: str) -> Agent:
    if not reason.strip():
        raise Invalid("Say why, in a few words.", errors=[{"path": "reason", "message": "may not be empty"}])
    agent.status = status.value
    agent.suspended_reason = reason.strip() if status is Agent.Status.SUSPENDED else ""
    agent.save(update_fields=["status", "suspended_reason"])
    record(actor=actor, event=event, target=agent, reason=reason.strip(), detail={"slug": agent.slug})
    return agent


def _locked(actor: Actor, agent_id: UUID) -> Agent:
    agent: Agent = _found(Agent.locked(actor, pk=agent_id))
    return agent


def _found(row: Any) -> Any:
    if row is None:
        raise NotFound
    return row


def _insert(row: Agent | ModelProvider, exists: Conflict) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        raise exists from error


def _level(text: str) -> Trust:
    if text not in set(Trust):
        message = "low, medium or high"
        raise Invalid(f"A trust level is {message}.", errors=[{"path": "level", "message": message}])
    return Trust(text)


def _model_server(base_url: str) -> Destination:
    target = destination(base_url)
    if target.scheme == "http" and (settings.ENVIRONMENT == "production" or target.host not in {"127.0.0.1", "::1"}):
        raise Invalid("A model is called over https. Plain http is for this machine's loopback, outside production.")
    return target


def _provider_facts(provider: ModelProvider) -> dict[str, Any]:
    return {
        "name": provider.name,
        "base_url": provider.base_url,
        "secret": provider.secret_name,
        "scripted": provider.scripted,
        "private_network": provider.private_network,
        "prices": [provider.input_price, provider.output_price, provider.currency],
    }


def _checked_slug(text: str, path: str) -> str:
    if not _SLUG.fullmatch(text):
        message = "1 to 60 lower-case letters, digits and dashes, beginning and ending with a letter or digit"
        raise Invalid(f"The {path} is {message}.", errors=[{"path": path, "message": message}])
    return text


def _checked_secret_name(text: str) -> str:
    if text and not SECRET_NAME.fullmatch(text):
        message = "the name of a secret, without secret://"
        raise Invalid(f"secret_name is {message}.", errors=[{"path": "secret_name", "message": message}])
    return text


def _checked_price(text: str, path: str) -> str:
    if text and price_of(text) is None:
        message = f"a decimal number per million tokens, at most {HIGHEST_PRICE:,}, for example 2.50"
        raise Invalid(f"{path} is {message}.", errors=[{"path": path, "message": message}])
    return text


def _checked_currency(text: str) -> str:
    if not _CURRENCY.fullmatch(text):
        message = "three capital letters, for example USD"
        raise Invalid(f"currency is {message}.", errors=[{"path": "currency", "message": message}])
    return text
