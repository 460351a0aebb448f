"""The call itself: send, read, redact. No transaction is open and no database connection is held."""

import time
from collections.abc import Sequence

from gateway.calls.stages import Admitted, Outcome
from gateway.catalog import Catalog
from gateway.contract import CallState, RetryClass, ToolResult
from gateway.errors import UpstreamError
from gateway.policy import Snapshot, ToolSnapshot
from gateway.threads import off_loop
from gateway.upstream import Answer
from provenance.dlp.engine import Redactor

WITHHELD = "The call was performed. A policy holds back what it answered."


async def perform(catalog: Catalog, admitted: Admitted) -> Outcome:
    """Send an admitted call once; how it ended and how many milliseconds it took."""
    began = time.monotonic()
    outcome = await _sent(catalog, admitted)
    outcome.duration_ms = round((time.monotonic() - began) * 1000)
    return outcome


async def _sent(catalog: Catalog, admitted: Admitted) -> Outcome:
    tool, workspace_id = admitted.tool, admitted.asked.caller.workspace_id
    upstream = catalog.upstream(workspace_id, tool.server)
    injected: list[bytes] = []
    headers: dict[str, str] = {}
    if admitted.credential:
        headers, value = admitted.credential.opened()
        injected = [value, *(text.encode() for text in headers.values())]
    # The last look at the clock stands directly before the socket: a stalled process must not overrun its lease.
    if time.monotonic() >= admitted.send_by:
        return Outcome(CallState.FAILED, rule="call.too_late", reason="The call was admitted too long ago to be sent.")
    try:
        answer = await upstream.call_tool(
            tool.name, admitted.arguments, input_schema=tool.input_schema, credentials=headers
        )
    except UpstreamError as error:
        if error.rule == "upstream.error":
            catalog.forget(workspace_id, tool.server.id)
        return _failed(error, tool)
    return await off_loop(outcome_of, answer, tool, admitted.asked.snapshot, injected)


def _failed(error: UpstreamError, tool: ToolSnapshot) -> Outcome:
    """A call without a usable answer. Its outcome is unknown only when something may have happened that matters."""
    unknown = error.sent and tool.facts.retry_class != RetryClass.READ
    state = CallState.INDETERMINATE if unknown else CallState.FAILED
    return Outcome(state, rule=error.rule, reason=error.message)


def outcome_of(answer: Answer, tool: ToolSnapshot, snapshot: Snapshot, injected: Sequence[bytes] = ()) -> Outcome:
    """What an answer of this tool comes to, once it was held against its schema and went through the policies.

    `injected` are secrets that were sent along and must not come back.
    """
    if tool.result and not answer.is_error and (errors := tool.result.violations(answer.structured_content)):
        reason = f"The answer of {tool.full_name} does not fit its own schema: {errors[0]}"
        # What it said is not usable, so nobody knows what it did; of a read it matters to nobody.
        is_harmless = tool.facts.retry_class == RetryClass.READ
        return Outcome(
            CallState.FAILED if is_harmless else CallState.INDETERMINATE, rule="result.schema", reason=reason
        )
    redactor = Redactor(snapshot.field_policies(tool, "output"), injected)
    result = ToolResult(
        content=redactor.content(answer.content),
        structured_content=redactor.structured(answer.structured_content),
        is_error=answer.is_error,
    )
    findings = redactor.findings()
    rule = reason = ""
    blocked = Redactor(snapshot.field_policies(tool, "output", "block"))
    blocked.content(result.content)
    blocked.structured(result.structured_content)
    if not blocked.findings().is_clean:
        findings.fields |= blocked.findings().fields
        # Only the answer stays here, what the call did stands: told that it failed, its caller would do it again.
        result = ToolResult(content=[{"type": "text", "text": WITHHELD}], is_error=answer.is_error)
        rule, reason = "dlp.blocked", WITHHELD
    if answer.is_error:
        return Outcome(
            CallState.FAILED, result=result, rule="tool.error", reason="The tool reported an error.", findings=findings
        )
    return Outcome(CallState.SUCCEEDED, result=result, rule=rule, reason=reason, findings=findings)
