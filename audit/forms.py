"""What people type to find events, to keep what they looked for, and to take it away."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils import timezone

from audit import names
from audit.evidence import OF_THE_INSTANCE
from audit.names import MOST_FOUND, Thing
from audit.selectors import EventFilters, held_id
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.errors import Invalid, NotFound
from provenance.ids import is_short_id, parse_public_id, public_id
from provenance.risk import Risk
from provenance.templatetags.console import OUTCOMES

LABELS = {
    "action": "event",
    "actor_type": "who",
    "actor_id": "actor",
    "object_type": "what",
    "object_id": "object",
    "run": "run",
    "risk": "risk",
    "outcome": "outcome",
    "about": "about",
    "since": "since",
    "until": "until",
    "last": "time",
}

# The words of the table's chips, so that what is asked for is what is read.
_OUTCOME_WORDS = [(value, word) for value, (_, _, word) in OUTCOMES.items()]


_LAST = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(days=1)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}
_NOT_FILTERS = ("cursor", "at", "live", "add", "csrfmiddlewaretoken")
_NAMES = {
    name: field
    for field, names in {
        "action": ("event", "type"),
        "actor_type": ("who",),
        "actor_id": ("actor", "member", "agent"),
        "object_type": ("what",),
        "object_id": ("object", "target"),
        "run": ("run",),
        "risk": ("risk",),
        "outcome": ("outcome",),
    }.items()
    for name in names
}

_OF_FEW_WORDS = {"actor_type", "risk", "outcome"}


def _moment() -> forms.DateTimeInput:
    """The browser's own input for a day and a time."""
    return forms.DateTimeInput(attrs={"type": "datetime-local", "step": 1}, format="%Y-%m-%dT%H:%M:%S")


def _choices(empty: str, values: Any) -> list[tuple[str, str]]:
    return [("", empty), *((value, value.capitalize()) for value in values)]


@dataclass(frozen=True, slots=True)
class Pill:
    """A filter in force: what it is, and the address's query without it. `is_or`: it or the pill before it need hold."""

    label: str
    value: str
    rest: str
    is_or: bool = False


class EventSearchForm(forms.Form):
    """The filters of the log. All stand in the address, so a view can be sent to a colleague. Times are UTC."""

    action = forms.CharField(
        required=False,
        max_length=60,
        label="Event",
        widget=forms.TextInput(attrs={"placeholder": "run.failed, or run"}),
    )
    actor_type = forms.ChoiceField(required=False, label="Who", choices=_choices("Anyone", ActorKind))
    actor_id = forms.CharField(required=False, max_length=100, label="Actor id")
    object_type = forms.CharField(required=False, max_length=60, label="What")
    object_id = forms.CharField(required=False, max_length=100, label="Object id")
    run = forms.CharField(required=False, max_length=40, label="Run")
    risk = forms.ChoiceField(required=False, label="Risk at least", choices=_choices("Any", Risk))
    outcome = forms.ChoiceField(required=False, label="Outcome", choices=[("", "Any"), *_OUTCOME_WORDS])
    last = forms.ChoiceField(
        required=False,
        label="Time",
        choices=[("", "Any, or from and to"), *((value, word) for value, (word, _) in _LAST.items())],
    )
    since = forms.DateTimeField(required=False, label="Since, UTC", widget=_moment())
    until = forms.DateTimeField(required=False, label="Until, UTC", widget=_moment())
    # Things as `names.Thing.key`, with commas; a search for a word fills it.
    about = forms.CharField(required=False, max_length=600, widget=forms.HiddenInput)

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        """`actor`: who reads, and so what things may be called by name."""
        super().__init__(*args, **kwargs)
        self.actor = actor

    def is_narrowed(self) -> bool:
        """Whether a field is wrong: then the fields are shown, and not only the pills."""
        return bool(self.errors)

    def period(self) -> str:
        """The time in force, in words."""
        last = self.data.get("last", "")
        if last in _LAST:
            return _LAST[last][0]
        return "Chosen time" if self.data.get("since") or self.data.get("until") else "All time"

    def clean_action(self) -> str:
        """A type or a domain that the taxonomy knows; a typo must not look like silence."""
        action: str = self.cleaned_data["action"].strip()
        if action and action not in {name for event in Event for name in (event.value, event.domain)}:
            raise ValidationError(f"There is no event or domain {action!r}.")
        return action

    def clean_actor_id(self) -> str:
        """The id that events hold of `usr_…`."""
        return _held(self.cleaned_data["actor_id"])

    def clean_object_id(self) -> str:
        """The id that events hold of `apr_…`."""
        return _held(self.cleaned_data["object_id"])

    def clean_object_type(self) -> str:
        """`tool_call`, of what the page shows as `tool call`."""
        return "_".join(self.cleaned_data["object_type"].lower().split())

    def clean_run(self) -> Any:
        """The id inside `run_…`."""
        text = self.cleaned_data["run"].strip()
        _held(text)
        try:
            return parse_public_id("run", text) if text else None
        except NotFound as error:
            raise ValidationError("A run is named like run_01hz…") from error

    def clean_about(self) -> list[Thing]:
        """The things, as the reader may call them."""
        keys = [key for key in self.cleaned_data["about"].split(",") if key]
        if len(keys) > MOST_FOUND or not all(kind and id_ for kind, _, id_ in (key.partition(":") for key in keys)):
            raise ValidationError(f"At most {MOST_FOUND} things, each as kind:id, with commas.")
        return names.known(self.actor, keys)

    def clean(self) -> dict[str, Any]:
        """Times in their order; between others there is nothing, and that would look like silence."""
        found = self.cleaned_data
        since, until = found.get("since"), found.get("until")
        if since and until and since > until:
            self.add_error("until", "This is before Since. Between them there is no time.")
        return found

    def filters(self, before: UUID | None = None) -> EventFilters:
        """What to look for, up to an event if one is named. Only for a valid form."""
        found = self.cleaned_data
        since = found["since"]
        if found["last"]:
            since = max(filter(None, [since, timezone.now() - _LAST[found["last"]][1]]))
        return EventFilters(
            since=since,
            until=found["until"],
            actions=[found["action"]] if found["action"] else [],
            actor_type=found["actor_type"],
            actor_id=found["actor_id"],
            object_type=found["object_type"],
            object_id=found["object_id"],
            run_id=found["run"],
            risk=Risk(found["risk"]) if found["risk"] else None,
            outcome=found["outcome"],
            about=[f"{thing.kind}:{id_}" for thing in found["about"] for id_ in thing.ids],
            before=before,
        )

    def is_of_the_instance(self) -> bool:
        """Whether an event is asked for that belongs to no workspace, and so is in the log of the instance alone."""
        action = self.cleaned_data["action"]
        return any(action in {name, name.partition(".")[0]} for name in OF_THE_INSTANCE) if action else False

    def periods(self) -> list[tuple[str, str]]:
        """The times that one click chooses: (value, word)."""
        return [("", "All time"), *((value, word) for value, (word, _length) in _LAST.items())]

    def kept(self) -> str:
        """The address's query with its filters and nothing else, in one order: what a view is saved as."""
        return _only_filters(self.data).urlencode()

    def pills(self, query: QueryDict) -> list[Pill]:
        """The filters in force in an address, each thing of `about` by its name."""
        pills = []
        for name, value in query.items():
            if name not in LABELS or not value:
                continue
            rest = query.copy()
            for gone in (name, *_NOT_FILTERS):
                rest.pop(gone, None)
            things = self._things() if name == "about" else []
            for thing in things:
                others = ",".join(other.key for other in things if other != thing)
                left = f"{urlencode({name: others})}&{rest.urlencode()}".rstrip("&") if others else rest.urlencode()
                pills.append(Pill(thing.label, thing.name, left, is_or=thing != things[0]))
            if not things:
                pills.append(Pill(LABELS[name], _in_words(name, str(value)), rest.urlencode()))
        return pills

    def _things(self) -> list[Thing]:
        return self.cleaned_data.get("about", []) if self.is_bound and not self.errors.get("about") else []


class SaveViewForm(forms.Form):
    """A name for the filters in force."""

    name = forms.CharField(max_length=60, label="Name of this view")


class ExportForm(forms.Form):
    """What the screen showed, and whom it is for."""

    recipient = forms.CharField(required=False, max_length=200, label="Who is it for?")
    before = forms.UUIDField(required=False, widget=forms.HiddenInput)
    shown = forms.IntegerField(required=False, min_value=0, widget=forms.HiddenInput)


def _in_words(name: str, value: str) -> str:
    """A filter's value as the page's chips and lists spell it."""
    if name == "outcome":
        return dict(_OUTCOME_WORDS).get(value, value)
    if name == "last":
        return _LAST.get(value, (value, None))[0].lower()
    return f"{value} or worse" if name == "risk" and value in {Risk.MEDIUM, Risk.HIGH} else value


def _held(text: str) -> str:
    try:
        return held_id(text)
    except Invalid as error:
        raise ValidationError(error.message) from error


def understood(text: str) -> tuple[str, str] | None:
    """The filter that a text spells: `run.failed`, `run_01…`, `high`, `refused`, `actor:01a2…`. None for anything else."""
    text = text.strip()
    prefix, separator, value = (part.strip() for part in text.partition(":"))
    field = _NAMES.get(prefix.lower(), "") if separator else ""
    if field in {"actor_id", "object_id"}:
        return _of_id(value, field)
    if field:
        if field == "outcome":
            value = {word.lower(): outcome for outcome, word in _OUTCOME_WORDS}.get(value.lower(), value)
        return field, value.lower() if field in _OF_FEW_WORDS else value
    known: dict[str, tuple[str, str]] = {
        **{kind.value: ("actor_type", kind.value) for kind in ActorKind},
        **{event.domain: ("action", event.domain) for event in Event},
        **{event.value: ("action", event.value) for event in Event},
        **{risk.value: ("risk", risk.value) for risk in Risk},
        **{word.lower(): ("outcome", outcome) for outcome, word in _OUTCOME_WORDS},
        **{outcome: ("outcome", outcome) for outcome, _word in _OUTCOME_WORDS},
    }
    if text.lower() in known:
        return known[text.lower()]
    return ("run", text) if text.startswith("run_") else _of_id(text, "object_id")


def named_like(text: str) -> list[Event]:
    """The types of event in whose name or sentence the text stands."""
    word = text.strip().lower()
    return [event for event in Event if len(word) > 2 and (word in event.value or word in event.sentence.lower())]


def _of_id(text: str, field: str) -> tuple[str, str] | None:
    """The filter for an id as addresses or events spell it. Names and short ids are for `called`."""
    if is_short_id(text):
        return None
    try:
        return (field, text) if held_id(text) != text else (field, str(UUID(text)))
    except ValueError:
        return None


def called(actor: Actor, text: str) -> tuple[list[Thing], dict[str, str]]:
    """The reader's things that a text names, and the filters that find what is told about them; none for too many things.

    `agent:ledger-ops` asks for agents alone.
    """
    prefix, separator, name = (part.strip() for part in text.partition(":"))
    kind = prefix.lower() if separator else ""
    things = names.find(actor, name if kind in {*names.kinds(), *_NAMES} else text, kind)
    if len(things) == 1 and things[0].kind == "run":
        # What happened in it, and not only what was done to it.
        return things, {"run": public_id("run", UUID(things[0].id)), "about": ""}
    return things, {"about": ",".join(thing.key for thing in things)} if 0 < len(things) <= MOST_FOUND else {}


def _only_filters(query: Mapping[str, Any]) -> QueryDict:
    kept = QueryDict(mutable=True)
    for name in LABELS:
        if value := query.get(name):
            kept[name] = value
    return kept


class EvidenceForm(forms.Form):
    """From which day up to and with which day evidence is wanted, in UTC; all of the log without them."""

    since = forms.DateField(required=False, label="From", widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(required=False, label="To", widget=forms.DateInput(attrs={"type": "date"}))

    def clean(self) -> dict[str, Any]:
        """Days in their order: a pack of no day would say that nothing supports a control."""
        found = self.cleaned_data
        since, until = found.get("since"), found.get("until")
        if since and until and since > until:
            raise ValidationError("To is before From.")
        return found

    def times(self) -> EventFilters:
        """The days as times."""
        since, until = self.cleaned_data["since"], self.cleaned_data["until"]
        return EventFilters(
            since=datetime.combine(since, time.min, UTC) if since else None,
            until=datetime.combine(until + timedelta(days=1), time.min, UTC) if until else None,
        )
