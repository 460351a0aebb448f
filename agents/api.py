"""JSON about agents. A system prompt never leaves here: its digest and the version's number do (M080)."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from agents import selectors, services
from agents.diffs import prompt_digest, version_diff
from agents.models import Agent, AgentVersion
from provenance.api import ApiRequest, Endpoint, Input, Paging, found, list_response
from provenance.ids import public_id
from provenance.permissions import Permission
from provenance.reasons import LONGEST_REASON


class RequestedToolOutput(serializers.Serializer[Any]):
    """A tool that a version asks for. Whether it may use it is a grant's to say."""

    tool = serializers.CharField()
    reason = serializers.CharField()


class AgentVersionOutput(serializers.Serializer[Any]):
    """An immutable version. `prompt_digest` is `sha256:` and the SHA-256 of the system prompt's UTF-8 bytes."""

    id = serializers.CharField()
    number = serializers.IntegerField()
    provider = serializers.CharField()
    scripted = serializers.BooleanField(help_text="True: the provider plays a script and is no language model.")
    model = serializers.CharField()
    prompt_digest = serializers.CharField()
    forbidden_actions = serializers.ListField(child=serializers.CharField())
    forbidden_tools = serializers.ListField(child=serializers.CharField())
    requested_tools = RequestedToolOutput(many=True)
    max_turns = serializers.IntegerField()
    token_budget = serializers.IntegerField()
    content_hash = serializers.CharField()
    published_at = serializers.DateTimeField()


class AgentOutput(serializers.Serializer[Any]):
    """An agent; `version` is the one in force, null before the first was published."""

    id = serializers.CharField()
    slug = serializers.CharField()
    title = serializers.CharField()
    status = serializers.ChoiceField(choices=Agent.Status.choices)
    trust_level = serializers.CharField()
    created_at = serializers.DateTimeField()
    version = AgentVersionOutput(allow_null=True)


class SuspendInput(Input):
    """Why an agent is stopped."""

    reason = serializers.CharField(max_length=LONGEST_REASON)


class SuspendedOutput(serializers.Serializer[Any]):
    """How an agent stands after it was stopped."""

    id = serializers.CharField()
    slug = serializers.CharField()
    status = serializers.ChoiceField(choices=Agent.Status.choices)


class AgentDetailOutput(AgentOutput):
    """An agent with the numbers of all its versions, newest first."""

    versions = serializers.ListField(child=serializers.IntegerField())


class ChangeOutput(serializers.Serializer[Any]):
    """One difference: `before` and `after` of a value, or `added` and `removed` of a list. Prompts as digests."""

    field = serializers.CharField()
    before = serializers.JSONField(required=False)
    after = serializers.JSONField(required=False)
    added = serializers.ListField(child=serializers.CharField(), required=False)
    removed = serializers.ListField(child=serializers.CharField(), required=False)


class DiffOutput(serializers.Serializer[Any]):
    """What changed from version `former` (0: nothing) to version `latter`."""

    former = serializers.IntegerField()
    latter = serializers.IntegerField()
    changes = ChangeOutput(many=True)


class AgentList(Endpoint):
    """The agents of the workspace, newest first."""

    permission = Permission.AGENTS_READ

    @extend_schema(responses=AgentOutput(many=True))
    def get(self, request: ApiRequest) -> Response:
        """A page of agents, each with its version in force."""
        agents, after = Paging.of(request).page(selectors.agents(request.actor))
        versions = selectors.current_versions(request.actor, agents)
        return list_response([_agent(agent, versions.get(agent.pk)) for agent in agents], after)


class AgentDetail(Endpoint):
    """One agent."""

    permission = Permission.AGENTS_READ

    @extend_schema(responses=AgentDetailOutput)
    def get(self, request: ApiRequest, slug: str) -> Response:
        """The agent, its version in force, and the numbers of all versions."""
        detail = selectors.agent_detail(request.actor, slug)
        numbers = [version.number for version in detail.versions]
        return Response({**_agent(detail.agent, detail.current), "versions": numbers})


class AgentSuspend(Endpoint):
    """Stopping an agent. Letting it act again is for people."""

    permission = Permission.AGENTS_WRITE

    @extend_schema(request=SuspendInput, responses=SuspendedOutput)
    def post(self, request: ApiRequest, slug: str) -> Response:
        """Keep the agent from starting runs and calling tools, at once."""
        data = SuspendInput.parse(request.data)
        # By name, and not by the page's selector: who may stop an agent need not be able to read it.
        named = found(Agent.objects.for_actor(request.actor).filter(slug=slug).first(), "agent")
        agent = services.suspend_agent(actor=request.actor, agent_id=named.pk, reason=data["reason"])
        return Response({"id": public_id("agt", agent.pk), "slug": agent.slug, "status": agent.status})


class AgentVersionDetail(Endpoint):
    """One version of an agent."""

    permission = Permission.AGENTS_READ

    @extend_schema(responses=AgentVersionOutput)
    def get(self, request: ApiRequest, slug: str, number: int) -> Response:
        """The version as it was published, its prompt as digest."""
        version = selectors.agent_detail(request.actor, slug).version(number)
        return Response(_version(found(version, "version")))


class AgentVersionDiff(Endpoint):
    """What a version changed."""

    permission = Permission.AGENTS_READ

    @extend_schema(responses=DiffOutput)
    def get(self, request: ApiRequest, slug: str, number: int) -> Response:
        """The differences to the version before it."""
        detail = selectors.agent_detail(request.actor, slug)
        latter = found(detail.version(number), "version")
        former = detail.version(number - 1)
        changes = version_diff(former, latter)
        return Response({"former": former.number if former else 0, "latter": number, "changes": changes})


def _agent(agent: Agent, version: AgentVersion | None) -> dict[str, Any]:
    return {
        "id": public_id("agt", agent.pk),
        "slug": agent.slug,
        "title": agent.title,
        "status": agent.status,
        "trust_level": agent.trust_level,
        "created_at": agent.created_at,
        "version": _version(version) if version else None,
    }


def _version(version: AgentVersion) -> dict[str, Any]:
    return {
        "id": public_id("agv", version.pk),
        "number": version.number,
        "provider": version.provider.name,
        "scripted": version.provider.scripted,
        "model": version.model,
        "prompt_digest": prompt_digest(version.system_prompt),
        "forbidden_actions": version.forbidden_actions,
        "forbidden_tools": version.forbidden_tools,
        "requested_tools": version.requested_tools,
        "max_turns": version.max_turns,
        "token_budget": version.token_budget,
        "content_hash": version.content_hash,
        "published_at": version.published_at,
    }
