"""Forms about streams and digests. What they mean is checked by the services."""

from typing import Any

from django import forms
from django.conf import settings

from gateway.deliveries.contract import Kind
from provenance.risk import Risk
from streams.models import LONGEST_ADDRESS, LONGEST_NAME, Digest
from streams.services.sinks import LARGEST_AUTHORITIES

KINDS = {
    Kind.WEBHOOK: "Signed webhook (Standard Webhooks)",
    Kind.OCSF: "OCSF 1.9 JSON over HTTPS",
    Kind.SYSLOG: "Syslog over TLS (RFC 5424)",
    Kind.CEF: "CEF in syslog over TLS",
    Kind.S3: "JSON lines in an S3-compatible bucket",
    Kind.DIRECTORY: "JSON lines in a directory of the host",
}
_RISKS = [
    ("", "All events"),
    (Risk.CRITICAL.value, "Critical risk"),
    (Risk.HIGH.value, "High risk and worse"),
    (Risk.MEDIUM.value, "Medium risk and worse"),
    (Risk.LOW.value, "Low risk and worse"),
]


class SettingsForm(forms.Form):
    """Where a stream goes and what it carries."""

    address = forms.CharField(
        max_length=LONGEST_ADDRESS,
        help_text="https://host/path, tls://host:6514 for syslog, https://host/bucket for S3, or a directory's name.",
    )
    secret = forms.CharField(
        required=False,
        max_length=110,
        help_text="secret://name, bound to the address. Empty when you give a credential.",
    )
    credential = forms.CharField(
        required=False,
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Webhook: whsec_… · OCSF: a bearer token · S3: key id:secret key. Kept in the vault, never shown again.",
    )
    risk = forms.ChoiceField(required=False, choices=_RISKS, label="Which events")
    events = forms.CharField(
        required=False,
        max_length=4000,
        label="Only these types",
        help_text="Types or domains with commas: run.failed, secret",
    )
    with_labels = forms.BooleanField(
        required=False,
        label="Send the names of people and things too. What has left cannot be erased there.",
    )
    region = forms.CharField(required=False, max_length=40, help_text="S3 only; us-east-1 when empty.")
    private_network = forms.BooleanField(
        required=False, label="This host is on a private network, or plain HTTP: allow exactly this address"
    )
    authorities = forms.CharField(
        required=False,
        max_length=LARGEST_AUTHORITIES,
        widget=forms.Textarea(attrs={"rows": 3}),
        label="Certificate authority (PEM)",
        help_text="When the receiver's certificate is not from a public authority.",
    )

    def settings(self) -> dict[str, Any]:
        """The fields as the service takes them."""
        values = {name: self.cleaned_data[name] for name in SettingsForm.base_fields}
        values["events"] = [part.strip() for part in values["events"].split(",") if part.strip()]
        return values


class SinkForm(SettingsForm):
    """A new stream."""

    name = forms.CharField(
        max_length=LONGEST_NAME, help_text="Lower-case letters, digits and dashes: siem, archive-eu."
    )
    kind = forms.ChoiceField(choices=[(kind.value, words) for kind, words in KINDS.items()])
    from_beginning = forms.BooleanField(required=False, label="Send the whole log, not only what comes from now on")
    field_order = ["name", "kind"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Without a kind of receiver that this installation cannot feed."""
        super().__init__(*args, **kwargs)
        if not settings.STREAMS_DIRECTORY:
            kind: forms.ChoiceField = self.fields["kind"]  # type: ignore[assignment]  # the one above
            kind.choices = [(value, words) for value, words in KINDS.items() if value is not Kind.DIRECTORY]
            kind.help_text = "A directory of the host can be chosen once STREAMS_DIRECTORY is set there."


class DigestForm(forms.Form):
    """A regular mail about the log."""

    title = forms.CharField(max_length=100, initial="Audit digest")
    period = forms.ChoiceField(choices=Digest.Period.choices, initial=Digest.Period.WEEKLY)
    risk = forms.ChoiceField(required=False, choices=_RISKS, label="Which events")
    readers = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple, help_text="Members who may read the log.")
    review = forms.BooleanField(required=False, initial=True, label="Remind them to review what ran in production")

    def __init__(self, *args: Any, readers: list[tuple[str, str]], **kwargs: Any) -> None:
        """`readers`: id and name of each member who may get it."""
        # Beside the form of a stream, which has fields of the same names.
        super().__init__(*args, **{"auto_id": "id_digest_%s", **kwargs})
        self.fields["readers"].choices = readers  # type: ignore[attr-defined]  # a choice field's own
