"""Large values (arguments, results, transcripts) outside of rows: encrypted, and stored once per workspace and content."""

import hashlib
import hmac
import zlib
from typing import Any
from uuid import UUID

from django.db import connection

from provenance import crypto
from provenance.errors import Invalid, NotFound
from provenance.ids import uuid7
from workspaces.models import Blob

LARGEST_BLOB_BYTES = 32 * 1024 * 1024
COMPRESS_FROM_BYTES = 512

BlobRef = str
"""How a row refers to a blob: 64 hex digits, the keyed hash of the content."""

INSERT_SQL = """
    INSERT INTO workspaces_blob (id, workspace_id, key, codec, size_bytes, sealed, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, now()) ON CONFLICT (workspace_id, key) DO NOTHING
"""
SELECT_SQL = "SELECT codec, size_bytes, sealed FROM workspaces_blob WHERE workspace_id = %s AND key = %s"


def put(workspace_id: UUID, data: bytes) -> BlobRef:
    """Store the bytes in the workspace's scope and give their reference. Storing the same bytes again costs one look-up.

    Raises `Invalid` above 32 MiB.
    """
    ref, parameters = prepare(workspace_id, data)
    with connection.cursor() as cursor:
        cursor.execute(INSERT_SQL, parameters)
    return ref


def get(workspace_id: UUID, ref: BlobRef) -> bytes:
    """The bytes of a reference. Raises `NotFound`; raises `crypto.Undecipherable` for a row that was tampered with."""
    row = Blob.objects.for_workspace(workspace_id).filter(key=_key_of(ref)).first()
    if row is None:
        raise NotFound("There is no such stored value here.")
    return unpack(workspace_id, ref, row.codec, row.size_bytes, bytes(row.sealed))


def prepare(workspace_id: UUID, data: bytes) -> tuple[BlobRef, list[Any]]:
    """The reference and the parameters of `INSERT_SQL`: pure, for callers with a connection of their own."""
    if len(data) > LARGEST_BLOB_BYTES:
        raise Invalid(f"A stored value may have {LARGEST_BLOB_BYTES} bytes; this one has {len(data)}.")
    key = hmac.digest(_hash_key(workspace_id), data, hashlib.sha256)
    packed = zlib.compress(data, 1) if len(data) >= COMPRESS_FROM_BYTES else data
    codec, payload = ("zlib", packed) if len(packed) < len(data) else ("plain", data)
    sealed = crypto.seal(_seal_key(workspace_id), payload, _place(workspace_id, key.hex(), codec, len(data)))
    return key.hex(), [uuid7(), workspace_id, key, codec, len(data), sealed]


def unpack(workspace_id: UUID, ref: BlobRef, codec: str, size_bytes: int, sealed: bytes) -> bytes:
    """The bytes behind a row that `SELECT_SQL` gave. Raises `crypto.Undecipherable` when anything of it was changed."""
    payload = crypto.open(_seal_key(workspace_id), sealed, _place(workspace_id, ref, codec, size_bytes))
    # The size was authenticated above, so a crafted row cannot unpack into more than was stored.
    return zlib.decompress(payload, bufsize=max(size_bytes, 1)) if codec == "zlib" else payload


def _key_of(ref: BlobRef) -> bytes:
    try:
        return bytes.fromhex(ref)
    except ValueError:
        raise NotFound("There is no such stored value here.") from None


def _place(workspace_id: UUID, ref: BlobRef, codec: str, size_bytes: int) -> bytes:
    return crypto.bind("provenance/blob/v1", str(workspace_id), ref, codec, str(size_bytes))


def _hash_key(workspace_id: UUID) -> bytes:
    return _derived(workspace_id, "hash")


def _seal_key(workspace_id: UUID) -> bytes:
    return _derived(workspace_id, "seal")


def _derived(workspace_id: UUID, purpose: str) -> bytes:
    root = crypto.KeyRing.from_settings("BLOB_KEY").current
    return crypto.derive(root, crypto.bind("provenance/blob/v1", purpose, str(workspace_id)))
