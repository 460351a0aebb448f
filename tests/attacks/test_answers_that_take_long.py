"""Answers made to be slow to read: the call that asked for them pays, the gateway goes on serving everybody else (M063, G15)."""

import asyncio
import threading
import time

import httpx2
import pytest

from gateway import services, upstream
from gateway.contract import CallState
from gateway.errors import UpstreamError
from provenance.dlp.fields import MOST_WORK, FieldRedactor
from tests.fakes.mcp_server import text

FIELDS = ["billing_address", "payment_method"]
# Far above what a loop that is not blocked takes, also on a machine that does much else; the attacks took 5 to 52 seconds.
PATIENCE_SECONDS = 2.0

SLOW = {
    "brackets that never close": "billing_address:x\n" + ("[" + "1," * 20_000) * 180,
    "broken lists": "billing_address:x\n" + '[1,{"a":' * 700_000,
    "many small objects": "billing_address:x\n" + '{"a":1} ' * 650_000,
    "many lines": "billing_address: x\n" * 400_000,
}


@pytest.mark.parametrize("shape", SLOW)
def test_a_result_that_is_slow_to_read_holds_up_nobody_else(echo, fake, shape):
    services.set_dlp_policy(actor=echo.admin, name="personal", fields=FIELDS, selector="up")
    fake.reply = lambda _name, _arguments: text(SLOW[shape])
    done = threading.Event()
    waits = []

    def ask_how_it_is():
        while not done.is_set():
            began = time.monotonic()
            httpx2.get(echo.url + "/healthz", timeout=60)
            waits.append(time.monotonic() - began)
            done.wait(0.02)

    asking = threading.Thread(target=ask_how_it_is)
    asking.start()
    try:
        response = echo.call("helper", "up.echo", text="x")
    finally:
        done.set()
        asking.join()
    assert response.state is CallState.SUCCEEDED
    assert "withheld" in response.result.text
    assert max(waits) < 2 * PATIENCE_SECONDS


WORST = {
    **SLOW,
    "one line of names": "billing_address " * 500_000,
    "almost names": "billing addres " * 500_000,
    "separators": "billing" + "_" * 7_000_000,
    "escapes": "\\u0062" * 1_200_000,
    "open texts": '{"a":"' * 1_200_000,
    "accents": "b\u00edlling \u0430ddress " * 400_000,
}


@pytest.mark.parametrize("shape", WORST)
@pytest.mark.parametrize("size", [MOST_WORK - 64, 8 * MOST_WORK])
def test_the_cost_of_reading_has_a_bound(shape, size):
    """Also directly below the size from which nothing is read any more. Processor time of this thread, not the clock."""
    value = {"answer": WORST[shape][:size]}
    began = time.thread_time()
    FieldRedactor(FIELDS).value(value)
    assert time.thread_time() - began < PATIENCE_SECONDS


class Stream:
    """The body of a response that comes in pieces."""

    def __init__(self, piece, count):
        self.piece, self.count = piece, count

    async def aiter_raw(self):
        for _ in range(self.count):
            yield self.piece


def read(stream):
    async def drain():
        return [data async for data in upstream._events(stream)]

    return asyncio.run(drain())


def test_an_event_that_never_ends_is_searched_once():
    began = time.thread_time()
    assert read(Stream(b"d" * 64, 120_000)) == []
    assert time.thread_time() - began < PATIENCE_SECONDS


def test_a_stream_of_endless_events_is_broken_off():
    with pytest.raises(UpstreamError, match="more than 2000 events"):
        read(Stream(b"data:\n\n" * 1000, 1000))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_events_are_the_same_in_whatever_pieces_they_come(size):
    whole = b"data: one\r\n\r\ndata: two\ndata: more\n\n: nothing\r\rdata:three\n\nrest"
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]

    class Pieces:
        async def aiter_raw(self):
            for piece in pieces:
                yield piece

    assert read(Pieces()) == [b"one", b"two\nmore", b"three"]
