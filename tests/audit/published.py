"""Checkpoints as places outside of the database take them."""

from audit.anchors import text_of
from audit.notes import Checkpoint, signed_note
from tests.audit.sealing import SIGNER

ORIGIN = "log.test/instance"


def note(size, origin=ORIGIN):
    """A signed checkpoint of this size."""
    checkpoint = Checkpoint(origin, size, bytes([size % 256]) * 32)
    return signed_note(checkpoint, SIGNER.sign(checkpoint, is_instance=False))


def sizes(notes):
    """How large the log was in each of them."""
    return [Checkpoint.parse(text_of(kept)).size for kept in notes]
