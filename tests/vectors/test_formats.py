"""Formats that are stored or handed out, fixed byte for byte: today's code reproduces what an earlier release wrote.

A change that fails here makes every stored row, key or pin of that kind invalid. It needs a new version of the format
that is read beside the old one, never another vector in the place of this one.
"""

import hashlib
import hmac
import json
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import orjson
import pytest

from apikeys import keytext
from approvals.digest import ActionFacts, action_digest
from audit import envelope, verify
from audit.envelope import Detail, EventContext, ObjectFacts
from audit.governed import state_commitment
from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway import pins, tokens
from gateway.calls.judging import request_digest
from gateway.contract import CallRequest
from gateway.events import Caller
from provenance import crypto
from provenance.actor import Actor, ActorKind
from provenance.canonical import canonical_json


def vector(name):
    return json.loads((Path(__file__).parent / f"{name}.json").read_text("utf-8"))


EVENT, KEYS, TOKEN, API_KEY = (vector(name) for name in ("audit_event", "keys", "run_token", "api_keys"))
WORKSPACE = UUID(EVENT["workspace"])


def ring():
    return KeyRing(current=EVENT["kid"], roots={EVENT["kid"]: bytes.fromhex(EVENT["root_key"])})


# --- The log -----------------------------------------------------------------------------------------------------------


def test_the_writer_builds_the_same_bytes_and_signs_them_alike(monkeypatch):
    monkeypatch.setattr(envelope, "uuid7", lambda: UUID(EVENT["id"]))
    monkeypatch.setattr(envelope, "secrets", SimpleNamespace(token_bytes=lambda _count: bytes.fromhex(EVENT["salt"])))
    given = EVENT["given"]
    actor = {**given["actor"], "kind": ActorKind(given["actor"]["kind"]), "workspace_id": WORKSPACE}
    event = envelope.build(
        keys=ring(),
        actor=Actor(**actor),
        event=Event(given["event"]),
        target=ObjectFacts(**given["target"]),
        workspace_id=WORKSPACE,
        reason=given["reason"],
        detail=given["detail"],
        context=EventContext(**given["context"]),
        now=datetime.fromisoformat(EVENT["at"]),
    )
    assert event.body == EVENT["body"]
    assert event.mac.hex() == EVENT["mac"]
    assert event.detail.body.decode() == EVENT["detail"]
    assert event.detail.commitment() == EVENT["detail_commitment"]


def test_the_keys_of_a_workspace_and_of_the_instance_are_derived_alike():
    assert ring().key(EVENT["kid"], WORKSPACE).secret.hex() == EVENT["workspace_key"]
    assert ring().key(EVENT["kid"], None).secret.hex() == EVENT["instance_key"]


def test_a_stored_event_still_verifies_here_and_by_plain_means():
    """Second half: HMAC-SHA256 over a prefix and the stored bytes, which is all that docs/audit-format.md asks for."""
    body, mac, key = EVENT["body"].encode(), bytes.fromhex(EVENT["mac"]), bytes.fromhex(EVENT["workspace_key"])
    assert ring().key(EVENT["kid"], WORKSPACE).verifies(body, mac)
    assert hmac.digest(key, b"provenance-audit-v1\n" + body, hashlib.sha256) == mac
    assert hmac.digest(key, verify.MAC_PREFIX + body, hashlib.sha256) == mac


def test_the_canonical_bytes_are_those_that_were_signed():
    body = EVENT["body"].encode()
    assert canonical_json(orjson.loads(body)) == body


def test_an_erasable_detail_is_bound_alike():
    detail = Detail(body=EVENT["detail"].encode(), salt=bytes.fromhex(EVENT["salt"]))
    assert detail.commitment() == EVENT["detail_commitment"] == json.loads(EVENT["body"])["detail"]


def test_the_commitment_to_a_row_is_computed_alike():
    case = vector("state_commitment")
    assert state_commitment(bytes.fromhex(case["salt"]), case["rev"], case["values"]) == case["state"]


# --- Keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", KEYS["derived"], ids=lambda case: case["info"] or "empty")
def test_keys_are_derived_alike(case):
    root = bytes.fromhex(KEYS["root_key"])
    assert crypto.derive(root, case["info"].encode()).hex() == case["key"]
    # RFC 5869 with an empty salt, by hand.
    extracted = hmac.digest(bytes(32), root, hashlib.sha256)
    assert hmac.digest(extracted, case["info"].encode() + b"\x01", hashlib.sha256).hex() == case["key"]


def test_a_key_keeps_its_public_name():
    assert crypto.key_id(bytes.fromhex(KEYS["root_key"])) == KEYS["key_id"]


def test_what_was_sealed_still_opens():
    sealed = KEYS["sealed"]
    place = crypto.bind(*sealed["aad_of"])
    assert place.hex() == sealed["aad"]
    key, content = bytes.fromhex(sealed["key"]), bytes.fromhex(sealed["bytes"])
    assert crypto.open(key, content, place).decode() == sealed["plaintext"]


# --- Tools, calls and approvals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", vector("pins"), ids=lambda case: case["definition"]["name"])
def test_a_tool_keeps_its_pin(case):
    assert pins.pin(case["definition"]) == case["pin"]


@pytest.mark.parametrize("case", vector("action_digests")["cases"], ids=range(4))
def test_an_approval_stays_bound_to_its_call(case):
    facts = ActionFacts.from_json(vector("action_digests")["facts"])
    assert action_digest(facts, case["arguments"]) == case["digest"]


@pytest.mark.parametrize("case", vector("call_digests")["cases"], ids=range(4))
def test_a_repeated_call_is_recognized(case):
    made = vector("call_digests")
    caller = Caller(
        workspace_id=UUID(made["workspace"]),
        agent_id=UUID(int=5),
        agent_version_id=None,
        environment="production",
        principal=made["principal"],
        via="mcp",
    )
    asked = CallRequest(call_id=UUID(int=9), call_key=made["call_key"], tool=made["tool"], arguments=case["arguments"])
    assert request_digest(caller, asked) == case["digest"]


# --- What is handed out ------------------------------------------------------------------------------------------------


def test_a_key_that_was_handed_out_is_still_known():
    assert keytext.prefix_of(API_KEY["text"]) == API_KEY["prefix"]
    assert keytext.digest(API_KEY["text"]) == API_KEY["digest"]


def claims():
    ids = {name: UUID(TOKEN["claims"][name]) for name in tokens._IDS}
    return tokens.RunClaims(**{**TOKEN["claims"], **ids})


@pytest.fixture
def _at_that_time(monkeypatch):
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: float(TOKEN["minted_at"])))


@pytest.mark.usefixtures("_at_that_time")
def test_a_worker_mints_the_same_run_token():
    assert tokens.mint(claims(), TOKEN["key"], lifetime_seconds=TOKEN["lifetime_seconds"]) == TOKEN["token"]


@pytest.mark.usefixtures("_at_that_time")
def test_the_gateway_reads_a_run_token_that_another_release_minted():
    read = tokens.check(TOKEN["token"], TOKEN["key"])
    assert read.expires_at == TOKEN["minted_at"] + TOKEN["lifetime_seconds"]
    assert tokens.replace(read, expires_at=0) == claims()
