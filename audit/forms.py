"""What people type to find events, to keep what they looked for, and to take it away."""

from collections.abc import Mapping
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
from audit.words import ACTIONS, LABELS, LAST, OUTCOME_WORDS, Pill, value_in_words
from provenance.actor import Actor, ActorKind
from provenance.errors import Invalid, NotFound
from provenance.ids import parse_public_id
from provenance.risk import Risk

_NOT_FILTERS = ("cursor", "at", "live", "add", "csrfmiddlewaretoken")


def _moment() -> forms.DateTimeInput:
    """The browser's own input for a day and a time."""
    return forms.DateTimeInput(attrs={"type": "datetime-local", "step": 1}, format="%Y-%m-%dT%H:%M:%S")


def _choices(empty: str, values: Any) -> list[tuple[str, str]]:
    return [("", empty), *((value, value.capitalize()) for value in values)]


class EventSearchForm(forms.Form):
    """The filters of the log. All stand in the address, so a view can be sent to a colleague. Times are UTC."""

    action = forms.CharField(
        required=False,
        max_length=60,
        label="Event",
        widget=forms.TextInput(attrs={"placeholder": "run.failed, run, or failed"}),
    )
    actor_type = forms.ChoiceField(required=False, label="Who", choices=_choices("Anyone", ActorKind))
    actor_id = forms.CharField(required=False, max_length=100, label="Actor id")
    object_type = forms.CharField(required=False, max_length=60, label="What")
    object_id = forms.CharField(required=False, max_length=100, label="Object id")
    run = forms.CharField(required=False, max_length=40, label="Run")
    risk = forms.ChoiceField(required=False, label="Risk at least", choices=_choices("Any", Risk))
    outcome = forms.ChoiceField(required=False, label="Outcome", choices=[("", "Any"), *OUTCOME_WORDS])
    last = forms.ChoiceField(
        required=False,
        label="Time",
        choices=[("", "Any, or from and to"), *((value, word) for value, (word, _) in LAST.items())],
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
        if last in LAST:
            return LAST[last][0]
        return "Chosen time" if self.data.get("since") or self.data.get("until") else "All time"

    def clean_action(self) -> str:
        """A type that the taxonomy knows, or either part of one; a typo must not look like silence."""
        action: str = self.cleaned_data["action"].strip()
        if action and action not in ACTIONS:
            raise ValidationError(f"There is no event {action!r}, and none whose name begins or ends so.")
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
            since = max(filter(None, [since, timezone.now() - LAST[found["last"]][1]]))
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
            about=[key for thing in found["about"] for key in thing.keys],
            before=before,
        )

    def is_of_the_instance(self) -> bool:
        """Whether an event is asked for that belongs to no workspace, and so is in the log of the instance alone."""
        action = self.cleaned_data["action"]
        return any(action in {name, name.partition(".")[0]} for name in OF_THE_INSTANCE) if action else False

    def periods(self) -> list[tuple[str, str]]:
        """The times that one click chooses: (value, word)."""
        return [("", "All time"), *((value, word) for value, (word, _length) in LAST.items())]

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
                pills.append(Pill(LABELS[name], value_in_words(name, str(value)), rest.urlencode()))
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


def _held(text: str) -> str:
    try:
        return held_id(text)
    except Invalid as error:
        raise ValidationError(error.message) from error


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
