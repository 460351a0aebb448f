"""What people type about runs."""

from django import forms

from workflows.states import RunStatus
from workflows.unknown import Settlement


class RunFilterForm(forms.Form):
    """Which runs the list shows."""

    status = forms.ChoiceField(
        required=False,
        choices=[("", "Any status"), *((status.value, status.value.capitalize()) for status in RunStatus)],
    )
    workflow = forms.SlugField(required=False, max_length=63)


class CancelForm(forms.Form):
    """Why a run is stopped."""

    reason = forms.CharField(max_length=500, strip=True, label="Why")


class ResolveForm(forms.Form):
    """What became of a call whose outcome nobody knows. The service checks the result against the tool's answers."""

    outcome = forms.ChoiceField(
        choices=[
            (Settlement.HAPPENED.value, "It happened"),
            (Settlement.DID_NOT_HAPPEN.value, "It did not happen"),
            (Settlement.RETRY.value, "Send it again"),
        ],
        error_messages={"required": "Choose what became of the call."},
    )
    result = forms.CharField(required=False, strip=True)
    reason = forms.CharField(max_length=500, strip=True)
