"""A client of c2sp.org/tlog-tiles that shares no code with the log: it fetches everything and recomputes the root."""

import base64
import gzip
import hashlib
from collections.abc import Callable

Fetch = Callable[[str], bytes]


class Broken(AssertionError):
    """What was fetched does not fit together."""


def fsck(fetch: Fetch, *, with_entries: bool = True) -> tuple[str, int, bytes, list[bytes]]:
    """Origin, size and root of the log behind `fetch(path)`, and its entries, with every tile checked."""
    origin, size_text, root_text, *_ = fetch("checkpoint").decode().split("\n")
    size, root = int(size_text), base64.b64decode(root_text)
    levels = [hashes(fetch, 0, size)]
    while len(levels[-1]) >= 256:
        below = levels[-1]
        above = [mth(below[start : start + 256]) for start in range(0, len(below) // 256 * 256, 256)]
        served = hashes(fetch, len(levels), len(above))
        if served != above:
            raise Broken(f"level {len(levels)} is not the roots of the level below")
        levels.append(served)
    if mth(levels[0]) != root:
        raise Broken("the tiles do not lead to the root of the checkpoint")
    entries = list(bundled(fetch, size)) if with_entries else []
    for index, entry in enumerate(entries):
        if hashlib.sha256(b"\0" + entry).digest() != levels[0][index]:
            raise Broken(f"entry {index} is not the leaf of its tile")
    return origin, size, root, entries


def hashes(fetch: Fetch, level: int, count: int) -> list[bytes]:
    data = b"".join(fetch(f"tile/{level}/{place}") for place in places(count))
    if len(data) != 32 * count:
        raise Broken(f"level {level} has {len(data)} bytes for {count} hashes")
    return [data[start : start + 32] for start in range(0, len(data), 32)]


def bundled(fetch: Fetch, count: int):
    for place in places(count):
        data = fetch(f"tile/entries/{place}")
        while data:
            length = int.from_bytes(data[:2], "big")
            if len(data) < 2 + length:
                raise Broken(f"a bundle ends inside an entry of {place}")
            yield data[2 : 2 + length]
            data = data[2 + length :]


def places(count: int) -> list[str]:
    """`<N>` of every full tile, and `<N>.p/<W>` of the last when it is partial."""
    full, rest = divmod(count, 256)
    return [spelled(number) for number in range(full)] + ([f"{spelled(full)}.p/{rest}"] if rest else [])


def spelled(number: int) -> str:
    """1234067 is x001/x234/067."""
    text = f"{number % 1000:03d}"
    while number := number // 1000:
        text = f"x{number % 1000:03d}/{text}"
    return text


def mth(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1 over leaf hashes, as the RFC says it."""
    if len(leaves) == 1:
        return leaves[0]
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return hashlib.sha256(b"\1" + mth(leaves[:middle]) + mth(leaves[middle:])).digest()


def over_rest(client, address: str) -> Fetch:
    """`fetch` through a client of the tests; whatever is not 200 is broken."""

    def fetch(path: str) -> bytes:
        answer = client.get(f"{address}/{path}", headers={"Accept-Encoding": "gzip, identity"})
        if answer.status_code != 200:
            raise Broken(f"{path}: {answer.status_code} {answer.content[:200]!r}")
        return gzip.decompress(answer.content) if answer.get("Content-Encoding") == "gzip" else answer.content

    return fetch
