"""Checkpoints are signed notes that other implementations read (c2sp.org/signed-note, /tlog-checkpoint, /tlog-cosignature)."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.notes import BadNote, Checkpoint, LogSigner, opened, parse_vkey, signed_note

SIGNER = LogSigner(b"e" * 32, b"m" * 32)
CHECKPOINT = Checkpoint("log.example/1", 7, b"r" * 32)
NOTE = signed_note(CHECKPOINT, SIGNER.sign(CHECKPOINT, is_instance=True))
KEYS = [parse_vkey(text) for text in SIGNER.vkeys(CHECKPOINT.origin, is_instance=True)]


def test_the_example_of_the_specification():
    key = parse_vkey("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    encoded = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    material = base64.b64decode(encoded)
    assert (key.name, key.kind, key.id, key.vkey.split("+")[1]) == ("example.com/foo", 1, material[:4], "530d903a")
    Ed25519PublicKey.from_public_bytes(key.public).verify(material[4:], b"This is an example message.\n")


@pytest.mark.parametrize("keys", [KEYS, KEYS[:1], KEYS[1:]], ids=["both", "Ed25519", "ML-DSA-44"])
def test_either_key_opens_the_note_of_the_instance(keys):
    assert opened(NOTE, keys) == CHECKPOINT


def test_a_workspaces_note_has_one_signature_and_it_is_the_same_each_time():
    lines = SIGNER.sign(CHECKPOINT, is_instance=False)
    assert lines == SIGNER.sign(CHECKPOINT, is_instance=False)
    assert lines.count("\n") == 1


def test_signatures_of_strangers_are_ignored():
    other = LogSigner(b"o" * 32, b"p" * 32)
    both = NOTE + other.sign(CHECKPOINT, is_instance=False)
    assert opened(both, KEYS) == CHECKPOINT
    with pytest.raises(BadNote, match="none of the known keys"):
        opened(NOTE, other.verifiers(CHECKPOINT.origin))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\n7\n", "\n8\n"),
        ("log.example/1\n7", "log.example/2\n7"),
        ("\n7\n", "\n07\n"),
        ("\n7\n", "\n-7\n"),
        ("\n7\n", "\n7\nmore\n"),
        ("\n\n", "\n"),
        ("— log", "- log"),
        ("cnJy", "cnJ!"),
    ],
)
def test_a_changed_note_is_refused(before, after):
    assert before in NOTE
    with pytest.raises(BadNote):
        opened(NOTE.replace(before, after, 1), KEYS)


@pytest.mark.parametrize(
    "text",
    ["", "a+b", "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "a b+00000000+AQ==", "x+y+!"],
)
def test_what_is_no_verifier_key_is_refused(text):
    with pytest.raises(BadNote):
        parse_vkey(text)
