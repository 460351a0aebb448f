"""JSON about servers, tools and grants: what may be called, by whom, and until when. Never a credential."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from gateway import selectors, services
from gateway.models import McpServer, Tool, ToolGrant
from provenance.api import ApiRequest, Endpoint, Input, page_response
from provenance.ids import parse_public_id, public_id
from provenance.permissions import Permission

LONGEST_REASON = 1000


class ServerOutput(serializers.Serializer[Any]):
    """A registered MCP server. `secret_name` is the name of its credential, never the value."""

    id = serializers.CharField()
    slug = serializers.CharField()
    title = serializers.CharField()
    url = serializers.CharField()
    status = serializers.ChoiceField(choices=McpServer.Status.choices)
    environment = serializers.CharField()
    secret_name = serializers.CharField()
    created_at = serializers.DateTimeField()


class ToolOutput(serializers.Serializer[Any]):
    """A tool as it was reviewed. `pin` is the SHA-256 of its whole definition; `findings` are what the lint saw."""

    id = serializers.CharField()
    name = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    input_schema = serializers.JSONField()
    status = serializers.ChoiceField(choices=Tool.Status.choices)
    effect = serializers.CharField()
    retry_class = serializers.CharField()
    data_tier = serializers.IntegerField()
    pin = serializers.CharField()
    findings = serializers.ListField(child=serializers.CharField())


class GrantOutput(serializers.Serializer[Any]):
    """The right of an agent to use one tool."""

    id = serializers.CharField()
    agent_id = serializers.CharField()
    tool = serializers.CharField()
    reason = serializers.CharField()
    constraints = serializers.JSONField()
    granted_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class RevokedGrantOutput(GrantOutput):
    """A grant that was taken back."""

    revoked_at = serializers.DateTimeField()


class GrantRevokeInput(Input):
    """Why a grant is taken back."""

    reason = serializers.CharField(max_length=LONGEST_REASON)


class ServerList(Endpoint):
    """Servers of tools."""

    permission = Permission.GATEWAY_READ

    @extend_schema(responses=ServerOutput(many=True))
    def get(self, request: ApiRequest) -> Response:
        """Every server, newest first."""
        return page_response(request, selectors.servers(request.actor), _server)


class ToolList(Endpoint):
    """Tools of all servers."""

    permission = Permission.GATEWAY_READ

    @extend_schema(responses=ToolOutput(many=True))
    def get(self, request: ApiRequest) -> Response:
        """Every tool, newest first."""
        return page_response(request, selectors.tools(request.actor), _tool)


class GrantList(Endpoint):
    """Grants that were not revoked."""

    permission = Permission.GATEWAY_READ

    @extend_schema(responses=GrantOutput(many=True))
    def get(self, request: ApiRequest) -> Response:
        """Every grant in force, newest first."""
        return page_response(request, selectors.grants(request.actor), _grant)


class GrantRevoke(Endpoint):
    """Taking a grant back. Giving one is for people."""

    permission = Permission.GATEWAY_WRITE

    @extend_schema(request=GrantRevokeInput, responses=RevokedGrantOutput)
    def post(self, request: ApiRequest, grant_id: str) -> Response:
        """The next call under the grant is refused, also in runs in flight."""
        data = GrantRevokeInput.parse(request.data)
        number = parse_public_id("grt", grant_id)
        grant = services.revoke_grant(actor=request.actor, grant_id=number, reason=data["reason"])
        return Response({**_grant(grant), "revoked_at": grant.revoked_at})


def _server(server: McpServer) -> dict[str, Any]:
    return {
        "id": public_id("srv", server.pk),
        "slug": server.slug,
        "title": server.title,
        "url": server.url,
        "status": server.status,
        "environment": server.environment,
        "secret_name": server.secret_name,
        "created_at": server.created_at,
    }


def _tool(tool: Tool) -> dict[str, Any]:
    return {
        "id": public_id("tool", tool.pk),
        "name": tool.full_name,
        "title": tool.title,
        "description": tool.description,
        "input_schema": tool.offered_schema,
        "status": tool.status,
        "effect": tool.effect,
        "retry_class": tool.retry_class,
        "data_tier": tool.data_tier,
        "pin": tool.pin,
        "findings": tool.findings,
    }


def _grant(grant: ToolGrant) -> dict[str, Any]:
    return {
        "id": public_id("grt", grant.pk),
        "agent_id": public_id("agt", grant.agent_id),
        "tool": grant.tool.full_name,
        "reason": grant.reason,
        "constraints": grant.constraints,
        "granted_at": grant.granted_at,
        "expires_at": grant.expires_at,
    }
