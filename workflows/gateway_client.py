"""How a worker reaches tools and models: only through the gateway, over HTTP, with a token of this run (T03, T04)."""

import functools
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx2
from django.conf import settings

from gateway import tokens
from gateway.contract import CallRequest, CallResponse, FactsRequest, FactsResponse, OfferedTool
from gateway.tokens import RunClaims
from provenance.egress import Egress
from workflows.facts import AgentPin, RunFacts
from workflows.leases import Lease

TOOL_SECONDS = 90.0
MODEL_SECONDS = 300.0
LARGEST_ANSWER_BYTES = 32 * 2**20
_LONGEST_REASON = 500


class GatewayUnreachable(Exception):
    """The gateway did not answer; whether it received the request is not known."""


class GatewayRefused(Exception):
    """The gateway will not take this request at all: a wrong shape, or a run that may not call any more."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class GatewayClient:
    """Speaks for one agent in one step under one fence."""

    def __init__(self, lease: Lease, facts: RunFacts, agent: AgentPin, *, step_id: UUID, step: str) -> None:
        self._claims = RunClaims(
            workspace_id=facts.workspace_id,
            run_id=facts.run_id,
            step_id=step_id,
            agent_id=agent.agent_id,
            agent_version_id=agent.version_id,
            token_id=lease.token_id,
            fence=lease.fence,
            environment=facts.environment,
            workflow_version=str(facts.version_id),
            step=step,
            on_behalf_of=facts.on_behalf_of,
        )

    @property
    def run_token(self) -> str:
        """A fresh run token. Each request carries its own: a step may wait longer than a token lives."""
        return tokens.mint(self._claims, settings.CALL_TOKEN)

    def call(self, request: CallRequest, *, on_sent: Callable[[], None]) -> CallResponse:
        """Ask for a tool call. Repeating a `call_id` never performs it twice.

        `on_sent` is called when the request has left and no answer has been read: the gateway may be performing it.
        """
        return CallResponse.parse(self._request("POST", "/call", request.to_json(), on_sent=on_sent))

    def outcome(self, call_id: UUID) -> CallResponse | None:
        """What the gateway knows of a call; None when it never heard of it."""
        try:
            return CallResponse.parse(self._request("GET", f"/call/{call_id}"))
        except GatewayRefused as refusal:
            if refusal.status == httpx2.codes.NOT_FOUND:
                return None
            raise

    def tools(self) -> list[OfferedTool]:
        """The tools this agent may be shown now."""
        answer = self._request("POST", "/call/tools", {})
        offered = answer["tools"] if isinstance(answer, dict) else answer
        return [OfferedTool.parse(tool) for tool in offered]

    def facts(self, request: FactsRequest) -> FactsResponse:
        """What an approval of this call would have to say."""
        return FactsResponse.parse(self._request("POST", "/call/facts", request.to_json()))

    def _request(self, method: str, path: str, body: Any = None, on_sent: Callable[[], None] | None = None) -> Any:
        try:
            response = http_client().request(
                method,
                f"{settings.GATEWAY_URL}{path}",
                json=body,
                headers={"Authorization": f"Bearer {self.run_token}"},
                timeout=TOOL_SECONDS,
                extensions={"trace": _tracing(on_sent)} if on_sent else None,
            )
        except httpx2.HTTPError as error:
            raise GatewayUnreachable(type(error).__name__) from error
        return _read(response)


def model_url(provider: str) -> str:
    """The base URL at which the gateway passes a provider's models through."""
    return f"{settings.GATEWAY_URL}/call/model/{provider}"


def http_client() -> httpx2.Client:
    """The one client of this process. It reaches the gateway and nothing else, whatever URL it is given."""
    return _client_of(settings.GATEWAY_URL)


@functools.cache
def _client_of(gateway_url: str) -> httpx2.Client:
    return Egress.only(gateway_url, total_seconds=MODEL_SECONDS, max_response_bytes=LARGEST_ANSWER_BYTES).client()


def _tracing(on_sent: Callable[[], None]) -> Callable[[str, dict[str, Any]], None]:
    """A listener for the client's own trace of an exchange."""

    def listen(name: str, _: dict[str, Any]) -> None:
        if name == "http11.send_request_body.complete":
            on_sent()

    return listen


def _read(response: httpx2.Response) -> Any:
    if (
        response.status_code == httpx2.codes.TOO_MANY_REQUESTS
        or response.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR
    ):
        raise GatewayUnreachable(f"HTTP {response.status_code}")
    try:
        body = response.json()
    except ValueError as error:
        raise GatewayUnreachable("the answer is not JSON") from error
    if response.status_code >= httpx2.codes.BAD_REQUEST:
        problem = body if isinstance(body, dict) else {}
        raise GatewayRefused(
            response.status_code, str(problem.get("code", "")), str(problem.get("detail", ""))[:_LONGEST_REASON]
        )
    return body
