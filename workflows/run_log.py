"""One plain sentence for each event of a run: who did what, with what result. Pure.

The words come from what the event keeps beside its signed text. Where that was erased, or for an event without a
sentence of its own, the taxonomy's sentence stands; nothing here decides anything.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from audit.narrative import plain
from audit.selectors import EventRow
from workflows.waterfall import words

Titles = Mapping[str, str]
"""What each step of the run's definition is called, by its name."""


def sentence(row: EventRow, titles: Titles) -> str:
    """What happened, for people."""
    tell = _TELLERS.get(row.event.action)
    try:
        told = tell(row, row.facts, titles) if tell else ""
    except (KeyError, TypeError, ValueError, AttributeError):
        # Erased, or written by a version that kept other facts: the log is shown, whatever it holds.
        told = ""
    return told or plain(row)


def teller(row: EventRow) -> str:
    """The same for a log that is read outside of its run, where no title is known; "" for what is not a run's."""
    return sentence(row, {}) if row.event.action in _TELLERS else ""


# --- The run and its steps -------------------------------------------------------------------------------------------


def _queued(row: EventRow, facts: Any, _: Titles) -> str:
    return f"{row.actor_name} started version {facts['version']} of {facts['workflow']}."


def _run_waits(_: EventRow, facts: Any, __: Titles) -> str:
    on = {"approval": "for a person's approval", "decision": "for a person's word on what became of a call"}
    return f"The run waits {on.get(facts['waiting_on'], 'for ' + facts['waiting_on'])}."


def _run_failed(row: EventRow, _: Any, __: Titles) -> str:
    return _because("The run failed", row)


def _run_stopping(row: EventRow, _: Any, __: Titles) -> str:
    return _because(f"{row.actor_name} asked the run to stop", row)


def _run_stopped(row: EventRow, _: Any, __: Titles) -> str:
    return _because("The run was stopped before its end", row)


def _step(verb: str) -> "Teller":
    def tell(row: EventRow, _: Any, titles: Titles) -> str:
        return _because(f"Step {_title(row, titles)} {verb}", row)

    return tell


# --- Models ----------------------------------------------------------------------------------------------------------


def _model_called(row: EventRow, facts: Any, _: Titles) -> str:
    kind = "the scripted model" if facts["scripted"] else "the model"
    used = f"{facts['tokens_in']:,} tokens in, {facts['tokens_out']:,} out"
    return f"{row.actor_name} asked {kind} {facts['model']}, which answered in {_took(facts['milliseconds'])} ({used})."


def _model_failed(row: EventRow, facts: Any, _: Titles) -> str:
    return _because(f"{row.actor_name} asked the model {facts['model']} and got no answer", row)


def _model_chose(row: EventRow, facts: Any, _: Titles) -> str:
    malformed = facts["malformed"]
    chosen = [name for name in facts["chosen"] if name not in malformed]
    told = f"The model of {row.actor_name} chose to call {_listed(chosen)}." if chosen else ""
    refused = (
        f"It asked for {_listed(malformed)} in a form that is no call, which was sent nowhere." if malformed else ""
    )
    return f"{told} {refused}".strip()


def _left(row: EventRow, facts: Any, _: Titles) -> str:
    return f"The gateway sent a request of {row.actor_name} on to {row.object_name} at {facts['origin']}."


def _stopped_at_the_door(row: EventRow, facts: Any, _: Titles) -> str:
    return f"The gateway stopped a request of {row.actor_name} to {facts['origin']}: rule {facts['decision']}."


def _secret(row: EventRow, facts: Any, _: Titles) -> str:
    return f"The gateway put the secret {facts['secret']} into the request to {facts['origin']}; {row.actor_name} never saw it."


# --- Tools -----------------------------------------------------------------------------------------------------------


def _tool_requested(row: EventRow, facts: Any, _: Titles) -> str:
    if facts.get("rule") == "approval.pending":
        return f"The gateway holds the call of {facts['tool']} by {row.actor_name} until a person approves it."
    again = f", attempt {facts['attempt']}" if facts["attempt"] > 1 else ""
    return f"The gateway let {row.actor_name} call {facts['tool']}{again}."


def _tool_called(row: EventRow, facts: Any, _: Titles) -> str:
    withheld = sum(sum(hits.values()) for hits in facts.get("redactions", {}).values())
    match row.event.outcome:
        case "success":
            kept = f"; {_values(withheld)} withheld from {row.actor_name}" if withheld else ""
            return f"{facts['tool']} answered in {_took(facts['duration_ms'])}{kept}."
        case "failure":
            return _because(f"{facts['tool']} failed", row)
        case _:
            return _because(f"Nobody knows what became of the call of {facts['tool']}", row)


def _tool_blocked(row: EventRow, facts: Any, _: Titles) -> str:
    return _because(f"The gateway refused {row.actor_name} the call of {facts['tool']}", row)


def _policy(_: EventRow, facts: Any, __: Titles) -> str:
    where = "in the answer" if facts["direction"] == "output" else "in what was sent"
    if facts["action"] == "redact":
        found = f"{_values(sum(facts['fields'].values()))} withheld ({', '.join(sorted(facts['fields']))})"
        return f"Policy {facts['rule']} matched {where} of {facts['tool']}: {found}."
    what = {"cut": "A secret was cut out", "strip": "Hidden characters were taken out", "block": "The call was refused"}
    return f"{what[facts['action']]}: rule {facts['rule']} matched {where} of {facts['tool']}."


def _call_resolved(row: EventRow, _: Any, __: Titles) -> str:
    return _because(f"{row.actor_name} said what became of a call of unknown outcome", row)


# --- Approvals -------------------------------------------------------------------------------------------------------


def _asked(row: EventRow, facts: Any, _: Titles) -> str:
    return f"{row.actor_name} asked a person to decide within {facts['sla_minutes']} minutes: “{facts['title']}”"


def _edited(row: EventRow, facts: Any, _: Titles) -> str:
    return f"{row.actor_name} changed {_listed(facts['changed_fields'])} before approving."


def _approved(row: EventRow, facts: Any, _: Titles) -> str:
    edited = " with an edit" if facts["changed_fields"] else ""
    return _because(f"{row.actor_name} approved one call of {facts['tool']}{edited}", row)


def _rejected(row: EventRow, facts: Any, _: Titles) -> str:
    return _because(f"{row.actor_name} rejected the call of {facts['tool']}", row)


def _expired(row: EventRow, _: Any, __: Titles) -> str:
    return _because("The request was rejected because its time was over", row)


def _withdrawn(row: EventRow, _: Any, __: Titles) -> str:
    return _because("The request was taken back before anybody decided", row)


def _running_out(_: EventRow, facts: Any, __: Titles) -> str:
    return f"{facts['percent']}% of the time to decide is gone; {facts['minutes_left']} minutes are left."


def _always(text: str) -> "Teller":
    return lambda *_: text


Teller = Callable[[EventRow, Any, Titles], str]

_TELLERS: Mapping[str, Teller] = {
    "run.queued": _queued,
    "run.started": _always("A worker began the run."),
    "run.resumed": _always("The run goes on."),
    "run.waiting": _run_waits,
    "run.canceling": _run_stopping,
    "run.canceled": _run_stopped,
    "run.failed": _run_failed,
    "run.succeeded": _always("The run reached its end."),
    "run.step_started": _step("began"),
    "run.step_waiting": _step("waits"),
    "run.step_resumed": _step("goes on"),
    "run.step_completed": _step("is done"),
    "run.step_failed": _step("failed"),
    "run.step_skipped": _step("was not needed"),
    "run.step_canceled": _step("was stopped"),
    "run.step_unknown": _step("made a call of which nobody knows what became"),
    "run.decision_recorded": _model_chose,
    "model.called": _model_called,
    "model.failed": _model_failed,
    "model.budget_exceeded": _always("The run's token budget is used up, so the model was not asked again."),
    "egress.requested": _left,
    "egress.blocked": _stopped_at_the_door,
    "secret.injected": _secret,
    "mcp.tool_requested": _tool_requested,
    "mcp.tool_called": _tool_called,
    "mcp.tool_blocked": _tool_blocked,
    "policy.violation": _policy,
    "call.resolved": _call_resolved,
    "approval.requested": _asked,
    "approval.payload_edited": _edited,
    "approval.approved": _approved,
    "approval.rejected": _rejected,
    "approval.decision_recorded": _always("The decision was stored with exactly what was decided upon."),
    "approval.expired": _expired,
    "approval.sla_breach": _always("Nobody decided in time."),
    "approval.sla_warning": _running_out,
    "approval.withdrawn": _withdrawn,
    "approval.consumed": _always("The approval was used for its one call and is worth nothing more."),
}


# --- Words -----------------------------------------------------------------------------------------------------------


def _because(told: str, row: EventRow) -> str:
    """The sentence with the reason that was given; a person's own words stand in quotes."""
    if not row.reason:
        return f"{told}."
    reason = f"“{row.reason}”" if row.event.actor_type == "user" else row.reason
    return f"{told}: {reason}" if reason[-1] in ".!?”" else f"{told}: {reason}."


def _title(row: EventRow, titles: Titles) -> str:
    return f"“{titles.get(row.object_name, row.object_name)}”"


def _listed(chosen: list[str]) -> str:
    names = [name if count == 1 else f"{name} {count} times" for name, count in Counter(chosen).items()]
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]


def _values(count: int) -> str:
    return f"{count} value was" if count == 1 else f"{count} values were"


def _took(milliseconds: int) -> str:
    return words(milliseconds / 1000)
