"""How long the erasable part of an event is kept: classes of detail, each with its usual time and a floor. Pure.

The signed events themselves stay for seven years whatever is set here (`audit.schema.months`). Which class a detail
has is decided by the type of its event when it is written, so it is settled before anything is logged (M125). Verification
holds what is stored against this table, so a type keeps the class that it has.
"""

from enum import StrEnum
from typing import Self

from audit.taxonomy import Event

SEVEN_YEARS_DAYS = 2557
"""Of 365 days, and the two leap days that any seven years may hold."""
LONGEST_DAYS = 36_525


class RetentionClass(StrEnum):
    """A class of detail: its usual days, the fewest that a workspace may choose, and what is in it."""

    days: int
    floor_days: int
    sentence: str

    def __new__(cls, name: str, days: int, floor_days: int, sentence: str) -> Self:
        """One line of the table below."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.days = days
        member.floor_days = floor_days
        member.sentence = sentence
        return member

    PROMPTS = "prompts", 90, 30, "What models were asked and answered, and prompts that people read."
    TOOLS = "tools", 365, 30, "What tools were given and gave back, and what was withheld of it."
    ACCESS = "access", 365, 30, "Sign-ins and refusals, with the addresses they came from."
    DIFFS = "diffs", SEVEN_YEARS_DAYS, 365, "What was changed, from what to what, by whom and why."
    STANDARD = "standard", SEVEN_YEARS_DAYS, 365, "Everything else: names, labels and reasons."
    # Without it nobody could tell an erasure from a theft, so it stays as long as what it is about may.
    ERASURES = "erasures", LONGEST_DAYS, LONGEST_DAYS, "Which details were erased."


_OF_DOMAIN = {
    **dict.fromkeys(("model", "injection"), RetentionClass.PROMPTS),
    **dict.fromkeys(("mcp", "skill", "egress", "taint", "policy", "action"), RetentionClass.TOOLS),
    **dict.fromkeys(("auth", "authz", "user"), RetentionClass.ACCESS),
    **dict.fromkeys(
        ("agent", "workflow", "approval", "provider", "dlp_policy", "gateway", "member", "workspace", "environment"),
        RetentionClass.DIFFS,
    ),
}
_OF_EVENT = {
    Event.AUDIT_DETAIL_ERASED: RetentionClass.ERASURES,
    Event.AGENT_PROMPT_VIEWED: RetentionClass.PROMPTS,
    Event.RUN_DECISION_RECORDED: RetentionClass.PROMPTS,
    Event.RUN_STEP_STARTED: RetentionClass.TOOLS,
    Event.RUN_STEP_COMPLETED: RetentionClass.TOOLS,
    Event.RUN_STEP_FAILED: RetentionClass.TOOLS,
    Event.RUN_OUTPUT_RELEASED: RetentionClass.TOOLS,
    # Of the domain of tools by name; they say what was reviewed and changed.
    Event.MCP_SERVER_REGISTERED: RetentionClass.DIFFS,
    Event.MCP_SERVER_UPDATED: RetentionClass.DIFFS,
    Event.MCP_SERVER_REVIEWED: RetentionClass.DIFFS,
    Event.MCP_SERVER_DISABLED: RetentionClass.DIFFS,
    Event.MCP_TOOL_REVIEWED: RetentionClass.DIFFS,
    Event.MCP_TOOL_DEFINITION_CHANGED: RetentionClass.DIFFS,
    Event.SKILL_CREATED: RetentionClass.DIFFS,
    Event.SKILL_UPDATED: RetentionClass.DIFFS,
}


def class_of(event: Event) -> RetentionClass:
    """The class of the detail of an event of this type."""
    return _OF_EVENT.get(event) or _OF_DOMAIN.get(event.domain, RetentionClass.STANDARD)
