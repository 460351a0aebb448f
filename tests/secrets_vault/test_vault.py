"""Secrets go in, are sent only where they are bound, and come out nowhere else (M133-M135, M140, T01, T02)."""

import threading
from dataclasses import replace

import pytest
from django.db import DatabaseError, connection, transaction

from audit.taxonomy import Event
from provenance import crypto
from provenance.crypto import KeyRing, Undecipherable
from provenance.db import enter, scope
from provenance.egress import EgressRefused
from provenance.errors import Invalid, NotFound, PermissionDenied
from secrets_vault import references, selectors, services
from secrets_vault.models import Secret, SecretBinding, SecretVersion
from secrets_vault.references import SEALED_VERSION_SQL, SealedVersion
from secrets_vault.services import Binding, SecretExists, SecretRevoked

VALUE = "canary-5f1d0c7e-never-seen-again"
URL = "https://erp.example/mcp"
ORIGIN = "https://erp.example:443"
SLOT = "header:Authorization"


def store(actor, name="erp-token", value=VALUE, **changes):
    return services.create_secret(
        actor=actor, name=name, value=value, **{"bindings": [Binding(URL, SLOT)], "access": "write", **changes}
    )


@pytest.fixture
def lookup(as_role):
    """What the gateway finds for a name, an origin and a slot, asked as the gateway."""

    def find(name="erp-token", origin=ORIGIN, slot=SLOT):
        with as_role("gateway"), connection.cursor() as cursor:
            cursor.execute(SEALED_VERSION_SQL, {"name": name, "origin": origin, "slot": slot})
            row = cursor.fetchone()
            return SealedVersion(*row) if row else None

    return find


def opened(row, workspace):
    return references.open_version(row, workspace.id, row.name, row.number, KeyRing.from_settings("VAULT_KEK")).decode()


# --- Storing ---------------------------------------------------------------------------------------------------------


def test_a_stored_secret_opens_for_the_gateway_where_it_is_bound(workspace, editor, lookup):
    store(editor)
    row = lookup()
    assert opened(row, workspace) == VALUE
    assert row.access == "write"


def test_every_row_of_it_has_its_event_and_no_event_holds_the_value(editor, events):
    store(editor)
    services.rotate_secret(actor=editor, name="erp-token", value=VALUE + "-2", reason="yearly")
    names = [event.action for event in events() if event.action.startswith("secret.")]
    assert names == [
        "secret.created", "secret.version_stored", "secret.bound",
        "secret.rotated", "secret.version_stored", "secret.version_destroyed",
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SELECT body FROM audit.event")
        bodies = "".join(str(row) for row in cursor.fetchall())
    assert VALUE not in bodies


def test_what_is_stored_does_not_show_the_value(editor, as_role):
    store(editor)
    with as_role("gateway"):
        (version,) = SecretVersion.objects.defer(None)
        stored = bytes(version.ciphertext) + bytes(version.wrapped_key)
    assert VALUE.encode() not in stored
    assert VALUE not in repr(version) + str(vars(version))


def test_each_version_has_its_own_data_key(editor, as_role):
    store(editor)
    store(editor, name="other", value=VALUE)
    with as_role("gateway"):
        one, two = SecretVersion.objects.defer(None)
        assert bytes(one.ciphertext) != bytes(two.ciphertext)
        assert bytes(one.wrapped_key) != bytes(two.wrapped_key)


@pytest.mark.parametrize("name", ["", "Upper", "a b", "-a", "a/b", "a" * 101, "secret://x", "ä"])
def test_names_are_plain(editor, name):
    with pytest.raises(Invalid):
        store(editor, name=name)


@pytest.mark.parametrize("value", ["", "two\nlines", "tab\there", "caf\u00e9-token", "nul\0", "x" * 70_000])
def test_a_value_that_a_header_cannot_carry_is_refused_without_repeating_it(editor, value):
    with pytest.raises(Invalid) as caught:
        store(editor, value=value)
    assert not value or value not in str(caught.value) + repr(caught.value.data)
    assert not Secret.objects.exists()


def test_a_value_of_several_lines_may_go_into_a_field(editor):
    store(editor, value="-----BEGIN\nKEY-----", bindings=[Binding(URL, "field:key")])


@pytest.mark.parametrize("slot", ["", "header:", "header:A B", "header:A\r\nX", "cookie:a", "env:lower", "*"])
def test_slots_are_named_exactly(editor, slot):
    with pytest.raises(Invalid):
        store(editor, bindings=[Binding(URL, slot)])


@pytest.mark.parametrize("url", ["https://user@erp.example/", "erp.example", "https://0x7f.1/", "ftp://erp.example/"])
def test_a_binding_needs_a_url_that_reads_in_one_way(editor, url):
    with pytest.raises(EgressRefused):
        store(editor, bindings=[Binding(url, SLOT)])


def test_a_name_is_taken_once(editor):
    store(editor)
    with pytest.raises(SecretExists):
        store(editor)


def test_unknown_access_is_refused(editor):
    with pytest.raises(Invalid):
        store(editor, access="everything")


def test_access_counts_as_admin_when_nobody_says_otherwise(editor):
    secret = services.create_secret(actor=editor, name="a", value="v", bindings=[])
    assert secret.access == "admin"


# --- Permission and tenancy ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "act",
    [
        store,
        lambda actor: services.rotate_secret(actor=actor, name="erp-token", value="v"),
        lambda actor: services.revoke_secret(actor=actor, name="erp-token", reason="r"),
        lambda actor: services.bind_secret(actor=actor, name="erp-token", url=URL, slot=SLOT),
        lambda actor: services.unbind_secret(actor=actor, name="erp-token", url=URL, slot=SLOT),
        selectors.list_names,
    ],
)
def test_without_the_permission_nothing_happens(viewer, act):
    with pytest.raises(PermissionDenied):
        act(viewer)


def test_another_workspaces_secret_is_not_found(editor, other_workspace, stranger, lookup):
    store(editor)
    with scope(other_workspace.id):
        for act in (services.rotate_secret, services.bind_secret):
            extra = {"value": "v"} if act is services.rotate_secret else {"url": URL, "slot": SLOT}
            with pytest.raises(NotFound):
                act(actor=stranger, name="erp-token", **extra)
        assert lookup() is None
        store(stranger)  # the same name is free there


# --- Binding (T02) ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "slot"),
    [
        ("https://evil.example:443", SLOT),
        ("http://erp.example:443", SLOT),
        ("https://erp.example:8443", SLOT),
        ("https://erp.example", SLOT),
        (ORIGIN, "header:X-Other"),
        (ORIGIN, "env:TOKEN"),
        ("", ""),
    ],
)
def test_at_any_other_origin_or_slot_it_does_not_resolve(editor, lookup, origin, slot):
    store(editor)
    assert lookup(origin=origin, slot=slot) is None


def test_a_new_place_must_be_bound_and_an_old_one_can_be_taken_away(workspace, editor, lookup, events):
    store(editor)
    services.bind_secret(actor=editor, name="erp-token", url="https://new.example/x", slot=SLOT, reason="moved")
    services.bind_secret(actor=editor, name="erp-token", url="https://new.example/y", slot=SLOT)
    services.unbind_secret(actor=editor, name="erp-token", url=URL, slot=SLOT, reason="moved")
    assert lookup() is None
    assert opened(lookup(origin="https://new.example:443"), workspace) == VALUE
    assert len(events(Event.SECRET_BOUND)) == 2
    assert len(events(Event.SECRET_UNBOUND)) == 1


def test_taking_away_a_place_that_was_never_given_is_not_found(editor):
    store(editor)
    with pytest.raises(NotFound):
        services.unbind_secret(actor=editor, name="erp-token", url="https://x.example", slot=SLOT)


# --- Rotation and revocation -----------------------------------------------------------------------------------------


def test_rotation_replaces_the_value_and_destroys_the_former(workspace, editor, lookup, as_role):
    store(editor)
    services.rotate_secret(actor=editor, name="erp-token", value="new-value", reason="leaked")
    assert opened(lookup(), workspace) == "new-value"
    with as_role("gateway"):
        former = SecretVersion.objects.defer(None).get(number=1)
        assert (bytes(former.ciphertext), bytes(former.wrapped_key)) == (b"", b"")
        assert former.destroyed_at is not None


def test_revocation_destroys_everything_for_good(editor, lookup, as_role, events):
    store(editor)
    services.revoke_secret(actor=editor, name="erp-token", reason="contract ended")
    assert lookup() is None
    with as_role("gateway"):
        assert all(bytes(version.wrapped_key) == b"" for version in SecretVersion.objects.defer(None))
    with pytest.raises(SecretRevoked):
        services.rotate_secret(actor=editor, name="erp-token", value="v")
    assert len(events(Event.SECRET_REVOKED)) == 1


def test_the_list_has_names_and_places_only(editor):
    store(editor)
    (line,) = selectors.list_names(editor)
    assert (line.name, line.access, line.version, line.bindings) == ("erp-token", "write", 1, ((ORIGIN, SLOT),))
    assert VALUE not in repr(line)


def test_the_list_asks_the_database_the_same_number_of_times(editor, django_assert_num_queries):
    for number in range(5):
        store(editor, name=f"name-{number}")
    with django_assert_num_queries(2):
        assert len(selectors.list_names(editor)) == 5


# --- Who may read what (T01) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["ciphertext", "wrapped_key", "*"])
def test_web_cannot_read_what_it_wrote(editor, column):
    store(editor)
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM secrets_vault_secretversion")


@pytest.mark.parametrize(
    "table", ["secrets_vault_secret", "secrets_vault_secretversion", "secrets_vault_secretbinding"]
)
def test_workers_see_nothing_of_the_vault(editor, as_role, table):
    store(editor)
    with as_role("worker"), pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        connection.cursor().execute(f"SELECT 1 FROM {table}")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE secrets_vault_secretversion SET ciphertext = ''",
        "DELETE FROM secrets_vault_secretversion",
        "UPDATE secrets_vault_secretbinding SET origin = 'https://evil.example:443'",
        "INSERT INTO secrets_vault_secretbinding SELECT * FROM secrets_vault_secretbinding",
        "UPDATE secrets_vault_secret SET access = 'read'",
    ],
)
def test_the_gateway_cannot_write_the_vault(editor, as_role, statement):
    store(editor)
    with as_role("gateway"), pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        connection.cursor().execute(statement)


# --- Sealed in its place ---------------------------------------------------------------------------------------------


def test_a_version_that_was_moved_does_not_open(workspace, other_workspace, editor, lookup):
    """The ciphertext of one secret, put into the row of another, opens nothing: neither name, number nor workspace fit."""
    store(editor)
    row, kek = lookup(), KeyRing.from_settings("VAULT_KEK")
    for place in [
        (workspace.id, "other-name", row.number),
        (workspace.id, row.name, row.number + 1),
        (other_workspace.id, row.name, row.number),
    ]:
        with pytest.raises(Undecipherable):
            references.open_version(row, *place, kek)
    other = replace(row, ciphertext=crypto.seal(crypto.new_key(), b"planted", b""))
    with pytest.raises(Undecipherable):
        references.open_version(other, workspace.id, row.name, row.number, kek)


def test_a_rotated_key_encryption_key_still_opens_old_versions(workspace, editor, lookup, settings):
    store(editor)
    former = settings.VAULT_KEK
    settings.VAULT_KEK = f"{'QUJD' * 10}QUI=\n{former}"
    assert opened(lookup(), workspace) == VALUE
    settings.VAULT_KEK = settings.VAULT_KEK.split()[0]
    with pytest.raises(crypto.KeyMissing):
        opened(lookup(), workspace)


def test_a_process_without_the_key_encryption_key_stores_nothing(editor, settings):
    settings.VAULT_KEK = ""
    with pytest.raises(crypto.KeyMissing, match="VAULT_KEK"):
        store(editor)
    assert not Secret.objects.exists()


# --- References ------------------------------------------------------------------------------------------------------


def test_a_reference_names_a_secret():
    assert references.parse("secret://crm-token") == "crm-token"


@pytest.mark.parametrize(
    "text", ["", "crm-token", "secret://", "SECRET://crm", "secret://a b", "secret://a/b", "s3cr3t-value"]
)
def test_what_is_no_reference_is_refused_without_repeating_it(text):
    with pytest.raises(Invalid) as caught:
        references.parse(text)
    assert not text or text not in str(caught.value).replace("secret:// and", "")


# --- Twice at once ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_rotations_at_once_give_two_versions_and_one_value():
    from tests import factories

    made = factories.make_workspace()
    with scope(made.id):
        actor = factories.make_member(made, roles={"editor"})
        with enter(made.id):
            store(actor)
    barrier, failures = threading.Barrier(2), []

    def rotate(value):
        try:
            barrier.wait(60)
            with enter(made.id):
                services.rotate_secret(actor=actor, name="erp-token", value=value)
        except Exception as error:  # noqa: BLE001  shown by the assertion below
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=rotate, args=(value,)) for value in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with enter(made.id):
        assert Secret.objects.get().current_version == 3
        assert [v.number for v in SecretVersion.objects.filter(destroyed_at=None)] == [3]
        assert SecretBinding.objects.count() == 1
