"""What passes between a caller and the gateway over HTTP: the shapes of `/call`, in one place for both sides.

The worker builds a `CallRequest` and reads a `CallResponse`; the gateway does the reverse. JSON keys are the field
names; ids are canonical UUID text. Parsing is strict: an unknown or missing key is `Invalid`, never ignored.
"""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from provenance.errors import Invalid

TOOL_SEPARATOR_FOR_MODELS = "__"
EXCHANGE_SECONDS = 60.0
"""How long a server may take for an answer."""
LONGEST_SECONDS = EXCHANGE_SECONDS + 15.0
"""So much later than the last moment of sending nobody can still be performing a call."""

HALTED, FENCED, OVERTAKEN = "halt.engaged", "call.fenced", "call.overtaken"
UNRECONCILED, NOT_DURABLE = "timeline.unreconciled", "commit.not_durable"
OF_THE_DATABASE = frozenset({UNRECONCILED, NOT_DURABLE})
"""Rules that say what is wrong with the database: asked again without hurry, because somebody has to put it right."""
NOT_NOW = frozenset({HALTED, FENCED, OVERTAKEN}) | OF_THE_DATABASE
"""Rules about the moment and not about the call, of tools and of models: with the same id it may be tried again."""

T = TypeVar("T")


class CallState(StrEnum):
    """Where a tool call stands. `ADMITTED` and `STARTED` are never final; `AWAITING_APPROVAL` waits for a person."""

    ADMITTED = "admitted"
    BLOCKED = "blocked"
    AWAITING_APPROVAL = "awaiting_approval"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INDETERMINATE = "indeterminate"


class Effect(StrEnum):
    """What a tool does to the world, as a person reviewed it (vocabulary 2.8)."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"
    FINANCIAL = "financial"
    EGRESS = "egress"
    ACCOUNT = "account"


class RetryClass(StrEnum):
    """What may happen to a call whose outcome is not known: repeat it, repeat it under the same key, or never."""

    READ = "read"
    IDEMPOTENT = "idempotent"
    ONCE = "once"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """Body of `POST /call`.

    `call_id` is the caller's row of this call (UUID); repeating it never performs the call twice. `call_key` is stable
    over retries (`<run>:<step>:<seq>`) and becomes the tool's idempotency argument, so `arguments` never hold that one.
    `approval_id` is the request whose decision authorizes exactly this call, when an approval step asked before.
    """

    call_id: UUID
    call_key: str
    tool: str
    arguments: dict[str, Any]
    approval_id: UUID | None = None
    seq: int = 0

    @classmethod
    def parse(cls, value: Any) -> "CallRequest":
        """The request that a JSON body spells, or `Invalid` with one error for each thing that is wrong."""
        reader = _Reader(value, allowed={"call_id", "call_key", "tool", "arguments", "approval_id", "seq"})
        request: dict[str, Any] = {
            "call_id": reader.uuid("call_id"),
            "call_key": reader.text("call_key", longest=200),
            "tool": reader.text("tool", longest=260),
            "arguments": reader.mapping("arguments"),
            "approval_id": reader.optional_uuid("approval_id"),
            "seq": reader.integer("seq"),
        }
        reader.finish()
        return cls(**request)

    def to_json(self) -> dict[str, Any]:
        """The JSON body."""
        return {
            "call_id": str(self.call_id),
            "call_key": self.call_key,
            "tool": self.tool,
            "arguments": self.arguments,
            "approval_id": str(self.approval_id) if self.approval_id else None,
            "seq": self.seq,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool answered, after redaction. `structured_content` is any JSON value or None."""

    content: list[dict[str, Any]]
    structured_content: Any = None
    is_error: bool = False

    def to_json(self) -> dict[str, Any]:
        """The JSON object."""
        return {"content": self.content, "structured_content": self.structured_content, "is_error": self.is_error}

    @classmethod
    def parse(cls, value: Any) -> "ToolResult":
        """The result that `to_json` wrote."""
        return cls(content=value["content"], structured_content=value["structured_content"], is_error=value["is_error"])

    @property
    def text(self) -> str:
        """The text items, joined by line ends."""
        return "\n".join(item["text"] for item in self.content if item.get("type") == "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """One field that was withheld: its policy, its name and how often; never a value."""

    policy: str
    field: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFacts:
    """How a caller must treat a call of this tool."""

    effect: str
    retry_class: str
    verify_tool: str = ""
    idempotency_argument: str = ""
    data_tier: int = 1

    @property
    def is_verifiable(self) -> bool:
        """Whether an unknown outcome is settled by asking. What may be sent again under its key is not asked about."""
        return self.retry_class == RetryClass.ONCE and bool(self.verify_tool)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResponse:
    """Answer of `POST /call` and `GET /call/<call_id>`.

    `result` is there for `succeeded` and `failed` (a tool that reported an error: `is_error`), else None. `rule` and
    `reason` say why a call was blocked, failed or waits, or that a policy holds back the answer of one that succeeded:
    then `result` holds words of ours in its place. `retry_after_seconds` is set while `state` is `started`: the
    call is in flight and its outcome will be known by then; and while it is `indeterminate` and the verify tool can say
    by then what became of it. `late_result` is what the tool answered after the call had been given up; it changes
    nothing. `sent_arguments` are what the tool received when an approver edited them (T03), else None.
    """

    call_id: UUID
    state: CallState
    result: ToolResult | None = None
    rule: str = ""
    reason: str = ""
    approval_id: UUID | None = None
    redactions: list[Redaction] = field(default_factory=list)
    tool: ToolFacts | None = None
    duration_ms: int = 0
    retry_after_seconds: int | None = None
    sent_arguments: dict[str, Any] | None = None
    late_result: ToolResult | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON body."""
        return {
            "call_id": str(self.call_id),
            "state": self.state.value,
            "result": self.result.to_json() if self.result else None,
            "rule": self.rule,
            "reason": self.reason,
            "approval_id": str(self.approval_id) if self.approval_id else None,
            "redactions": [asdict(redaction) for redaction in self.redactions],
            "tool": asdict(self.tool) if self.tool else None,
            "duration_ms": self.duration_ms,
            "retry_after_seconds": self.retry_after_seconds,
            "sent_arguments": self.sent_arguments,
            "late_result": self.late_result.to_json() if self.late_result else None,
        }

    @classmethod
    def parse(cls, value: dict[str, Any]) -> "CallResponse":
        """The response that `to_json` wrote; the worker's side."""
        return cls(
            call_id=UUID(value["call_id"]),
            state=CallState(value["state"]),
            result=ToolResult.parse(value["result"]) if value["result"] else None,
            rule=value["rule"],
            reason=value["reason"],
            approval_id=UUID(value["approval_id"]) if value["approval_id"] else None,
            redactions=[Redaction(**redaction) for redaction in value["redactions"]],
            tool=ToolFacts(**value["tool"]) if value["tool"] else None,
            duration_ms=value["duration_ms"],
            retry_after_seconds=value["retry_after_seconds"],
            sent_arguments=value["sent_arguments"],
            # An answer that an earlier engine stored does not have it.
            late_result=ToolResult.parse(value["late_result"]) if value.get("late_result") else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedTool:
    """One entry of `POST /call/tools`: what an agent may be shown, in the text that a person approved.

    `name` is `<server>.<tool>`, `model_name` the same for models (`erp__getVendor`). `input_schema` lacks the
    idempotency argument, which the gateway fills in. `verdict` is `allow` or `gate`.
    """

    name: str
    model_name: str
    title: str
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    verdict: str
    facts: ToolFacts

    def to_json(self) -> dict[str, Any]:
        """The JSON object."""
        return asdict(self)

    @classmethod
    def parse(cls, value: dict[str, Any]) -> "OfferedTool":
        """The tool that `to_json` wrote."""
        return cls(**{**value, "facts": ToolFacts(**value["facts"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsRequest:
    """Body of `POST /call/facts`: the call that an approval step wants to ask for."""

    tool: str
    arguments: dict[str, Any]
    call_key: str

    @classmethod
    def parse(cls, value: Any) -> "FactsRequest":
        """The request that a JSON body spells, or `Invalid`."""
        reader = _Reader(value, allowed={"tool", "arguments", "call_key"})
        request: dict[str, Any] = {
            "tool": reader.text("tool", longest=260),
            "arguments": reader.mapping("arguments"),
            "call_key": reader.text("call_key", longest=200),
        }
        reader.finish()
        return cls(**request)

    def to_json(self) -> dict[str, Any]:
        """The JSON body."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsResponse:
    """Answer of `POST /call/facts`.

    `facts` are the fields of `approvals.digest.ActionFacts` as JSON; `digest` is the action digest of the arguments as
    given. `verdict` is `allow`, `ask` or `deny`: on `deny` there is nothing to ask for, and `rule` and `reason` say why.
    """

    verdict: str
    risk: str = ""
    rule: str = ""
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    input_schema: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The JSON body."""
        return asdict(self)

    @classmethod
    def parse(cls, value: dict[str, Any]) -> "FactsResponse":
        """The response that `to_json` wrote."""
        return cls(**value)


def model_name(full_name: str) -> str:
    """`erp.getVendor` as models may call it: `erp__getVendor`."""
    return full_name.replace(".", TOOL_SEPARATOR_FOR_MODELS, 1)


def full_name(name: str) -> str:
    """The tool that a model means by `erp__getVendor`; a full name stays what it is."""
    return name if "." in name else name.replace(TOOL_SEPARATOR_FOR_MODELS, ".", 1)


class _Reader:
    """Reads typed fields of one JSON object and collects what is wrong with it."""

    def __init__(self, value: Any, *, allowed: set[str]) -> None:
        if not isinstance(value, dict):
            raise Invalid("The body must be a JSON object.")
        self.value: dict[str, Any] = value
        self.errors = [{"path": key, "message": "is not a known field"} for key in value if key not in allowed]

    def text(self, name: str, *, longest: int) -> str:
        found = self.value.get(name)
        if isinstance(found, str) and 0 < len(found) <= longest:
            return found
        return self._wrong(name, f"must be text of 1 to {longest} characters", "")

    def mapping(self, name: str) -> dict[str, Any]:
        found = self.value.get(name)
        return found if isinstance(found, dict) else self._wrong(name, "must be an object", {})

    def integer(self, name: str) -> int:
        found = self.value.get(name, 0)
        if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 2**31:
            return found
        return self._wrong(name, "must be a whole number", 0)

    def uuid(self, name: str) -> UUID:
        found = self.optional_uuid(name)
        return found or self._wrong(name, "must be a UUID", UUID(int=0))

    def optional_uuid(self, name: str) -> UUID | None:
        found = self.value.get(name)
        if found is None:
            return None
        try:
            return UUID(found)
        except (ValueError, TypeError, AttributeError):
            return self._wrong(name, "must be a UUID", None)

    def finish(self) -> None:
        if self.errors:
            raise Invalid("The body is not a valid call.", errors=self.errors)

    def _wrong(self, name: str, message: str, placeholder: T) -> T:
        self.errors.append({"path": name, "message": message})
        return placeholder
