"""The model client: one call of a model over Chat Completions, with what it used. No budget, no policy, no retries.

The engine points it at the gateway (`/call/model/<provider>`), which adds the provider's key: a worker holds none. Every
call is streamed, so that it can be stopped from another thread; usage comes with the last chunk.
Whoever journals calls wants each one to be seen, so nothing here calls twice: a failed call is classified (`retryable`),
and an answer that misses its schema comes back with a `problem` and the message that asks for a repair.
"""

import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import httpx2

from agents.completions import (
    Capabilities,
    ChatRequest,
    Completion,
    Message,
    Prices,
    StreamedAnswer,
    ToolCall,
    ToolSpec,
    TooMuch,
    Usage,
)
from provenance.errors import ProvenanceError

if TYPE_CHECKING:
    import openai

__all__ = [
    "Capabilities",
    "Completion",
    "Interrupt",
    "ModelBudgetExceeded",
    "ModelClient",
    "ModelError",
    "ModelRefused",
    "ModelStopped",
    "ModelUnavailable",
    "Prices",
    "ToolCall",
    "ToolSpec",
    "Usage",
]

_RETRYABLE_STATUS = frozenset({408, 409, 425, 429})
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "budget_exceeded"})


NOT_A_COMPLETION = "The model's server sent something that is not a chat completion."


class ModelError(ProvenanceError):
    """A model call did not bring an answer."""

    code = "model_error"
    status = 502
    title = "Model call failed"
    retryable: ClassVar[bool] = False


class ModelUnavailable(ModelError):
    """The model did not answer this time: network, time limit, overload or a fault on its side."""

    code = "model_unavailable"
    retryable = True

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, **data: Any) -> None:
        super().__init__(message, **data)
        self.retry_after_seconds = retry_after_seconds


class ModelRefused(ModelError):
    """The request itself was refused: by the gateway, or by the provider. Repeating it changes nothing."""

    code = "model_refused"


class ModelBudgetExceeded(ModelError):
    """The provider's quota, or a budget in front of it, is used up."""

    code = "model_budget_exceeded"


class ModelStopped(ModelError):
    """The call was stopped from our side."""

    code = "model_stopped"


class Interrupt:
    """Stops a running call from another thread: the heartbeat's hand on the model stream.

    Takes effect at once while the answer streams. While the server has not even begun to answer, it takes effect at its
    first byte or at the read time limit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._response: httpx2.Response | None = None
        self._stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def stop(self) -> None:
        """End the call. May be called at any time, by any thread, more than once."""
        with self._lock:
            self._stopped = True
            self._shut()

    def watch(self, response: httpx2.Response | None) -> None:
        """The response that is being read now, or None after it."""
        with self._lock:
            self._response = response
            if self._stopped:
                self._shut()

    def _shut(self) -> None:
        stream = self._response.extensions.get("network_stream") if self._response else None
        connection = stream.get_extra_info("socket") if stream else None
        if connection is None:
            return
        try:
            # Closing a socket does not wake a thread that waits in recv; shutting it down does.
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was faster


@dataclass(frozen=True)
class ModelClient:
    """One pinned model behind one address. `http_client` decides where packets may go: give it the gateway's or egress's.

    `api_key` is what the address wants: the run token at the gateway.
    """

    base_url: str
    api_key: str = field(repr=False)
    http_client: httpx2.Client = field(repr=False)
    model: str
    capabilities: Capabilities = field(default_factory=Capabilities)

    def complete(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolSpec] = (),
        response_schema: Mapping[str, Any] | None = None,
        max_tokens: int,
        on_delta: Callable[[str], None] | None = None,
        interrupt: Interrupt | None = None,
    ) -> Completion:
        """Ask once. `max_tokens` bounds the answer; `on_delta` gets its text as it arrives.

        Raises a `ModelError`: `ModelUnavailable` (try again later), `ModelRefused`, `ModelBudgetExceeded`, `ModelStopped`.
        """
        request = ChatRequest(
            model=self.model,
            messages=messages,
            tools=tools,
            schema=response_schema,
            max_tokens=max_tokens,
            capabilities=self.capabilities,
        )
        interrupt = interrupt or Interrupt()
        with _classified(interrupt):
            answer = self._read(request, on_delta, interrupt)
        return request.completion(answer)

    def _read(
        self, request: ChatRequest, on_delta: Callable[[str], None] | None, interrupt: Interrupt
    ) -> StreamedAnswer:
        if interrupt.is_stopped:
            raise ModelStopped
        answer = StreamedAnswer()
        with self._openai.chat.completions.create(**request.body, stream=True) as stream:
            interrupt.watch(stream.response)
            try:
                for chunk in stream:
                    answer.add(chunk, on_delta)
            except (AttributeError, TypeError) as error:
                # The library builds its objects without checking: a field of a wrong type shows only where it is read.
                raise ModelUnavailable(NOT_A_COMPLETION) from error
            finally:
                interrupt.watch(None)
        if interrupt.is_stopped:
            raise ModelStopped
        if not answer.finish_reason:
            raise ModelUnavailable("The model's answer broke off.")
        return answer

    @cached_property
    def _openai(self) -> "openai.OpenAI":
        import openai  # noqa: PLC0415  a second to import, needed by workers only

        client = openai.OpenAI(
            base_url=self.base_url, api_key=self.api_key, http_client=self.http_client, max_retries=0
        )
        # The library takes these from the environment; a developer's shell must not speak to somebody else's server.
        client.organization = client.project = None
        return client


@contextmanager
def _classified(interrupt: Interrupt) -> Iterator[None]:
    """Turn what the library raises into our errors. No text of the provider's answer that could hold the request."""
    import openai  # noqa: PLC0415  as in `ModelClient`

    try:
        yield
    except (openai.APIError, httpx2.HTTPError, ValueError) as error:
        if interrupt.is_stopped:
            raise ModelStopped from error
        raise _classify(error) from error


def _classify(error: Exception) -> ModelError:
    import openai  # noqa: PLC0415  as in `ModelClient`

    if isinstance(error, openai.APIStatusError):
        return _by_status(error)
    if isinstance(error, openai.APITimeoutError):
        return ModelUnavailable("The model did not answer in time.")
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError):
        return ModelUnavailable("The connection to the model failed.")
    if isinstance(error, openai.APIError):
        # An error inside the stream: the server began to answer and then said that it could not.
        return ModelUnavailable(
            "The model's server reported a fault while it answered.", provider_code=error.code or ""
        )
    if isinstance(error, TooMuch):
        return ModelRefused(str(error))
    return ModelUnavailable(NOT_A_COMPLETION)


def _by_status(error: "openai.APIStatusError") -> ModelError:
    code = error.code or ""
    data: dict[str, Any] = {"http_status": error.status_code, "provider_code": code}
    if error.status_code == httpx2.codes.PAYMENT_REQUIRED or code in _QUOTA_CODES:
        return ModelBudgetExceeded(**data)
    if error.status_code in _RETRYABLE_STATUS or error.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR:
        return ModelUnavailable(
            f"The model's server answered {error.status_code}.",
            retry_after_seconds=_retry_after(error.response.headers),
            **data,
        )
    return ModelRefused(f"The model call was refused ({error.status_code}{f', {code}' if code else ''}).", **data)


def _retry_after(headers: httpx2.Headers) -> float | None:
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        if re.fullmatch(r"[0-9]{1,7}(?:\.[0-9]+)?", value):
            return float(value) * unit
    return None
