"""The result of a tool on its way to an agent: hidden characters, injected secrets, then fields by policy."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from provenance.dlp import hidden
from provenance.dlp.fields import EVERYTHING, TOO_LARGE, WITHHELD, FieldRedactor
from provenance.dlp.secrets import CUT, SecretCutter

NOT_TEXT = "[withheld: a policy hides fields of this tool's answers, and this content cannot be read for them]"
_ALL_OF_IT = frozenset({WITHHELD, TOO_LARGE, CUT})


@dataclass(frozen=True, slots=True)
class FieldPolicy:
    """A named list of fields to withhold."""

    name: str
    fields: tuple[str, ...]


@dataclass(slots=True)
class Findings:
    """What was withheld: per policy and field, and the counts of cut secrets and hidden pieces. Never a value.

    `withheld` are the notices that stand in place of a whole value: nobody could say what in it was a field's.
    """

    fields: dict[str, Counter[str]] = field(default_factory=dict)
    withheld: set[str] = field(default_factory=set)
    secrets: int = 0
    hidden: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing was withheld."""
        return not (self.secrets or self.hidden or any(self.fields.values()))


class Redactor:
    """Redacts one result, all parts of it together. Make a new one for each result."""

    def __init__(self, policies: Sequence[FieldPolicy] = (), secrets: Iterable[bytes] = ()) -> None:
        """`policies` to apply in order; `secrets` are the values that were injected into the request."""
        self._secrets = SecretCutter(secrets)
        self._fields = [(policy.name, FieldRedactor(policy.fields)) for policy in policies]
        self._findings = Findings()

    def value(self, value: Any) -> Any:
        """A copy of a JSON value (or one text) that may be shown."""
        value = self._without_hidden_secrets(self._clean(value))
        for _, redactor in self._fields:
            value = redactor.value(value)
        if isinstance(value, str) and value in _ALL_OF_IT:
            self._findings.withheld.add(value)
        return value

    def content(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The content items of a tool's answer as they may be shown. They are judged as one: a name may stand in one
        and its value in the next. Under a policy for fields, content that is not text is withheld unread.
        """
        shown = self.value([self._text_only(item) for item in items])
        return shown if isinstance(shown, list) else [_notice(shown)]

    def structured(self, value: Any) -> Any:
        """The structured content of a tool's answer as it may be shown; what is withheld whole stays an object."""
        shown = self.value(value)
        return {"withheld": shown} if isinstance(shown, str) and shown in _ALL_OF_IT else shown

    def _text_only(self, item: dict[str, Any]) -> dict[str, Any]:
        resource = item.get("resource")
        is_text = "data" not in item and not (isinstance(resource, dict) and "blob" in resource)
        if is_text or not self._fields:
            return item
        for _, redactor in self._fields:
            redactor.hits[EVERYTHING] += 1
        self._findings.withheld.add(NOT_TEXT)
        return _notice(NOT_TEXT)

    def findings(self) -> Findings:
        """What was withheld so far."""
        self._findings.fields = {name: redactor.hits for name, redactor in self._fields if redactor.hits}
        return self._findings

    def _without_hidden_secrets(self, value: Any) -> Any:
        """Each text that hides a secret is cut whole; and everything, when the secret is spread over several."""
        if not self._hides_secret(value):
            return value
        self._findings.secrets += 1
        value = self._cut_whole(value)
        return CUT if self._hides_secret(value) else value

    def _hides_secret(self, value: Any) -> bool:
        """Whether one stands in the texts read one after the other: all of them, the keys, or those under one key."""
        under: dict[str, list[str]] = {}
        _gather(value, "", under)
        everything = [text for texts in under.values() for text in texts]
        together = {"".join(texts) for texts in (list(under), everything, *under.values())}
        return any(map(self._secrets.is_hidden_in, together))

    def _cut_whole(self, value: Any) -> Any:
        match value:
            case str():
                return CUT if self._secrets.is_hidden_in(value) else value
            case list():
                return [self._cut_whole(item) for item in value]
            case dict():
                return {self._cut_whole(key): self._cut_whole(item) for key, item in value.items()}
            case _:
                return value

    def _clean(self, value: Any) -> Any:
        match value:
            case str():
                text, found = hidden.strip(value)
                self._findings.hidden += found
                # After the hidden characters, so that one in its middle does not save a secret from being found.
                text, found = self._secrets.cut(text)
                self._findings.secrets += found
                return text
            case list():
                return [self._clean(item) for item in value]
            case dict():
                return {self._clean(key): self._clean(item) for key, item in value.items()}
            case _:
                return value


def _gather(value: Any, key: str, under: dict[str, list[str]]) -> None:
    """Every text of a JSON value, in its order, under the key that it stands under."""
    match value:
        case str():
            under.setdefault(key, []).append(value)
        case list():
            for item in value:
                _gather(item, key, under)
        case dict():
            for name, item in value.items():
                under.setdefault(name, [])
                _gather(item, name, under)


def _notice(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
