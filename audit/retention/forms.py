"""What people type about keeping. Services check again: a form is for kind words, not for safety."""

from django import forms

from audit.models import HOLD_KINDS
from provenance.reasons import ReasonForm

_KINDS = {"workspace": "Everything in this workspace", "run": "One run", "object": "One object"}


class DaysForm(ReasonForm):
    """For how many days."""

    days = forms.IntegerField(min_value=1, label="Days")


class HoldForm(ReasonForm):
    """What to hold."""

    scope_kind = forms.ChoiceField(choices=[(kind, _KINDS[kind]) for kind in HOLD_KINDS], label="What")
    scope_id = forms.CharField(
        max_length=200,
        required=False,
        label="Its id",
        help_text="From the address of its page, for example run_…; none for everything.",
    )

    field_order = ("scope_kind", "scope_id", "reason")
