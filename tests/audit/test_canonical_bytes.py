"""Canonical bytes: ours, the oracle's and the verifier's are the same for everything in the profile."""

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit import verify
from audit.envelope import EventContext, ObjectFacts, build
from audit.signing import KeyRing
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.canonical import MAX_SAFE_INTEGER, NotCanonical, canonical_json
from provenance.ids import uuid7

WORKSPACE = uuid7()

KEYS = st.text(st.characters(max_codepoint=127, exclude_characters="\0"), max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SCALARS = st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=30)


@given(VALUES)
def test_the_bytes_are_those_of_rfc_8785(value):
    assert canonical_json(value) == rfc8785.dumps(value)


KEYS_OF_A_PROCESS = KeyRing(current="web-1", roots={"web-1": b"k" * 32})
ANY_TEXT = st.text(max_size=40)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, st.lists(ANY_TEXT.filter(str.isascii), max_size=3))
def test_the_verifier_takes_every_body_that_is_written(actor, about, step, changed):
    """It reads canonical bytes by other means than it takes to write them: one pattern for the whole body."""
    event = build(
        keys=KEYS_OF_A_PROCESS,
        actor=Actor.system(actor, WORKSPACE),
        event=Event.RUN_STARTED,
        target=ObjectFacts(type="run", id=about, rev=7, op="update", changed=sorted(set(changed))),
        workspace_id=WORKSPACE,
        context=EventContext(step=step, tool=WORKSPACE, data_tier=3),
    )
    said = verify.read_body(event.body.encode())
    assert said["action"] == b"run.started"
    for other in (
        event.body.replace(":", ": ", 1),
        event.body[:-1] + ',"v":1}',
        event.body.replace('"rev":7', '"rev":7.0', 1),
    ):
        with pytest.raises(ValueError, match="canonical form"):
            verify.read_body(other.encode())


@given(VALUES)
def test_reading_and_writing_again_changes_nothing(value):
    written = canonical_json(value)
    assert canonical_json(orjson.loads(written)) == written


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        float("nan"),
        2**53,
        -(2**53),
        "a\0b",
        {"ä": 1},
        {1: 2},
        b"bytes",
        {"deep": [{"x": 0.1}]},
        object(),
        {"a\0": 1},
    ],
)
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(NotCanonical):
        canonical_json(value)


def test_a_lone_surrogate_is_refused():
    with pytest.raises(NotCanonical):
        canonical_json("\ud800")
