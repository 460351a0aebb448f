"""Forms about keys."""

from django import forms

from apikeys.models import LONGEST_LIFE_DAYS
from apikeys.scopes import SCOPE_MEANINGS
from apikeys.services import DEFAULT_LIFE_DAYS
from workspaces.models import ENVIRONMENT_NAMES


class IssueForm(forms.Form):
    """A new key."""

    name = forms.CharField(max_length=100, help_text="What uses it, for example: nightly import.")
    scopes = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple,
        choices=[(scope.value, f"{scope.value}: {meaning}") for scope, meaning in SCOPE_MEANINGS.items()],
    )
    environment = forms.ChoiceField(choices=[(name, name) for name in ENVIRONMENT_NAMES])
    expires_in_days = forms.IntegerField(
        min_value=1, max_value=LONGEST_LIFE_DAYS, initial=DEFAULT_LIFE_DAYS, label="Days until it expires"
    )
