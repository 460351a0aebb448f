"""Every write to the vault: store, rotate, bind, unbind, revoke. A value goes in and never comes out here."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.utils import timezone

from audit.loading import demand_as_signed
from audit.services import record
from audit.taxonomy import Event
from provenance import crypto
from provenance.actor import Actor
from provenance.db import service, workspace_of
from provenance.egress import origin_of
from provenance.errors import Conflict, Invalid, NotFound
from provenance.permissions import Permission
from secrets_vault import references
from secrets_vault.models import Secret, SecretBinding, SecretVersion

LARGEST_VALUE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a secret may be sent: the URL of a reviewed server (only its origin counts) and the slot there.

    Slots are `header:Authorization`, `env:NAME` and `field:path`. The value of an Authorization header is the bare
    token; the gateway writes the scheme in front.
    """

    url: str
    slot: str

    @property
    def origin(self) -> str:
        """`scheme://host:port`. Raises `EgressRefused` for a URL that can be read in two ways."""
        return origin_of(self.url)


class SecretExists(Conflict):
    """There is already a secret of this name."""

    code = "secret_exists"


class SecretRevoked(Conflict):
    """The secret was revoked; it has no value any more. Create one under a new name."""

    code = "secret_revoked"


@service
def create_secret(
    *, actor: Actor, name: str, value: str, bindings: Iterable[Binding], access: str = Secret.Access.ADMIN
) -> Secret:
    """Store a credential under a name, usable only where it is bound.

    `access` says what the credential can do at its owner's: read, write or admin. When in doubt it counts as admin,
    which only agents of high trust may be sent with.
    """
    actor.require(Permission.SECRETS_WRITE)
    wanted = [(binding.origin, _checked_slot(binding.slot)) for binding in bindings]
    _check_name(name)
    _check_value(value, [slot for _, slot in wanted])
    if access not in Secret.Access.values:
        raise Invalid("access is read, write or admin.", errors=[{"path": "access", "message": "read, write or admin"}])
    secret = Secret(workspace_id=workspace_of(actor), name=name, access=access, created_by=actor.id)
    if Secret.objects.for_actor(actor).filter(name=name).exists():
        raise SecretExists(name=name)
    try:
        with transaction.atomic():
            secret.save()
    except IntegrityError as error:
        raise SecretExists(name=name) from error
    record(actor=actor, event=Event.SECRET_CREATED, target=secret, detail={"name": name, "access": access})
    _store_version(actor, secret, value)
    for origin, slot in dict.fromkeys(wanted):
        _bind(actor, secret, origin, slot)
    return secret


@service
def rotate_secret(*, actor: Actor, name: str, value: str, reason: str = "") -> Secret:
    """Replace the value. The former one is destroyed in the same transaction; bindings stay as they are."""
    actor.require(Permission.SECRETS_WRITE)
    secret = _locked(actor, name)
    slots = SecretBinding.objects.for_actor(actor).filter(secret=secret).values_list("slot", flat=True)
    _check_value(value, list(slots))
    former = secret.current_version
    secret.current_version = former + 1
    secret.save(update_fields=["current_version"])
    detail = {"name": name, "version": secret.current_version}
    record(actor=actor, event=Event.SECRET_ROTATED, target=secret, reason=reason, detail=detail)
    _store_version(actor, secret, value)
    _destroy_versions(actor, secret, keep=secret.current_version, reason="rotated")
    return secret


@service
def revoke_secret(*, actor: Actor, name: str, reason: str) -> Secret:
    """Destroy every version for good. References stop resolving at once."""
    actor.require(Permission.SECRETS_WRITE)
    secret = _locked(actor, name)
    secret.status = Secret.Status.REVOKED
    secret.save(update_fields=["status"])
    record(actor=actor, event=Event.SECRET_REVOKED, target=secret, reason=reason, detail={"name": name})
    _destroy_versions(actor, secret, keep=0, reason="revoked")
    return secret


@service
def bind_secret(*, actor: Actor, name: str, url: str, slot: str, reason: str = "") -> SecretBinding:
    """Let the secret be sent to one more origin and slot. Binding twice is no error and no second event."""
    actor.require(Permission.SECRETS_WRITE)
    secret = _locked(actor, name)
    demand_as_signed(secret)
    origin = Binding(url, slot).origin
    rows = SecretBinding.objects.for_actor(actor).filter(secret=secret, origin=origin, slot=_checked_slot(slot))
    return rows.first() or _bind(actor, secret, origin, slot, reason)


@service
def unbind_secret(*, actor: Actor, name: str, url: str, slot: str, reason: str = "") -> None:
    """Take a place away. Calls to it are sent no secret from now on, which means: not sent at all."""
    actor.require(Permission.SECRETS_WRITE)
    secret = _locked(actor, name)
    rows = SecretBinding.objects.for_actor(actor).filter(secret=secret, origin=Binding(url, slot).origin, slot=slot)
    binding = rows.first()
    if binding is None:
        raise NotFound("The secret is not bound there.")
    detail = {"name": name, "origin": binding.origin, "slot": binding.slot}
    binding.delete()
    record(actor=actor, event=Event.SECRET_UNBOUND, target=binding, reason=reason, detail=detail)


def _locked(actor: Actor, name: str) -> Secret:
    secret = Secret.locked(actor, name=name)
    if secret is None:
        raise NotFound("There is no secret of this name here.")
    if not secret.is_active:
        raise SecretRevoked(name=name)
    return secret


def _store_version(actor: Actor, secret: Secret, value: str) -> None:
    kek = crypto.KeyRing.from_settings("VAULT_KEK")
    number = secret.current_version
    ciphertext, wrapped_key, kek_id = references.seal_version(secret.workspace_id, secret.name, number, value, kek)
    version = SecretVersion(
        workspace_id=secret.workspace_id,
        secret=secret,
        number=number,
        ciphertext=ciphertext,
        wrapped_key=wrapped_key,
        kek_id=kek_id,
    )
    version.save(force_insert=True)
    detail = {"name": secret.name, "version": number, "kek_id": kek_id}
    record(actor=actor, event=Event.SECRET_VERSION_STORED, target=version, detail=detail)


def _destroy_versions(actor: Actor, secret: Secret, *, keep: int, reason: str) -> None:
    rows = SecretVersion.objects.for_actor(actor).filter(secret=secret, destroyed_at__isnull=True).exclude(number=keep)
    for version in rows.order_by("number"):
        version.ciphertext = version.wrapped_key = b""
        version.destroyed_at = timezone.now()
        version.save(update_fields=["ciphertext", "wrapped_key", "destroyed_at"])
        detail = {"name": secret.name, "version": version.number}
        record(actor=actor, event=Event.SECRET_VERSION_DESTROYED, target=version, reason=reason, detail=detail)


def _bind(actor: Actor, secret: Secret, origin: str, slot: str, reason: str = "") -> SecretBinding:
    binding = SecretBinding(workspace_id=secret.workspace_id, secret=secret, origin=origin, slot=slot)
    binding.save(force_insert=True)
    detail = {"name": secret.name, "origin": origin, "slot": slot}
    record(actor=actor, event=Event.SECRET_BOUND, target=binding, reason=reason, detail=detail)
    return binding


def _check_name(name: str) -> None:
    if not references.NAME.fullmatch(name):
        message = "1 to 100 lower-case letters, digits, dots, dashes and underscores, beginning with a letter or digit"
        raise Invalid(f"A secret's name is {message}.", errors=[{"path": "name", "message": message}])


def _checked_slot(slot: str) -> str:
    if not references.SLOT.fullmatch(slot):
        message = "header:Name, env:NAME or field:path"
        raise Invalid(f"A slot is {message}.", errors=[{"path": "bindings.slot", "message": message}])
    return slot


def _check_value(value: str, slots: Iterable[str]) -> None:
    """Refuse what cannot be sent. No message repeats any part of the value, nor its length."""
    problem = ""
    if not value:
        problem = "empty"
    elif "\0" in value or len(value.encode("utf-8", "replace")) > LARGEST_VALUE_BYTES:
        problem = f"longer than {LARGEST_VALUE_BYTES} bytes, or not text"
    elif any(slot.startswith("header:") for slot in slots) and not (value.isascii() and value.isprintable()):
        problem = "not one line of printable ASCII, and a header can carry nothing else"
    if problem:
        raise Invalid(f"The value is {problem}.", errors=[{"path": "value", "message": problem}])
