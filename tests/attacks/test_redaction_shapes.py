"""Fields under a policy, in every shape that a server may give them: what is not understood is withheld, never shown (M060-M063)."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.taxonomy import Event
from gateway import services
from gateway.contract import CallRequest, CallState
from provenance.dlp.engine import NOT_TEXT, FieldPolicy, Redactor
from provenance.dlp.fields import REDACTED, TOO_LARGE, WITHHELD, FieldRedactor
from provenance.ids import uuid7
from tests.fakes.mcp_server import text
from tests.gateway.world import detail

VALUE = "17 Harbor Lane"
FIELDS = ("billing_address", "payment_method")

EXACT = {
    "a key": ({"billing_address": VALUE, "id": 7}, {"billing_address": REDACTED, "id": 7}),
    "a path of keys": ({"billing_address.street": VALUE, "id": 7}, {"billing_address.street": REDACTED, "id": 7}),
    "a path with a number": ({"billing_address/0": VALUE}, {"billing_address/0": REDACTED}),
    "a numbered key": ({"billingAddressLine1": VALUE}, {"billingAddressLine1": REDACTED}),
    "several": ({"payment_methods": [VALUE]}, {"payment_methods": REDACTED}),
    "a Cyrillic letter in the key": ({"billing_\u0430ddress": VALUE}, {"billing_\u0430ddress": REDACTED}),
    "a pair": ({"k": "billing_address", "v": VALUE}, {"k": "billing_address", "v": REDACTED}),
    "a typed pair": ({"type": "billing_address", "value": VALUE}, {"type": "billing_address", "value": REDACTED}),
    "JSON text": ('{"billing_address": "17", "id": 7}', f'{{"billing_address": "{REDACTED}", "id": 7}}'),
    "lines": (f"billing_address: {VALUE}\nid: 7", f"billing_address: {REDACTED}\nid: 7"),
    "JSON in a sentence": (
        f'See {{"billing_address": "{VALUE}"}} for id 7.',
        f'See {{"billing_address": "{REDACTED}"}} for id 7.',
    ),
    "a sentence beside others": (
        {"note": "Asked for the billing address of the buyer.", "id": 7},
        {"note": WITHHELD, "id": 7},
    ),
    "no field": ({"note": "The buyer's address for bills is new.", "id": 7}, None),
}


@pytest.mark.parametrize("shape", EXACT)
def test_what_is_understood_loses_the_field_and_nothing_else(shape):
    value, expected = EXACT[shape]
    assert FieldRedactor(FIELDS).value(value) == (value if expected is None else expected)


HIDING = {
    "a key given twice": '{"a": {"billing_address": "%s"}, "a": 1}',
    "a key given twice, over lines": '{"a": {\n"billing_address": {\n"street": "%s"}}, "a": 1}',
    "the notice in front": "billing_address: [redacted]%s",
    "the notice, then another line": "billing_address: [redacted]\n  %s",
    "a line separator": "billing_address: a\u2028%s",
    "a paragraph separator": "billing_address: a\u2029%s",
    "a vertical tab": "billing_address: a\x0b%s",
    "an empty line": "billing_address:\n\n%s",
    "the next line": "billing_address: No.\n%s",
    "an open quote": 'billing_address: "No.\nstreet: %s"',
    "an open bracket": "{'billing_address': {'street':\n'%s'}}",
    "a dotted name": "billing_address.street: %s",
    "columns": {"columns": ["id", "billing_address"], "rows": [[1, "%s"]]},
    "described columns": {
        "columns": [{"name": "id"}, {"name": "billing_address", "type": "text"}],
        "rows": [[1, "%s"]],
    },
    "a header row": [["id", "billing_address"], [1, "%s"]],
    "pairs in lists": [["billing_address", "%s"]],
    "CSV": "id,billing_address\n1,%s\n",
    "TSV": "id\tbilling_address\n1\t%s\n",
    "a Markdown table": "| id | billing_address |\n|---|---|\n| 1 | %s |",
    "XML": "<billing_address>%s</billing_address>",
    "an XML attribute": '<field name="billing_address">%s</field>',
    "a YAML key": "? billing_address\n: %s",
    "brackets": "billing_address (%s)",
    "words": "billing_address is %s",
    "a look-alike colon": "billing_address\u2236 %s",
    "Cyrillic in a line": "billing_\u0430ddress: %s",
    "accents": "b\u00edlling_address: %s",
    "a percent sign": "billing%%5Faddress=%s",
    "an entity": "billing&#95;address: %s",
    "an escape": "billing\\u005faddress: %s",
    "an item of its own": ["billing_address:", "%s"],
    "a label beside": {"a": "billing_address:", "b": "%s"},
    "a link": {"uri": "https://x.example/billing_address/%s"},
}


@pytest.mark.parametrize("shape", HIDING)
def test_a_field_in_a_shape_that_hides_it_does_not_come_out(shape):
    spelled = json.loads(json.dumps(HIDING[shape]).replace("%%", "%").replace("%s", VALUE))
    redactor = FieldRedactor(FIELDS)
    assert VALUE not in json.dumps(redactor.value(spelled))
    assert redactor.hits["billing_address"] >= 1


def lines(value):
    return "\n".join(f"{key}: {item if isinstance(item, str) else json.dumps(item)}" for key, item in value.items())


def table(value):
    return ",".join(value) + "\n" + ",".join(json.dumps(item) for item in value.values())


WRAPPINGS = {
    "object": lambda value: {"id": 7, "record": value},
    "list": lambda value: [1, value, "x"],
    "JSON": json.dumps,
    "spread JSON": lambda value: json.dumps(value, indent=1),
    "escaped JSON": lambda value: json.dumps(json.dumps(value)),
    "sentence": lambda value: f"The record is {json.dumps(value)} as of today, and that is all.",
    "broken JSON": lambda value: json.dumps(value)[:-1],
    "repeated key": lambda value: f'{{"r": {json.dumps(value)}, "r": 1}}',
    "Python": repr,
    "pair": lambda value: {"name": "record", "value": value},
    "item": lambda value: [{"type": "text", "text": value if isinstance(value, str) else json.dumps(value)}],
    "code": lambda value: f"```json\n{json.dumps(value, indent=2)}\n```",
    "XML": lambda value: f"<record>{json.dumps(value)}</record>",
}
HOLDERS = [
    lambda name, value: {name: value},
    lambda name, value: {"id": 7, name: {"street": value, "list": [value]}},
    lambda name, value: {"columns": ["id", name], "rows": [[7, value]]},
    lambda name, value: [[name], [value]],
    lambda name, value: {"label": name, "value": value},
    lambda name, value: {"label": name, "shown as": [value]},
    lambda name, value: lines({"id": "7", name: value}),
    lambda name, value: lines({"id": "7", name: {"street": value}}),
    lambda name, value: table({"id": 7, name: value}),
    lambda name, value: f"<{name}>{value}</{name}>",
    lambda name, value: f"{name}\n\n{value}",
    lambda name, value: f"| {name} | {value} |",
]
SPELLINGS = ["billing_address", "billingAddress", "Billing-Address", "BILLING ADDRESS", "customer.billing_address"]
MARKER = "Zq81marker"


@given(st.sampled_from(SPELLINGS), st.sampled_from(HOLDERS), st.lists(st.sampled_from(sorted(WRAPPINGS)), max_size=6))
def test_whatever_the_value_is_nested_in_it_never_comes_out(name, holder, wrappings):
    value = holder(name, MARKER)
    for wrapping in wrappings:
        value = WRAPPINGS[wrapping](value)
    once = Redactor([FieldPolicy("personal", FIELDS)]).value(value)
    assert MARKER not in json.dumps(once)
    assert Redactor([FieldPolicy("personal", FIELDS)]).value(once) == once


@given(
    st.recursive(
        st.text(max_size=12) | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_what_names_no_field_is_unchanged(value):
    redactor = FieldRedactor(["zzzqqqzzz"])
    assert redactor.value(value) == value
    assert not redactor.hits


def encoded(words):
    return base64.b64encode(words.encode()).decode()


UNREAD = {
    "an embedded file": {"type": "resource", "resource": {"uri": "a:1", "blob": encoded(f"billing_address: {VALUE}")}},
    "an image": {"type": "image", "mimeType": "image/png", "data": encoded(f"billing_address: {VALUE}")},
}


@pytest.mark.parametrize("kind", UNREAD)
def test_content_that_is_not_text_is_withheld_under_a_policy(echo, fake, kind):
    services.set_dlp_policy(actor=echo.admin, name="personal", fields=list(FIELDS), selector="up")
    fake.reply = lambda _name, _arguments: {"content": [UNREAD[kind], {"type": "text", "text": "id 7"}]}
    response = echo.call("helper", "up.echo", text="x")
    assert response.state is CallState.SUCCEEDED
    assert response.result.content == [{"type": "text", "text": NOT_TEXT}, {"type": "text", "text": "id 7"}]
    assert detail(echo.events(Event.POLICY_VIOLATION)[0])["withheld"] == [NOT_TEXT]


def test_content_that_is_not_text_passes_where_no_policy_hides_a_field(echo, fake):
    fake.reply = lambda _name, _arguments: {"content": [UNREAD["an image"]]}
    assert echo.call("helper", "up.echo", text="x").result.content == [UNREAD["an image"]]


def test_a_table_is_withheld_with_a_word_to_the_caller_and_an_event(echo, fake):
    """The answer says that something was withheld; the log says by which policy, and for which field."""
    services.set_dlp_policy(actor=echo.admin, name="personal", fields=list(FIELDS), selector="up")
    fake.reply = lambda _name, _arguments: text(
        f"id,billing_address\n1,{VALUE}", structuredContent={"columns": ["billing_address"], "rows": [[VALUE]]}
    )
    call_id = uuid7()
    request = CallRequest(call_id=call_id, call_key=f"key-{call_id}", tool="up.echo", arguments={"text": "x"})
    with echo.http("helper") as client:
        answer = client.post("/call", json=request.to_json())
    assert VALUE.encode() not in answer.content
    result = answer.json()["result"]
    assert result["content"] == [{"type": "text", "text": WITHHELD}]
    assert result["structured_content"] == {"withheld": WITHHELD}
    (event,) = echo.events(Event.POLICY_VIOLATION)
    said = detail(event)
    assert (said["rule"], said["action"], said["withheld"]) == ("personal", "withhold", [WITHHELD])
    assert said["fields"] == {"billing_address": 2}


def test_arguments_that_cannot_be_redacted_in_part_are_not_sent(echo, fake):
    services.set_dlp_policy(actor=echo.admin, name="outbound", fields=["iban"], direction="input")
    response = echo.call("helper", "up.echo", text="name,iban\nx,SE35 5000")
    assert (response.state, response.rule) == (CallState.BLOCKED, "dlp.not_understood")
    assert not fake.calls
    assert detail(echo.events(Event.POLICY_VIOLATION)[0])["fields"] == {"iban": 1}


def test_a_value_too_large_to_be_searched_is_withheld():
    value = FieldRedactor(FIELDS).value(["x" * 1000] * 2000)
    assert value == TOO_LARGE
