"""Bundles that nobody would think of: some members of a good one changed at random, often with all that must fit made to fit.

A number is a whole case: the same one makes the same bundle again.
"""

import hashlib
import json
import random

from tests.vectors import make_bundles

SOURCES = ("whole", "filtered", "expired", "part", "rotated", "instance", "continued")
# What a reader may take for something else, or choke on.
VALUES = (
    *(None, True, False, -1, 0, 1, 3, 12, 13, 14, 1.0, 1.5, -0.0, 1e300, 2**53 - 1, 2**53, 2**64, 10**30),
    *(
        "",
        "x",
        "0",
        "3",
        "-1",
        "\0",
        "\u0663",
        "null",
        "instance",
        "web-1",
        "webx",
        "web-01",
        "0" * 8,
        "0" * 64,
        "F" * 64,
    ),
    *(
        "a b",
        "\ud800",
        "\udfff\ud800",
        "\U0001f600",
        "\u2028",
        "\\u0000",
        "\x7f",
        "2026-02-30T00:00:00Z",
        "2026-11-30T24:00:00Z",
    ),
    *(
        "2026-11-30T09:00:00.000000Z",
        "2026-11-30T09:00:00Z",
        "2026-11-30T09:00:00+00:00",
        "20261130T090000Z",
        "2040-01-01T00:00:00Z",
    ),
    *([], {}, [[]], [1], ["x"], [None], {"a": 1}, {"a": {"a": {}}}, ["0" * 64], {"__proto__": 1}),
)


def mutated(number, sources):
    """The name of the source and the members of the changed bundle. `sources`: the members of each good one."""
    chance = random.Random(number)  # noqa: S311  the same cases each time
    name = chance.choice(SOURCES)
    files = dict(sources[name])
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        chance.choice((_lines, _lines, _body, _body, _manifest, _text, _bytes))(chance, files)
    if chance.random() < 0.7:
        _fit(files)
    return name, files


def is_another(files, source):
    """Whether the bundle says something else than the good one, apart from what only its manifest can say."""
    return {name: _meaning(name, data) for name, data in files.items()} != {
        name: _meaning(name, data) for name, data in source.items()
    }


def _meaning(name, data):
    if name == "MANIFEST.json" and (manifest := _parsed(data)) and isinstance(manifest, dict):
        return manifest | dict.fromkeys(("files", "created_at", "sealed_at", "filters"))
    if name.endswith(".jsonl"):
        parsed = [_parsed(line) for line in data.splitlines()]
        return data if {} in parsed or len({len(line) for line in parsed}) > 9 else parsed
    return {*data.splitlines()} if name == "checkpoint" else data  # a signature may stand there twice


def _lines(chance, files):
    """A line, or a value of it."""
    member = chance.choice(("events.jsonl", "events.jsonl", "details.jsonl"))
    lines = files[member].splitlines(keepends=True)
    if not lines:
        return
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(8):
        case 0:
            lines.pop(at)
        case 1:
            lines.insert(other, lines[at])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines[at] = lines[at].replace(
                b'"idx":', b'"idx":' + chance.choice((b"1", b"0", b" ", b"-", b"\xd9\xa3")), 1
            )
        case 4:
            lines[at] = lines[at].replace(
                b",", chance.choice((b", ", b",,", b',"x":1,', b',"idx":3,')), chance.randrange(1, 4)
            )
        case 5:
            cut = chance.randrange(1, len(lines)) if len(lines) > 1 else 1
            lines = chance.choice((lines[cut:], lines[:cut]))
        case _:
            line = _parsed(lines[at])
            _change(chance, line)
            lines[at] = _dumped(chance, line) + b"\n"
    files[member] = b"".join(lines)


def _body(chance, files):
    """A signed text, half of the time signed anew and with its hint."""
    lines = files["events.jsonl"].splitlines()
    chosen = [at for at, line in enumerate(lines) if b'"body"' in line]
    line = _parsed(lines[at := chance.choice(chosen)]) if chosen else {}
    if not isinstance(line.get("body"), str):
        return
    if chance.random() < 0.5:
        body = _parsed(line["body"])
        part = chance.choice(
            (body, body, *(body[name] for name in ("actor", "object", "context") if isinstance(body.get(name), dict)))
        )
        _change(chance, part)
        line["body"] = (
            _dumped(chance, body).decode("utf-8", "surrogatepass") if chance.random() < 0.2 else _canonical(body)
        )
    else:
        old, new = chance.choice(
            (
                (":", ": "),
                ("{", "{ "),
                ("\\\\", "\\u005c"),
                ('"agent"', '"\\u0061gent"'),
                ("}", ',"v":1}'),
                ("\\t", "\\u0009"),
                ("0", "00"),
                ("tests", "te\\\\u0000sts"),
                ("tests", "te\tsts"),
                ("success", "Success"),
            )
        )
        line["body"] = line["body"].replace(old, new, 1)
    if chance.random() < 0.6:
        text = line["body"].encode("utf-8", "replace")
        key = make_bundles.RING.key(
            str(line.get("kid")), None if b'"workspace":null' in text else make_bundles.WORKSPACE
        )
        mac = key.mac(text) if key else bytes(32)
        line |= {"mac": mac.hex(), "leaf": make_bundles.sha256(b"\x00provenance-audit-v1\n", text, mac).hex()[:8]}
    lines[at] = json.dumps(line, separators=(",", ":"), ensure_ascii=chance.random() < 0.3).encode(
        "utf-8", "surrogatepass"
    )
    files["events.jsonl"] = b"".join(line + b"\n" for line in lines)


def _manifest(chance, files):
    manifest = _parsed(files["MANIFEST.json"])
    parts = (
        [manifest, *(value for value in manifest.values() if isinstance(value, dict))]
        if isinstance(manifest, dict)
        else []
    )
    if parts:
        _change(chance, chance.choice(parts))
        files["MANIFEST.json"] = _dumped(chance, manifest)


def _text(chance, files):
    """A line of a small member: gone, twice, exchanged, or with another character."""
    name = chance.choice(("range.proof", "checkpoint", "rotations", "consistency.proof"))
    if lines := files.get(name, b"").splitlines(keepends=True):
        at = chance.randrange(len(lines))
        where = chance.randrange(len(lines[at]))
        new = chance.choice(
            (
                b"",
                lines[at] * 2,
                lines[at][:where]
                + chance.choice((b"0", b"A", b" ", b"=", b"\n", b"\xe2\x80\x94"))
                + lines[at][where + 1 :],
            )
        )
        lines[at] = new
        files[name] = b"".join(lines)


def _bytes(chance, files):
    name = chance.choice([name for name, data in files.items() if data])
    data = bytearray(files[name])
    for _ in range(chance.choice((1, 2))):
        data[chance.randrange(len(data))] = chance.choice((0, 10, 32, 34, 48, 92, 128, 255, chance.randrange(256)))
    files[name] = bytes(data)


def _change(chance, values):
    """Another value, one less, or one more."""
    if not isinstance(values, dict) or not values:
        return
    name, value = chance.choice([*values]), chance.choice(VALUES)
    match chance.randrange(6):
        case 0:
            del values[name]
        case 1:
            values[chance.choice(("more", "columns", "sanitized", "body_base64", "continues", "step"))] = value
        case 2:
            values["columns"] = {chance.choice(("action", "object.rev", "risk", "context.run_id", "x")): value}
        case _:
            values[name] = value


def _fit(files):
    """What the manifest says of the others, as a careful forger would have it."""
    manifest = _parsed(files["MANIFEST.json"])
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        return
    manifest["files"] = {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != "MANIFEST.json"
    }
    manifest["events"] = sum(b'"body":' in line for line in files["events.jsonl"].splitlines())
    manifest["details"] = files["details.jsonl"].count(b"\n")
    files["MANIFEST.json"] = json.dumps(manifest).encode()


def _parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return {}


def _canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _dumped(chance, value):
    """As JSON, sometimes with a key twice or in another form."""
    form = {"separators": (",", ":"), "ensure_ascii": chance.random() < 0.5}
    text = json.dumps(value, **form)
    if chance.random() < 0.2 and text.endswith("}") and len(text) > 2:
        name, first = next(iter(value.items()))
        text = f"{text[:-1]},{json.dumps(name)}:{json.dumps(first)}}}"
    return text.encode("utf-8", "surrogatepass")
