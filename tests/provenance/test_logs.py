"""Log lines hold no secrets."""

import json
import logging
import logging.config

import pytest
import structlog

from provenance.logs import REDACTED, logging_settings, redact, redact_text

KEY = "prov_AbCdEf12_0123456789abcdefghijklmnopqrstuv_AbC123"


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        f"GET /x?key={KEY}",
        KEY[:30],
        "Authorization: Bearer abcdefgh12345678",
        "postgresql://prov_web:hunter2-very-secret@/provenance",
        "/invitations/abcdefghijklmnop_12345/",
        "/setup/abcdefghijklmnop-12345/",
    ],
)
def test_a_secret_inside_a_text_is_taken_out(text):
    cleaned = redact_text(text)
    assert REDACTED in cleaned
    for secret in ("0123456789abcdef", "abcdefgh12345678", "hunter2", "abcdefghijklmnop"):
        assert secret not in cleaned


@pytest.mark.parametrize(
    "text", ["run_01hzy", "https://example.com/a/b", "prov_web", "a plain sentence", "/w/northwind/keys/"]
)
def test_ordinary_text_stays(text):
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "name", ["password", "new_password", "X-API-Key", "api_key", "Authorization", "cookie", "client_secret", "token"]
)
def test_a_value_under_a_telling_name_is_taken_out(name):
    assert redact(None, "", {"a": {"b": [{name: "x"}]}}) == {"a": {"b": [{name: REDACTED}]}}


def test_both_ways_to_log_and_tracebacks_pass_the_same_point(capsys):
    logging.config.dictConfig(logging_settings("INFO"))
    try:
        structlog.get_logger("ours").info("opened", password="x", detail=f"with {KEY}")
        logging.getLogger("theirs").warning("called with %s", KEY)
        try:
            _fail()
        except ValueError:
            structlog.get_logger("ours").exception("broke")
    finally:
        logging.getLogger().handlers.clear()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 3
    assert "0123456789abcdef" not in str(lines)
    assert lines[0]["password"] == REDACTED
    assert "ValueError" in lines[2]["exception"]


def _fail():
    raise ValueError(f"failed with {KEY}")
