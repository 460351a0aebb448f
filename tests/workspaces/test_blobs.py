"""Large values: encrypted per workspace, stored once, and useless when tampered with."""

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenance.crypto import Undecipherable
from provenance.db import scope
from provenance.errors import Invalid, NotFound
from workspaces import blobs
from workspaces.models import Blob


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(data=st.binary(max_size=4000))
def test_what_goes_in_comes_out(workspace, data):
    assert blobs.get(workspace.pk, blobs.put(workspace.pk, data)) == data


def test_a_large_value_is_compressed_and_comes_out_whole(workspace):
    data = b"payment terms " * 100_000
    ref = blobs.put(workspace.pk, data)
    row = Blob.objects.get()
    assert (row.codec, row.size_bytes) == ("zlib", len(data))
    assert len(bytes(row.sealed)) < len(data) // 10
    assert blobs.get(workspace.pk, ref) == data


def test_the_same_content_is_stored_once(workspace):
    assert blobs.put(workspace.pk, b"same") == blobs.put(workspace.pk, b"same")
    assert Blob.objects.count() == 1


def test_nothing_readable_is_stored(workspace):
    ref = blobs.put(workspace.pk, b"IBAN DE89 3704 0044 0532 0130 00")
    assert b"IBAN" not in bytes(Blob.objects.get().sealed)
    assert b"IBAN".hex() not in ref


def test_equal_contents_of_two_workspaces_do_not_look_equal(workspace, other_workspace):
    """T10."""
    mine = blobs.put(workspace.pk, b"same")
    with scope(other_workspace.pk):
        theirs = blobs.put(other_workspace.pk, b"same")
        with pytest.raises(NotFound):
            blobs.get(other_workspace.pk, mine)
    assert mine != theirs


@pytest.mark.parametrize("ref", ["", "zz", "ab" * 32, "not hex at all"])
def test_an_invented_reference_is_not_found(workspace, ref):
    with pytest.raises(NotFound):
        blobs.get(workspace.pk, ref)


def test_a_row_that_was_changed_does_not_open(workspace):
    ref, parameters = blobs.prepare(workspace.pk, b"x" * 2000)
    _id, _workspace, _key, codec, size, sealed = parameters
    flipped = bytes(sealed[:-1]) + bytes([sealed[-1] ^ 1])
    for changed in ((codec, size, flipped), ("plain", size, sealed), (codec, size + 1, sealed)):
        with pytest.raises(Undecipherable):
            blobs.unpack(workspace.pk, ref, *changed)


def test_a_value_beyond_the_limit_is_refused(workspace, monkeypatch):
    monkeypatch.setattr(blobs, "LARGEST_BLOB_BYTES", 10)
    with pytest.raises(Invalid, match="10 bytes"):
        blobs.put(workspace.pk, b"x" * 11)


@pytest.mark.parametrize("role", ["web", "gateway", "worker"])
def test_every_process_may_store_and_read_and_none_may_change(workspace, as_role, role):
    with as_role(role), connection.cursor() as cursor:
        ref, parameters = blobs.prepare(workspace.pk, role.encode())
        cursor.execute(blobs.INSERT_SQL, parameters)
        cursor.execute(blobs.SELECT_SQL, [workspace.pk, bytes.fromhex(ref)])
        codec, size, sealed = cursor.fetchone()
        assert blobs.unpack(workspace.pk, ref, codec, size, bytes(sealed)) == role.encode()
        cursor.execute("SELECT has_table_privilege('workspaces_blob', 'update, delete')")
        assert cursor.fetchone() == (False,)
