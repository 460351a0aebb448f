"""Forms about people and workspaces. Services check again: a form is for kind words, not for safety."""

from django import forms

from workspaces.roles import Role

_ROLES = [
    (Role.ADMIN.value, "Administrator: runs the workspace, does not decide"),
    (Role.EDITOR.value, "Editor: agents, tools, workflows, runs"),
    (Role.APPROVER.value, "Approver: decides on risky actions"),
    (Role.AUDITOR.value, "Auditor: reads everything, with the audit log"),
    (Role.VIEWER.value, "Viewer: reads everything but the audit log"),
]


class _NewPasswordForm(forms.Form):
    name = forms.CharField(max_length=200, label="Your name", widget=forms.TextInput(attrs={"autocomplete": "name"}))
    password = forms.CharField(
        strip=False,
        max_length=1024,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="12 characters or more.",
    )


class AcceptForm(_NewPasswordForm):
    """A new person accepts an invitation."""


class SetupForm(_NewPasswordForm):
    """The first administrator of an installation, and the first workspace."""

    email = forms.EmailField(
        max_length=254, label="Work e-mail", widget=forms.EmailInput(attrs={"autocomplete": "username"})
    )
    workspace_name = forms.CharField(max_length=200, label="Name of the workspace")
    workspace_slug = forms.SlugField(max_length=40, label="Its short name in addresses")

    field_order = ("email", "name", "password", "workspace_name", "workspace_slug")


class RolesForm(forms.Form):
    """The roles of a member."""

    roles = forms.MultipleChoiceField(choices=_ROLES, widget=forms.CheckboxSelectMultiple)


class InviteForm(RolesForm):
    """An address that may join."""

    email = forms.EmailField(max_length=254, label="Work e-mail")

    field_order = ("email", "roles")
