"""The example servers as processes: doors, protocol, files."""

import json
import stat
import subprocess
import sys

import httpx2
import pytest

from tests.examples.processes import NAMES, ROOT, Endpoint, count, example_servers, started

EXPECTED = {
    "erp": {"getVendor", "listInvoices", "updateVendorTerms", "verifyTermsUpdate", "exportLedger"},
    "crm": {"getAccount", "searchAccounts", "listContacts", "updateAccount"},
    "docs": {"searchDocuments", "getDocument"},
}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("name", NAMES)
def test_the_official_client_sees_the_tools_in_both_protocol_eras(servers, name, mode):
    tools = servers[name].tools(mode=mode)
    assert set(tools) == EXPECTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_input_schema_is_closed_and_every_tool_says_whether_it_changes_something(servers, name):
    for tool in servers[name].tools().values():
        assert tool.input_schema["additionalProperties"] is False
        assert tool.description
        changes = tool.name in {"updateVendorTerms", "updateAccount"}
        assert tool.annotations.read_only_hint is not changes


@pytest.mark.parametrize("header", [None, "Bearer wrong-token-wrong-token", "Basic abc", "Bearer"])
@pytest.mark.parametrize("name", NAMES)
def test_without_its_own_token_a_server_answers_401(servers, name, header):
    """T20: example servers need a token."""
    headers = {"Authorization": header} if header else {}
    answer = httpx2.post(servers[name].url, json=PING, headers={**ACCEPT, **headers})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_token_of_one_server_opens_no_other(erp, crm):
    answer = httpx2.post(erp.url, json=PING, headers={**ACCEPT, "Authorization": f"Bearer {crm.token}"})
    assert answer.status_code == 401


def test_a_page_that_resolves_its_own_name_to_loopback_is_refused(erp):
    """T20: exact Host list."""
    headers = {**ACCEPT, "Authorization": f"Bearer {erp.token}", "Host": "attacker.example"}
    assert httpx2.post(erp.url, json=PING, headers=headers).status_code == 421


def test_healthz_needs_no_token_and_tells_nothing(erp):
    answer = httpx2.get(erp.url.replace("/erp/mcp", "/healthz"))
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("name", "tool", "arguments"),
    [
        ("erp", "getVendor", {"vendor_id": "V-10201"}),
        ("crm", "getAccount", {"account_id": "ACC-20401"}),
        ("docs", "getDocument", {"document_id": "CON-4789"}),
    ],
)
def test_text_and_structure_of_an_answer_are_the_same_json(servers, name, tool, arguments):
    result = servers[name].call(tool, **arguments)
    assert json.loads(result.content[0].text) == result.structured_content


def test_databases_hold_a_few_hundred_rows_and_only_their_owner_reads_them(servers):
    assert count(servers["erp"], "vendor") == 40
    assert count(servers["erp"], "invoice") == 320
    assert count(servers["crm"], "contact") == 120
    assert count(servers["docs"], "document") > 150
    for server in servers.values():
        assert stat.S_IMODE(server.database.stat().st_mode) == 0o600


def test_every_machine_seeds_the_same_rows_and_a_restart_keeps_what_changed(tmp_path, erp):
    vendor = {"vendor_id": "V-10205"}
    change = {
        **vendor,
        "payment_terms": "NET15",
        "effective_from": "2027-02-01",
        "reference": "CON-1",
        "idempotency_key": "restart-1",
    }
    with example_servers(tmp_path) as first:
        assert first["erp"].read("getVendor", **vendor) == erp.read("getVendor", **vendor)
        first["erp"].read("updateVendorTerms", **change)
    with example_servers(tmp_path) as second:
        assert second["erp"].read("getVendor", **vendor)["payment_terms"] == "NET15"
        assert count(second["erp"], "ledger") == 1


@pytest.mark.parametrize("name", NAMES)
def test_each_server_starts_alone(tmp_path, name):
    (tmp_path / "token").write_text("a-token-of-its-own-123\n")
    database = tmp_path / "deep" / "alone.sqlite3"
    arguments = ("--port", "0", "--database", str(database), "--token-file", str(tmp_path / "token"))
    with started(f"examples.{name}", *arguments) as url:
        assert set(Endpoint(f"{url}/mcp", "a-token-of-its-own-123", database).tools()) == EXPECTED[name]


@pytest.mark.parametrize(
    ("token", "sentence"), [(None, "cannot read the token file"), ("", "fewer than 16"), ("short", "fewer than 16")]
)
def test_without_a_token_worth_the_name_nothing_starts(tmp_path, token, sentence):
    if token is not None:
        (tmp_path / "token").write_text(token)
    assert sentence in _fails(
        "examples.erp", "--port", "0", "--database", tmp_path / "x", "--token-file", tmp_path / "token"
    )


def test_a_taken_port_is_named_with_what_to_do(tmp_path, erp):
    (tmp_path / "token").write_text("a-token-of-its-own-123")
    port = httpx2.URL(erp.url).port
    said = _fails("examples.docs", "--port", port, "--database", tmp_path / "x", "--token-file", tmp_path / "token")
    assert f"127.0.0.1:{port}" in said
    assert "--port" in said


def _fails(module, *arguments):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    return ended.stderr
