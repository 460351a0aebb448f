"""A server that gives the injected credential back, dressed up so that nobody finds it (gateway.md 5, row 10; T02)."""

import base64
import gzip
import json
import zlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.taxonomy import Event
from gateway.contract import CallState
from provenance.dlp.engine import Redactor
from provenance.dlp.secrets import CUT, SecretCutter
from tests.fakes.mcp_server import text
from tests.gateway.world import SECRET

RAW = SECRET.encode()
HEX = RAW.hex()


def b64(data):
    return base64.b64encode(data).decode()


DRESSES = {
    "base64 twice": b64(b64(RAW).encode()),
    "base64 of hexadecimal": b64(HEX.encode()),
    "hexadecimal of base64": b64(RAW).encode().hex(),
    "base32": base64.b32encode(RAW).decode(),
    "base85": base64.b85encode(RAW).decode(),
    "Ascii85": base64.a85encode(RAW).decode(),
    "compressed": b64(gzip.compress(RAW)),
    "compressed otherwise": b64(zlib.compress(RAW)),
    "compressed, in hexadecimal": gzip.compress(RAW).hex(),
    "compressed with more": b64(gzip.compress(b"the key is " + RAW + b", yes")),
    "UTF-16": b64(SECRET.encode("utf-16le")),
    "percent signs": "".join(f"%{byte:02x}" for byte in RAW),
    "percent signs twice": quote("".join(f"%{byte:02X}" for byte in RAW)),
    "entities": "".join(f"&#{byte};" for byte in RAW),
    "hexadecimal entities": "".join(f"&#x{byte:x};" for byte in RAW),
    "escapes": "".join(f"\\u{byte:04x}" for byte in RAW),
    "byte escapes": "".join(f"\\x{byte:02x}" for byte in RAW),
    "full width": "".join(chr(byte + 0xFEE0) for byte in RAW),
    "spaces": " ".join(SECRET),
    "spaces in hexadecimal": " ".join(HEX[at : at + 2] for at in range(0, len(HEX), 2)),
    "lines": "\n".join([b64(RAW)[:9], b64(RAW)[9:]]),
    "reversed": SECRET[::-1],
    "capitals": SECRET.upper(),
    "mixed hexadecimal": HEX[:9].upper() + HEX[9:],
}


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("around", ["{}", "x {} y", "debug={};", "The answer, as asked for: {} and nothing else."])
def test_a_dressed_up_secret_is_cut(dress, around):
    redactor = Redactor(secrets=[RAW])
    spelled = around.format(DRESSES[dress])
    shown = redactor.value({"a": [spelled], "b": "kept"})
    assert CUT in shown["a"][0]
    assert DRESSES[dress] not in shown["a"][0]
    assert shown["b"] == "kept"
    assert redactor.findings().secrets >= 1


@pytest.mark.parametrize("dress", DRESSES)
def test_through_the_gateway_it_reaches_nobody(echo, fake, dress):
    fake.reply = lambda _name, _arguments: text(f"x {DRESSES[dress]} y", "kept")
    response = echo.call("helper", "up.echo", text="x")
    assert response.state is CallState.SUCCEEDED
    assert DRESSES[dress] not in response.result.text
    assert "kept" in response.result.text
    assert echo.events(Event.SECRET_LEAK_DETECTED)


SPREAD = {
    "two items": text(SECRET[:11], SECRET[11:]),
    "many items": text(*SECRET),
    "encoded, over two items": text(b64(RAW)[:13], b64(RAW)[13:]),
    "structured": {"content": [], "structuredContent": {"a": SECRET[:11], "b": SECRET[11:]}},
    "keys": {"content": [], "structuredContent": {SECRET[:11]: "", SECRET[11:]: ""}},
}


@pytest.mark.parametrize("way", SPREAD)
def test_a_secret_spread_over_several_texts_takes_them_all_with_it(echo, fake, way):
    fake.reply = lambda _name, _arguments: SPREAD[way]
    response = echo.call("helper", "up.echo", text="x")
    shown = json.dumps(response.result.to_json())
    assert CUT in shown
    assert SECRET[11:] not in shown
    assert echo.events(Event.SECRET_LEAK_DETECTED)


def test_what_is_not_shown_is_dropped_at_any_depth(echo, fake):
    """`_meta` reaches no person and no model, so nothing in it is ever checked."""
    resource = {"uri": "a:b", "text": "kept", "_meta": {"x": "unseen"}, "more": [{"_meta": "unseen", "y": 1}]}
    fake.reply = lambda _name, _arguments: {"content": [{"type": "resource", "resource": resource, "_meta": "unseen"}]}
    response = echo.call("helper", "up.echo", text="x")
    assert response.result.content == [
        {"type": "resource", "resource": {"uri": "a:b", "text": "kept", "more": [{"y": 1}]}}
    ]


@given(
    st.recursive(
        st.text(max_size=60) | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_what_hides_no_secret_is_not_cut(value):
    assert not SecretCutter([RAW]).is_hidden_in(json.dumps(value))


@given(st.text(max_size=40), st.text(max_size=40), st.lists(st.sampled_from(["base64", "hex", "gzip"]), max_size=2))
def test_two_layers_are_looked_through_whatever_stands_around(before, after, layers):
    data = f"{before}{SECRET}{after}".encode()
    for layer in layers:
        packed = gzip.compress(data) if layer == "gzip" else data
        data = (packed.hex() if layer == "hex" else b64(packed)).encode()
    assert SecretCutter([RAW]).is_hidden_in(data.decode())
