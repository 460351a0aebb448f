"""What receivers get: OCSF as its schema wants it, CEF and syslog that no name can break out of (T30)."""

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.envelope import ObjectFacts
from audit.taxonomy import Event
from gateway.deliveries.contract import OBJECT_NAME, Kind
from gateway.deliveries.signing import UnusableSecret, webhook_headers
from provenance.actor import Actor, ActorKind
from provenance.canonical import canonical_json
from streams.lines import cef, cef_line, octet_counted, record_line
from streams.ocsf import ocsf
from streams.records import text_of
from streams.rendering import Batch, render
from tests.fakes.receivers import frames
from tests.streams.entries import ORIGIN, entry, planted

SCHEMA = json.loads((Path(__file__).parent / "ocsf_1_9.json").read_text("utf-8"))
HOSTILE = 'a|b=c\\d"e]f\r\nCEF:0|x|y|\u2028z\u0085\x00\x7f'
BODIES = [
    "",
    "no JSON",
    "[]",
    "null",
    "{}",
    '{"action":1,"risk":[],"at":"yesterday","actor":"x","object":null,"context":7,"outcome":{}}',
    '{"action":"\\u0000","at":"0001-01-01T00:00:00+23:59","actor":{"id":"\\u0000"},"object":{"type":"\\u0000"}}',
]


def check_object(name, value):
    described = SCHEMA["objects"][name]
    assert set(described["required"]) <= value.keys(), name
    assert not described["at_least_one"] or set(described["at_least_one"]) & value.keys(), name
    assert value.keys() <= set(described["attributes"]), (name, value.keys() - set(described["attributes"]))


def check_ocsf(record):
    described = SCHEMA["classes"][str(record["class_uid"])]
    assert set(described["required"]) <= record.keys()
    assert record.keys() <= set(described["attributes"]), record.keys() - set(described["attributes"])
    assert (record["class_name"], record["category_uid"], record["category_name"]) == (
        described["caption"],
        described["category_uid"],
        described["category"],
    )
    assert record["type_uid"] == record["class_uid"] * 100 + record["activity_id"]
    for name, caption in (("activity_id", "activity_name"), ("severity_id", "severity"), ("status_id", "status")):
        known = described["enums"][name]
        assert str(record[name]) in known
        assert record[name] == 99 or record[caption] == known[str(record[name])], (name, record[caption])
    objects = {
        "actor": "actor",
        "user": "user",
        "entity": "managed_entity",
        "api": "api",
        "src_endpoint": "network_endpoint",
    }
    for name, kind in objects.items():
        if name in record:
            check_object(kind, record[name])
    check_object("metadata", record["metadata"])
    check_object("product", record["metadata"]["product"])
    for resource in record.get("resources", []):
        check_object("resource_details", resource)
    (attestation,) = record["attestation_list"]
    check_object("attestation", attestation)
    for fingerprint in (attestation["fingerprint"], record["raw_data_hash"]):
        check_object("fingerprint", fingerprint)
    assert record["metadata"]["version"] == "1.9.0"
    assert all(isinstance(record[name], int) for name in ("time", "timezone_offset", "raw_data_size"))


@pytest.mark.parametrize("op", ["read", "insert", "update", "delete"])
def test_every_event_is_a_valid_ocsf_record(op):
    for event in Event:
        for kind in ("run", "membership", "agent"):
            check_ocsf(ocsf(entry(event, target=ObjectFacts(type=kind, id="x", rev=2, op=op))))


@pytest.mark.parametrize(
    ("event", "type_", "op", "type_uid"),
    [
        (Event.MEMBER_ADDED, "membership", "insert", 300701),
        (Event.MEMBER_ROLE_CHANGED, "membership", "update", 300716),
        (Event.AGENT_CREATED, "agent", "insert", 300401),
        (Event.AGENT_SUSPENDED, "agent", "update", 300412),
        (Event.MCP_TOOL_CALLED, "tool", "read", 600302),
        (Event.RUN_FAILED, "run", "update", 600303),
        (Event.AUTHZ_DENIED, "route", "read", 600302),
    ],
)
def test_an_event_is_of_the_class_that_fits(event, type_, op, type_uid):
    made = ocsf(entry(event, target=ObjectFacts(type=type_, id="x", op=op), outcome="blocked"))
    assert (made["type_uid"], made["status_id"], made["status_code"]) == (type_uid, 2, "blocked")


def test_the_record_says_where_it_stands_and_fits_its_fingerprint():
    made = entry(index=12, previous=9, actor_label="Ada", object_label="Run 1")
    record = ocsf(made)
    assert record["raw_data"] == made.body
    assert record["raw_data_hash"]["value"] == hashlib.sha256(made.body.encode()).hexdigest()
    assert (record["unmapped"]["log_index"], record["unmapped"]["previous_index"]) == (12, 9)
    assert record["metadata"]["sequence"] == 12
    assert record["actor"]["user"]["name"] == "Ada"
    fingerprint = record["attestation_list"][0].pop("fingerprint")
    assert record["attestation_list"][0]["chain_uid"] == ORIGIN
    assert fingerprint["value"] == hashlib.sha256(canonical_json(record)).hexdigest()
    record["severity_id"] = 1
    assert fingerprint["value"] != hashlib.sha256(canonical_json(record)).hexdigest()


@pytest.mark.parametrize("body", BODIES)
def test_a_planted_event_stops_no_stream(body):
    """It is sealed like the others, so it has to get through like the others, in every form and past every filter."""
    made = planted(body)
    check_ocsf(ocsf(made))
    batch = Batch(ORIGIN, 7, 8, [made])
    for kind in Kind:
        assert render(kind, batch)
    if not made.said:
        assert made.is_wanted("critical", ["run"])


def cef_parts(text):
    """Header fields and extension as a receiver of CEF takes them apart."""
    fields = re.split(r"(?<!\\)(?:\\\\)*\|", text, maxsplit=7)
    pairs = re.findall(r"(\w+)=((?:\\.|[^\\=])*?)(?= \w+=|$)", fields[7])
    return fields, {name: re.sub(r"\\(.)", r"\1", value) for name, value in pairs}


def hostile_entry(text):
    actor = Actor(kind=ActorKind.USER, id=text, label="", workspace_id=None)
    target = ObjectFacts(type="agent", id=text, op="update", rev=2)
    label = text_of(text)
    return entry(Event.AGENT_UPDATED, actor=actor, target=target, actor_label=label, object_label=label)


@given(st.one_of(st.just(HOSTILE), st.text()))
def test_no_name_begins_a_second_event_or_field(text):
    """T30: line ends, pipes, equals signs and quotes in whatever somebody could have named."""
    made = hostile_entry(text)
    fields, extension = cef_parts(cef(made))
    assert fields[4] == "agent.updated"
    assert len(fields) == 8
    assert set(extension) <= {"rt", "externalId", "act", "outcome", "suid", "suser"} | {
        f"{kind}{number}{label}" for kind in ("cs", "cn") for number in range(1, 7) for label in ("", "Label")
    }
    assert (extension["act"], extension["cn1"], extension["cs3"]) == ("agent.updated", "7", "agent")
    for line in (cef_line(made), record_line(made)):
        assert len(line.splitlines()) == 1
        assert re.fullmatch(
            r'<\d+>1 \S+ log\.example provenance - agent\.updated \[provenance@32473( \w+="([^"\\\]]|\\.)*")+\] \ufeff.*',
            line,
        )
    assert frames(octet_counted([cef_line(made), record_line(made)]).encode()) == [cef_line(made), record_line(made)]
    (_, _, record) = record_line(made).partition("\ufeff")
    assert json.loads(record)["body"] == made.body
    assert len(render(Kind.S3, Batch(ORIGIN, 7, 8, [made])).splitlines()) == 1


def test_cef_of_an_ordinary_event():
    made = entry(Event.RUN_FAILED, index=3, previous=None, target=ObjectFacts(type="run", id="r|1=2"))
    text = cef(made)
    assert text.startswith("CEF:0|Provenance|Provenance|1|run.failed|A run ended without reaching its end.|8|rt=")
    assert "cs4=r|1\\=2" in text
    assert "cn2" not in cef_parts(text)[1]


def test_objects_sort_in_the_order_of_the_log():
    names = [Batch("Log.Example/ü:1", first, first + 1, []).name for first in (9, 10, 99, 100, 10**12)]
    assert names == sorted(names)
    assert all(OBJECT_NAME.fullmatch(name) for name in names)


# --- Signatures ------------------------------------------------------------------------------------------------------


def test_standard_webhooks_vector():
    """The example that the libraries of Standard Webhooks test with."""
    headers = webhook_headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        at=datetime.fromtimestamp(1614265330, UTC),
        body=b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_####", "whsec_c2hvcnQ=", "whsec_" + "QUFB" * 22])
def test_a_weak_signing_key_is_refused_without_repeating_it(secret):
    with pytest.raises(UnusableSecret) as refusal:
        webhook_headers(secret, message_id="m", at=datetime.now(UTC), body=b"")
    assert not secret or secret.removeprefix("whsec_") not in str(refusal.value) or secret == "whsec_"
