"""An agent step: a model and tools in turns, until there is an answer in the form the workflow asked for.

The transcript is the state. Each entry has a number, and a call carries the number of the entry that it will bring; so
an agent step that is run again after a crash reads the transcript and goes on exactly where it ended.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from agents.completions import Capabilities, Completion, Message, Prices, ToolCall, ToolSpec
from agents.llm import Interrupt, ModelBudgetExceeded, ModelClient, ModelError
from agents.models import AgentVersion
from agents.prompt import DataItem, assemble, tool_message
from audit.loading import demand_as_signed
from audit.services import record
from audit.taxonomy import Event
from gateway.contract import NOT_NOW, CallResponse, CallState, OfferedTool, full_name
from provenance.db import database_now
from provenance.tool_names import is_full_name
from workflows import budgets, faults, gateway_client, sql, transcript
from workflows.definition import AgentStep
from workflows.facts import AgentPin
from workflows.faults import Point
from workflows.gateway_client import GatewayClient
from workflows.journal import Plan
from workflows.leases import Interrupted
from workflows.models import Call
from workflows.outcomes import Done, Failed, Parked, StepStopped
from workflows.states import CallStatus, FailureCode, WaitingOn
from workflows.steps import Work
from workflows.transcript import Entry

MOST_REPEATS = 3
MOST_ANSWER_TOKENS = 4_096
LONGEST_TASK = 32_000

_NO_SUCH_TOOL = "There is no such tool. Use only the tools you were given."


def run(work: Work, step: AgentStep) -> Done:
    """Take turns until the answer fits `output`. One turn repairs an answer that does not."""
    turns = _Turns(work, step)
    while True:
        answer = turns.take()
        if answer is not None:
            return Done(output=answer.value)


class _Answer:
    """The agent's final answer."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Turns:
    """One agent step at work."""

    def __init__(self, work: Work, step: AgentStep) -> None:
        self._work = work
        self._step = step
        self._agent = work.facts.agent(step.agent)
        self._boundary = str(work.facts.manifest["boundary"])
        with work.lease.held():
            self._version = _version(self._agent)
            self._entries = transcript.read(work.row)
        self._client = GatewayClient(work.lease, work.facts, self._agent, step_id=work.row.pk, step=work.row.node_key)
        self._tools = self._offered()

    def take(self) -> _Answer | None:
        """Do what the transcript says is next. The answer when there is one, None when the conversation goes on."""
        if not self._entries:
            self._open()
            return None
        if call := transcript.unanswered(self._entries):
            self._answer_call(call)
            return None
        last = self._entries[-1]
        if last.role == "assistant":
            return self._judge(last)
        self._ask_model()
        return None

    def _open(self) -> None:
        task = str(self._work.render(self._step.task))[:LONGEST_TASK]
        data = [DataItem(name, self._work.render(value)) for name, value in self._step.data.items()]
        self._append(*assemble(self._version, task=task, data=data, boundary=self._boundary))

    def _append(self, *messages: Message, reply: dict[str, Any] | None = None) -> None:
        """Add messages in one commit: half an opening would be a conversation without its task."""
        with self._work.lease.held():
            for message in messages:
                self._entries.append(transcript.append(self._work.row, len(self._entries), message, reply=reply))
        faults.reach(Point.MESSAGE_STORED)

    # --- The model -----------------------------------------------------------------------------------------------

    def _ask_model(self) -> None:
        asked = sum(entry.role == "assistant" for entry in self._entries)
        if asked >= self._version.max_turns:
            raise StepStopped(_failed("max_turns", f"The agent used all of its {asked} turns without an answer."))
        messages = [entry.message for entry in self._entries]
        call = self._work.journal.opened(
            len(self._entries),
            kind=Call.Kind.MODEL,
            target=f"{self._agent.provider}/{self._agent.model}",
            arguments={"messages": len(messages), "tools": sorted(spec.name for spec in self._tools)},
        )
        with self._work.lease.held():
            # An earlier turn that died in this call may have used all that it held.
            budgets.settle(call, spent=None)
            answer_tokens = budgets.hold(call, prompt=messages, most=MOST_ANSWER_TOKENS)
        if answer_tokens is None:
            raise self._over_budget()
        self._work.journal.started(call, self._agent)
        started = time.monotonic()
        try:
            completion = self._complete(messages, answer_tokens)
        except ModelError as error:
            rule = str(error.data.get("provider_code", ""))
            is_not_now = rule in NOT_NOW
            self._record_failure(call, error, is_final=not (is_not_now or error.retryable))
            if is_not_now:
                raise self._work.journal.not_now(call, self._agent, rule, error.message) from error
            raise StepStopped(_model_failed(error, call.attempts)) from error
        faults.reach(Point.CALL_ANSWERED)
        self._store(call, completion, milliseconds=int((time.monotonic() - started) * 1_000))

    def _complete(self, messages: Sequence[Message], answer_tokens: int) -> Completion:
        provider = self._version.provider
        client = ModelClient(
            base_url=gateway_client.model_url(self._agent.provider),
            api_key=self._client.run_token,
            http_client=gateway_client.http_client(),
            model=self._agent.model,
            capabilities=Capabilities.parse(provider.capabilities),
        )
        interrupt = Interrupt()
        try:
            return self._work.lease.wait_for(
                lambda: client.complete(
                    messages,
                    tools=self._tools,
                    response_schema=self._step.output,
                    max_tokens=answer_tokens,
                    on_delta=lambda _text: faults.reach(Point.MODEL_ANSWERING),
                    interrupt=interrupt,
                )
            )
        except (Interrupted, sql.FencedOut):
            interrupt.stop()
            raise

    def _store(self, call: Call, completion: Completion, *, milliseconds: int) -> None:
        """Message, usage, cost and events in one commit: a turn is paid for exactly when it counts."""
        work, usage = self._work, completion.usage
        with work.lease.held():
            call.status = CallStatus.SUCCEEDED.value
            call.tokens_in, call.tokens_out = usage.tokens_in, usage.tokens_out
            call.cost = self._cost(completion)
            call.finished_at = database_now()
            call.save(update_fields=["status", "tokens_in", "tokens_out", "cost", "finished_at"])
            budgets.settle(call, spent=usage.total)
            self._entries.append(
                transcript.append(work.row, call.seq, completion.message, reply=transcript.reply_of(completion))
            )
            context = work.facts.context(self._step.name, self._agent)
            record(
                actor=work.facts.agent_actor(self._agent),
                event=Event.MODEL_CALLED,
                target=work.row,
                context=context,
                detail={
                    "provider": self._agent.provider,
                    "model": completion.model or self._agent.model,
                    "tokens_in": usage.tokens_in,
                    "tokens_out": usage.tokens_out,
                    "estimated": usage.estimated,
                    "cost": str(call.cost),
                    "milliseconds": milliseconds,
                    "scripted": self._version.provider.scripted,
                },
            )
            if completion.tool_calls:
                record(
                    actor=work.facts.agent_actor(self._agent),
                    event=Event.RUN_DECISION_RECORDED,
                    target=work.row,
                    context=context,
                    detail={
                        "tools_offered": [full_name(spec.name) for spec in self._tools],
                        "chosen": [full_name(wanted.name) for wanted in completion.tool_calls],
                        # Never sent anywhere: the model is told what is wrong with them.
                        "malformed": [full_name(bad.name)[:200] for bad in completion.tool_calls if bad.problem],
                    },
                )
        faults.reach(Point.CALL_RECORDED)

    def _cost(self, completion: Completion) -> Decimal:
        provider = self._version.provider
        prices = Prices.parse(provider.input_price, provider.output_price, provider.currency)
        return prices.cost(completion.usage) if prices else Decimal(0)

    def _record_failure(self, call: Call, error: ModelError, *, is_final: bool) -> None:
        with self._work.lease.held():
            if is_final:
                call.status, call.reason = CallStatus.FAILED.value, error.message
                call.finished_at = database_now()
                call.save(update_fields=["status", "reason", "finished_at"])
            # A server that answered with a status did no work for us; one that fell silent may have.
            budgets.settle(call, spent=0 if "http_status" in error.data else None)
            record(
                actor=self._work.facts.agent_actor(self._agent),
                event=Event.MODEL_FAILED,
                target=self._work.row,
                outcome="failure",
                reason=error.message,
                context=self._work.facts.context(self._step.name, self._agent),
                detail={"code": error.code, "provider": self._agent.provider, "model": self._agent.model},
            )

    def _over_budget(self) -> StepStopped:
        with self._work.lease.held():
            record(
                actor=self._work.facts.engine_actor(),
                event=Event.MODEL_BUDGET_EXCEEDED,
                target=self._work.row,
                outcome="blocked",
                context=self._work.facts.context(self._step.name, self._agent),
            )
        return StepStopped(
            Failed(
                code=FailureCode.BUDGET_EXCEEDED,
                error="budget_exceeded",
                message="The run's token budget is used up, so the model was not asked again.",
            )
        )

    # --- Tools ---------------------------------------------------------------------------------------------------

    def _offered(self) -> list[ToolSpec]:
        offered = self._work.ask_gateway(
            self._client.tools, refused=FailureCode.POLICY_BLOCKED, complaint="The gateway gives this agent no tools"
        )
        return [_spec(tool) for tool in offered]

    def _answer_call(self, wanted: ToolCall) -> None:
        """Perform one call that the model asked for, or tell it why not."""
        name = full_name(wanted.name)
        self._demand_no_loop(wanted)
        if wanted.arguments is None:
            content: Any = {"error": wanted.problem}
        elif not is_full_name(name):
            content = {"error": _NO_SUCH_TOOL}
        else:
            plan = Plan(seq=len(self._entries), agent=self._agent, tool=name, arguments=wanted.arguments)
            content = _shown(self._work.journal.tool(plan))
        self._append(tool_message(wanted.id, DataItem(name[:200], content), self._boundary))

    def _demand_no_loop(self, wanted: ToolCall) -> None:
        """Stop an agent that asks for the same thing over and over: it will not learn more the next time."""
        made = Counter(
            (call.name, json.dumps(call.arguments, sort_keys=True))
            for entry in self._entries
            for call in transcript.calls_of(entry)
        )
        repeats = made[(wanted.name, json.dumps(wanted.arguments, sort_keys=True))]
        if repeats >= MOST_REPEATS and transcript.is_last_of(self._entries, wanted):
            raise StepStopped(
                _failed(
                    "loop", f"The agent called {full_name(wanted.name)[:200]} {repeats} times with the same arguments."
                )
            )

    # --- The answer ----------------------------------------------------------------------------------------------

    def _judge(self, last: Entry) -> _Answer | None:
        value, problem = last.value, last.problem
        if not problem:
            return _Answer(value)
        if any(entry.is_repair for entry in self._entries):
            raise StepStopped(_failed("answer_unusable", f"The agent's answer cannot be used: {problem}"))
        repair = f"Your answer cannot be used: {problem} Answer again with only the corrected JSON."
        self._append({"role": "user", "content": repair}, reply={"repair": True})
        return None


def _version(agent: AgentPin) -> AgentVersion:
    version: AgentVersion = AgentVersion.objects.select_related("agent", "provider").get(pk=agent.version_id)
    # What it tells the model is what somebody published (T06).
    demand_as_signed(version)
    if not version.agent.is_active:
        raise StepStopped(
            Failed(
                code=FailureCode.POLICY_BLOCKED,
                error="agent_inactive",
                message=f"The agent {agent.slug} is {version.agent.status}.",
            )
        )
    return version


def _spec(tool: OfferedTool) -> ToolSpec:
    return ToolSpec(name=tool.model_name, description=tool.description, parameters=tool.input_schema)


def _shown(response: CallResponse) -> Any:
    """What the model gets to see: the result, or why there is none. Which rule refused stays in the log."""
    if response.state is CallState.BLOCKED:
        return {"error": f"The call was refused and did not happen. {response.reason}".strip()}
    if response.result is None:
        return {"error": response.reason or "The tool failed without saying why."}
    content = response.result.structured_content
    shown = content if content is not None else response.result.text
    return {"error": shown} if response.result.is_error else shown


def _failed(error: str, message: str) -> Failed:
    return Failed(code=FailureCode.STEP_FAILED, error=error, message=message)


def _model_failed(error: ModelError, attempts: int) -> Parked | Failed:
    if error.retryable:
        asked = getattr(error, "retry_after_seconds", None) or 0
        wait = min(60, max(int(asked) + 1, 2 ** min(attempts, 6)))
        return Parked(waiting_on=WaitingOn.TIMER, reason=error.message, wake_in_seconds=wait)
    code = FailureCode.BUDGET_EXCEEDED if isinstance(error, ModelBudgetExceeded) else FailureCode.STEP_FAILED
    return Failed(code=code, error=error.code, message=error.message)
