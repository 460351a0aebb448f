"""Tenants, the people in them, what stops them, and large values."""

from datetime import datetime
from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.hashers import check_password
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from audit.governed import Governed, GovernedInstance
from provenance.db import TenantModel
from provenance.ids import public_id
from workspaces.roles import Role

ENVIRONMENT_NAMES = ("production", "staging", "development")
SCOPE_KINDS = ("workspace", "environment", "workflow", "agent", "server", "tool", "provider", "key")
HALT_MODES = ("pause", "terminate")
ROLE_NAMES = [role.value for role in Role]


class UserManager(BaseUserManager["User"]):
    """Finds people by e-mail address, whatever its case."""

    def get_by_natural_key(self, username: str | None) -> "User":
        """The person with this address."""
        return self.get(email__iexact=username)


class User(AbstractBaseUser, GovernedInstance):
    """A person who can sign in. Belongs to no workspace; a membership says where they may do what.

    There is no superuser and no staff flag: nobody has rights that no membership gives.
    """

    # Django would write `last_login` behind our back at each sign-in; `workspaces.accounts` writes this one with its event.
    last_login = None
    last_sign_in_at = models.DateTimeField(null=True)
    email = models.EmailField(max_length=254)
    name = models.CharField(max_length=200)
    theme = models.CharField(max_length=5, blank=True, default="", choices=[("light", "Light"), ("dark", "Dark")])
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]

    objects = UserManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("email"), name="workspaces_user_email"),
            models.CheckConstraint(condition=Q(theme__in=["", "light", "dark"]), name="workspaces_user_theme"),
        ]

    def __str__(self) -> str:
        return public_id("usr", self.pk)

    def check_password(self, raw_password: str | None) -> bool:
        """Whether this is the password. Unlike Django's, it never writes: `workspaces.accounts` renews an old hash."""
        return check_password(raw_password, self.password)


class Workspace(Governed):
    """A tenant. Its id is the `workspace_id` of everything in it, its own row included."""

    # Its unique index is enough.
    slug = models.SlugField(max_length=40, db_index=False)
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # The one unique index that does not lead with the workspace: a slug stands in addresses before any
            # workspace is known.
            models.UniqueConstraint(fields=["slug"], name="workspaces_workspace_slug"),
            models.CheckConstraint(condition=Q(id=models.F("workspace_id")), name="workspaces_workspace_is_itself"),
        ]

    def __str__(self) -> str:
        return self.slug


class Environment(Governed):
    """Where work happens. A protected one is what the trust matrix calls production."""

    name = models.CharField(max_length=20, choices=[(name, name) for name in ENVIRONMENT_NAMES])
    protected = models.BooleanField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "name"], name="workspaces_environment_name"),
            models.CheckConstraint(condition=Q(name__in=ENVIRONMENT_NAMES), name="workspaces_environment_known"),
            models.CheckConstraint(
                condition=~Q(name="production") | Q(protected=True), name="workspaces_production_is_protected"
            ),
        ]


class Membership(Governed):
    """One person in one workspace, with a set of roles. A removed member keeps the row, with no rights.

    An erased one keeps it too: ids stay, so that the log still says what was done by one and the same somebody.
    """

    user_id = models.UUIDField()
    roles = ArrayField(models.CharField(max_length=20, choices=[(name, name) for name in ROLE_NAMES]))
    created_at = models.DateTimeField(auto_now_add=True)
    removed_at = models.DateTimeField(null=True)
    # Set once, when what is personal of them here was destroyed (`workspaces.erasure`).
    erased_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "user_id"], name="workspaces_membership_user"),
            models.CheckConstraint(
                condition=Q(erased_at__isnull=True) | Q(removed_at__isnull=False), name="workspaces_membership_erased"
            ),
            models.CheckConstraint(condition=Q(roles__contained_by=ROLE_NAMES), name="workspaces_membership_roles"),
        ]
        indexes = [models.Index(fields=["user_id"], name="workspaces_membership_of")]

    @property
    def is_active(self) -> bool:
        """Whether the person is still a member."""
        return self.removed_at is None

    @property
    def role_set(self) -> frozenset[Role]:
        """The roles as values of the enum."""
        return frozenset(Role(name) for name in self.roles)


class Invitation(Governed):
    """An address that may join with these roles, once, until it expires. The token itself is stored nowhere."""

    email = models.EmailField(max_length=254)
    roles = ArrayField(models.CharField(max_length=20))
    token_digest = models.CharField(max_length=64)
    # The person who invited; empty when the platform itself did.
    invited_by = models.UUIDField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "token_digest"], name="workspaces_invitation_token"),
            models.CheckConstraint(condition=Q(roles__contained_by=ROLE_NAMES), name="workspaces_invitation_roles"),
        ]
        indexes = [models.Index(fields=["token_digest"], name="workspaces_invitation_lookup")]

    def is_open(self, now: datetime) -> bool:
        """Whether it can still be accepted."""
        return self.accepted_at is None and now < self.expires_at


class Control(Governed):
    """A halt of one scope, engaged or released. The newest `epoch` of a workspace tells readers that something changed."""

    scope_kind = models.CharField(max_length=20)
    # The id of what is halted (of an environment its name); the workspace's own id for a halt of everything.
    scope_id = models.CharField(max_length=200)
    mode = models.CharField(max_length=10)
    epoch = models.BigIntegerField()
    by = models.CharField(max_length=100)
    reason = models.CharField(max_length=1000)
    engaged_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "epoch"], name="workspaces_control_epoch"),
            models.UniqueConstraint(
                fields=["workspace_id", "scope_kind", "scope_id"],
                condition=Q(released_at__isnull=True),
                name="workspaces_control_engaged_once",
            ),
            models.CheckConstraint(condition=Q(scope_kind__in=SCOPE_KINDS), name="workspaces_control_scope"),
            models.CheckConstraint(condition=Q(mode__in=HALT_MODES), name="workspaces_control_mode"),
        ]


class Blob(TenantModel):
    """A large value, encrypted and stored once per workspace and content. Read and written by `workspaces.blobs` only."""

    # HMAC under the workspace's own key: equal contents of two workspaces do not look equal (T10).
    key = models.BinaryField(max_length=32)
    codec = models.CharField(max_length=20)
    size_bytes = models.BigIntegerField()
    sealed = models.BinaryField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace_id", "key"], name="workspaces_blob_key")]
