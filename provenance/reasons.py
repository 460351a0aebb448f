"""Why people do something: one field, on every page that asks for it. Services check again."""

from django import forms
from django.http import HttpRequest

from provenance.errors import Invalid

LONGEST_REASON = 1000


class ReasonForm(forms.Form):
    """The reason, which the log keeps."""

    reason = forms.CharField(max_length=LONGEST_REASON, label="Reason")


def reason_of(request: HttpRequest) -> str:
    """The reason that a form was sent with. Raises `Invalid` without one."""
    form = ReasonForm(request.POST)
    if not form.is_valid():
        raise Invalid(f"Say why, in at most {LONGEST_REASON} characters. Nothing was changed.")
    return str(form.cleaned_data["reason"])
