"""What leaves the gateway towards an agent: policy fields are gone from every byte, wherever the server put them (M060-M063)."""

import json

import pytest

from audit.taxonomy import Event
from gateway import services
from gateway.contract import CallRequest, CallState
from provenance.ids import uuid7
from tests.fakes.mcp_server import text
from tests.gateway.world import SECRET, detail

FIELDS = ["billing_address", "payment_method"]
# Neither can stand in a random id or a digest.
VALUES = ("17 Harbor Lane", "ends in 4242")


@pytest.fixture
def policy(echo):
    return services.set_dlp_policy(actor=echo.admin, name="personal", fields=FIELDS, selector="up")


def raw_answer(world, **arguments):
    """The bytes of the answer to one call."""
    call_id = uuid7()
    request = CallRequest(call_id=call_id, call_key=f"key-{call_id}", tool="up.echo", arguments=arguments)
    with world.http("helper") as client:
        return client.post("/call", json=request.to_json()).content


SHAPES = [
    {"structuredContent": {"account": {"billing_address": {"street": VALUES[0]}, "id": 7}}},
    {"structuredContent": {"rows": [{"payment_method": VALUES[1]}, {"paymentMethod": [VALUES[1]]}], "id": 7}},
    text(json.dumps({"billing_address": VALUES[0], "id": 7})),
    text(f"Account 7\nBilling address: {VALUES[0]}\nPayment-Method = card {VALUES[1]}"),
    text(f"Billing address:\n{VALUES[0]}\nSmalltown\n\nid 7"),
    text(f"The record is {json.dumps({'a': {'payment_method': VALUES[1]}})} as of today, id 7."),
    text(json.dumps({"note": json.dumps({"billing_address": VALUES[0]}), "id": 7})),
    text(f'{{"billing\\u005faddress": "{VALUES[0]}", "id": 7}}'),
    {"content": [{"type": "resource", "resource": {"uri": "a:7", "text": f"billing_address: {VALUES[0]}"}}]},
    {"structuredContent": {"fields": [{"name": "billing_address", "value": VALUES[0]}], "id": 7}},
]


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
def test_a_policy_field_is_in_no_byte_that_leaves(echo, fake, policy, shape):
    fake.reply = lambda _name, _arguments: {"content": [], **shape}
    answer = raw_answer(echo, text="x")
    assert not any(value.encode() in answer for value in VALUES), answer
    assert b"redacted" in answer
    assert b"7" in answer  # what no policy names stays
    (event,) = echo.events(Event.POLICY_VIOLATION)
    said = detail(event)
    assert (said["rule"], said["direction"]) == ("personal", "output")
    assert sum(said["fields"].values()) >= 1
    assert not any(value in json.dumps(said) for value in VALUES)


def test_a_policy_of_another_server_changes_nothing(echo, fake):
    services.set_dlp_policy(actor=echo.admin, name="personal", fields=FIELDS, selector="crm")
    fake.reply = lambda _name, _arguments: text(f"billing_address: {VALUES[0]}")
    assert VALUES[0].encode() in raw_answer(echo, text="x")
    assert not echo.events(Event.POLICY_VIOLATION)


def test_fields_are_withheld_from_what_goes_to_the_server(echo, fake):
    services.set_dlp_policy(actor=echo.admin, name="outbound", fields=["iban"], direction="input")
    echo.call("helper", "up.echo", text='{"iban": "SE35 5000"}')
    assert "SE35" not in json.dumps(fake.sent)
    assert detail(echo.events(Event.POLICY_VIOLATION)[0])["direction"] == "input"


def test_a_blocking_policy_refuses_the_call(echo, fake):
    services.set_dlp_policy(actor=echo.admin, name="never", fields=["iban"], direction="input", action="block")
    response = echo.call("helper", "up.echo", text="iban: SE35 5000")
    assert (response.state, response.rule) == (CallState.BLOCKED, "dlp.blocked")
    assert not fake.calls


def test_the_example_crm_shows_an_agent_no_address_and_no_payment_method(world, examples):
    """The contract's own example: nested in the account and in each of its contacts."""
    crm = examples["crm"]
    world.add_server("crm", crm.url, token=crm.token)
    world.review("crm.getAccount")
    world.add_agent("account-research", ["crm.getAccount"])
    world.grant("account-research", "crm.getAccount")
    services.set_dlp_policy(actor=world.admin, name="personal", fields=FIELDS, selector="crm")
    account_id = crm.read("searchAccounts", query="a")["accounts"][0]["account_id"]
    account = crm.read("getAccount", account_id=account_id)
    hidden = [leaf for field in FIELDS for leaf in leaves(found(account, field)) if len(leaf) > 3]
    assert hidden
    response = world.call("account-research", "crm.getAccount", account_id=account_id)
    assert response.state is CallState.SUCCEEDED, response
    shown = json.dumps(response.result.to_json(), ensure_ascii=False)
    kept = json.dumps(without(account, FIELDS), ensure_ascii=False)
    assert [leaf for leaf in hidden if leaf in shown and leaf not in kept] == []
    assert {redaction.field for redaction in response.redactions} == set(FIELDS)
    assert response.result.structured_content == json.loads(response.result.text)


def test_the_injected_credential_is_cut_out_of_the_answer(echo, fake):
    """A server that echoes the credential gives it to nobody (gateway.md 5, row 10)."""
    import base64
    import urllib.parse

    forms = [
        SECRET,
        base64.b64encode(f"Bearer {SECRET}".encode()).decode(),
        urllib.parse.quote(SECRET),
        SECRET.encode().hex(),
    ]
    fake.reply = lambda _name, _arguments: text(*forms, structuredContent={"debug": {SECRET: SECRET}})
    answer = raw_answer(echo, text="x")
    assert SECRET.encode() not in answer
    assert base64.b64encode(SECRET.encode())[4:-4] not in answer
    assert SECRET.encode().hex().encode() not in answer
    assert echo.events(Event.SECRET_LEAK_DETECTED)


def found(value, field):
    """Every value of a field, at any depth."""
    if isinstance(value, dict):
        return [item for key, item in value.items() if key == field] + [
            deeper for item in value.values() for deeper in found(item, field)
        ]
    return [deeper for item in value for deeper in found(item, field)] if isinstance(value, list) else []


def without(value, fields):
    if isinstance(value, dict):
        return {key: without(item, fields) for key, item in value.items() if key not in fields}
    return [without(item, fields) for item in value] if isinstance(value, list) else value


def leaves(value):
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [str(value)]
