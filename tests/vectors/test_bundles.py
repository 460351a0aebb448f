"""Bundles and proofs that stay as they are, and what each verifier must say of them and of what a forger makes of them.

Two verifiers that share nothing, ours in Python and one in JavaScript, agree on every case: a mistake that writer and
verifier share would show (M112, T30; audit.md 4.7, 7.2, 7.11).
"""

import base64
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.audit.bundles import fitting, forged, kinds, members, packed, verified
from tests.vectors import make_bundles, mutations

PLACE = make_bundles.PLACE
NODE = shutil.which("node")


def case(name, key="workspace", **options):
    """The file of a case and the options of the verifier."""
    return {"file": PLACE / name, "key": PLACE / f"{key}.pub", "mac-keys": PLACE / f"{key}.keys"} | options


GOOD = {
    "whole": case("whole.zip"),
    "filtered": case("filtered.zip"),
    "part": case("part.zip", since=PLACE / "older.note"),
    "since": case("whole.zip", since=PLACE / "older.note"),
    "rotated": case("rotated.zip"),
    "instance": case("instance.zip", "instance"),
    "continued": case("continued.zip", "continued", **{"mac-keys": PLACE / "workspace.keys"}),
    "proof": case("event.tlog-proof"),
}


EXPIRED = case("expired.zip")


def erase(files):
    """Take from the last event its detail, of which nothing after it tells."""
    files["details.jsonl"][-1].update(salt=None, body=None, erased_at="2026-11-30T10:00:00Z")


def erase_besides(files):
    """Take from the event at index 3 its detail. The one at 10 tells of erasures, and not of this one."""
    files["details.jsonl"][1].update(salt=None, body=None, erased_at="2026-11-30T10:00:00Z")


def as_exported(files, **changes):
    """Another detail of event 3, its fields in the order in which they are exported, which a reader may know."""
    names = ("idx", "event_id", "salt", "media_type", "erased_at", "body")
    files["details.jsonl"][1] = {name: files["details.jsonl"][1][name] for name in names} | changes


def events(files):
    return files["events.jsonl"]


def swap(files, one, other, *names):
    """Exchange the values of two lines under these names."""
    first, second = events(files)[one], events(files)[other]
    for name in names:
        first[name], second[name] = second[name], first[name]


def set_body(line, **changes):
    """Another signed text, in canonical form."""
    line["body"] = make_bundles.canonical(json.loads(line["body"]) | changes).decode()


def loosened(files, name):
    """The last base64 with other bits where none are read: it decodes to the same bytes."""
    text = files[name].decode()
    digit = text[-3]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    files[name] = (text[:-3] + alphabet[alphabet.index(digit) ^ 1] + text[-2:]).encode()


def re_signed(line, **changes):
    """Another event, with MAC and hint of a forger who holds the MAC keys."""
    set_body(line, **changes)
    body = json.loads(line["body"])
    mac = make_bundles.RING.key(body["kid"], make_bundles.WORKSPACE).mac(line["body"].encode())
    leaf = make_bundles.sha256(b"\x00provenance-audit-v1\n", line["body"].encode(), mac)
    line |= {"kid": body["kid"], "mac": mac.hex(), "leaf": leaf.hex()[:8]}


def expire(files, index, expired):
    """Leave an event out with its hash, and let the manifest tell that it expired."""
    (line,) = [line for line in events(files) if line["idx"] == index]
    events(files).remove(line)
    files["details.jsonl"] = [detail for detail in files["details.jsonl"] if detail["idx"] != index]
    text, mac = line["body"].encode(), bytes.fromhex(line["mac"])
    files["omitted.bin"] += make_bundles.sha256(b"\x00provenance-audit-v1\n", text, mac)
    in_manifest(files, omitted={"expired": expired, "filtered": 0, "missing": 0, "missing_at": []})


def in_manifest(files, /, **changes):
    """Another claim; None takes it away."""
    claimed = json.loads(files["MANIFEST.json"]) | changes
    gone = {name for name, value in changes.items() if value is None}
    files["MANIFEST.json"] = json.dumps({name: claimed[name] for name in claimed.keys() - gone}).encode()


def claims(**changes):
    return lambda files: in_manifest(files, **changes)


def more_of(line, text):
    """A line with something more before its end, as bytes: a parser would hide what it says twice."""
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode()[:-1] + text + b"}\n"


def in_line(index, text):
    def change(files):
        lines = [more_of(line, text if line["idx"] == index else b"") for line in events(files)]
        files["events.jsonl"] = b"".join(lines)

    return change


def without_mldsa(files):
    """The checkpoint with its Ed25519 signature alone, as who breaks Ed25519 could make it."""
    lines = files["checkpoint"].splitlines(keepends=True)
    files["checkpoint"] = b"".join(line for line in lines if len(line) < 1000)


def with_another_mldsa(files):
    """One bit of the ML-DSA-44 signature is another one."""
    *lines, last = files["checkpoint"].decode().splitlines()
    start, code = last.rsplit(" ", 1)
    signature = bytearray(base64.b64decode(code))
    signature[500] ^= 1
    files["checkpoint"] = "".join(
        f"{line}\n" for line in [*lines, f"{start} {base64.b64encode(signature).decode()}"]
    ).encode()


def shifted(files):
    """Two hashes of the proof divided at another place: joined they are the same bytes."""
    *head, one, two = files["range.proof"].decode().splitlines()
    joined = base64.b64decode(one.split()[1]) + base64.b64decode(two.split()[1])
    parts = [f"left {base64.b64encode(part).decode()}" for part in (joined[:31], joined[31:])]
    files["range.proof"] = "".join(f"{line}\n" for line in [*head, *parts]).encode()


def of_another_epoch(files):
    """The bundle of a log that was begun anew, with a checkpoint of the one before."""
    files["checkpoint"] = (PLACE / "older.note").read_bytes()


def replaced(name, old, new):
    return lambda files: files.update({name: files[name].replace(old, new)})


# What is changed in which bundle; of what kind it is; which index is named.
FORGED = {
    "a field of a body": ("whole", lambda f: set_body(events(f)[3], risk="high"), "bad mac", 3),
    "a body with its hint": ("whole", lambda f: re_signed(events(f)[3], risk="high"), "root", None),
    "a mac": ("whole", lambda f: events(f)[3].update(mac="0" * 64), "bad mac", 3),
    "a mac that is none": ("whole", lambda f: events(f)[3].update(mac="zz" * 32), "malformed", 3),
    "a key id": ("whole", lambda f: events(f)[3].update(kid="web-7"), "projection", 3),
    "a hint": ("whole", lambda f: events(f)[3].update(leaf="00000000"), "leaf", 3),
    "a column": ("whole", lambda f: events(f)[3].update(columns={"action": "run.failed"}), "projection", 3),
    "a column deep inside": ("whole", lambda f: events(f)[3].update(columns={"object.id": "b-2"}), "projection", 3),
    "a column of a run": ("whole", lambda f: events(f)[4].update(columns={"context.run_id": "x"}), "projection", 4),
    "an event is gone": ("whole", lambda f: events(f).pop(3), "missing", 3),
    "the first is gone": ("whole", lambda f: events(f).pop(0), "missing", 0),
    "the last is gone": ("whole", lambda f: events(f).pop(), "missing", 12),
    "the tail is cut": ("whole", lambda f: f.update({"events.jsonl": events(f)[:7]}), "missing", 7),
    "all are gone": ("whole", lambda f: f.update({"events.jsonl": []}), "missing", 0),
    "a filtered one is gone": ("filtered", lambda f: events(f).pop(2), "missing", 12),
    "two lines exchanged": ("whole", lambda f: events(f).insert(5, events(f).pop(4)), "order", 4),
    "two events exchanged": ("whole", lambda f: swap(f, 2, 3, "kid", "mac", "body"), "leaf", 2),
    "two with their hints": ("whole", lambda f: swap(f, 2, 8, "kid", "mac", "body", "leaf"), "root", None),
    "an event twice": ("whole", lambda f: events(f).insert(4, events(f)[3]), "order", 3),
    "one too many": ("whole", lambda f: events(f).append(events(f)[-1] | {"idx": 13}), "range", 13),
    "one of another workspace": (
        "whole",
        lambda f: set_body(events(f)[3], workspace=str(make_bundles.UUID(int=1))),
        "projection",
        3,
    ),
    "a float": ("whole", lambda f: set_body(events(f)[3], gap=1.5), "malformed", 3),
    "a negative number": ("whole", lambda f: set_body(events(f)[3], gap=-1), "malformed", 3),
    "a huge number": ("whole", lambda f: set_body(events(f)[3], gap=2**53), "malformed", 3),
    "a field more": ("whole", lambda f: set_body(events(f)[3], more=1), "malformed", 3),
    "another time": ("whole", lambda f: set_body(events(f)[3], at="2020-01-01T00:00:00.000000Z"), "malformed", 3),
    "no time": ("whole", lambda f: set_body(events(f)[3], at="2026-11-30T25:00:00.000000Z"), "malformed", 3),
    "white space": (
        "whole",
        lambda f: events(f)[3].update(body=events(f)[3]["body"].replace('":', '": ', 1)),
        "malformed",
        3,
    ),
    "a needless escape": (
        "whole",
        lambda f: events(f)[3].update(body=events(f)[3]["body"].replace('"agent"', '"\\u0061gent"', 1)),
        "malformed",
        3,
    ),
    "U+0000": ("whole", lambda f: set_body(events(f)[3], on_behalf_of="\0"), "malformed", 3),
    "a key twice": (
        "whole",
        lambda f: events(f)[3].update(body=events(f)[3]["body"][:-1] + ',"workspace":null}'),
        "malformed",
        3,
    ),
    "no body": ("whole", lambda f: events(f)[3].update(body="[" * 5000), "malformed", 3),
    "no mac": ("whole", lambda f: events(f)[3].pop("mac"), "malformed", 3),
    "a person by a worker": (
        "whole",
        lambda f: re_signed(events(f)[3], kid="worker-1", actor={"type": "user", "id": "x", "via": "y"}),
        "wrong signer",
        3,
    ),
    "a lost revision": (
        "whole",
        lambda f: re_signed(events(f)[5], object=json.loads(events(f)[5]["body"])["object"] | {"rev": 9}),
        "revision",
        5,
    ),
    "a revision set back": (
        "filtered",
        lambda f: re_signed(events(f)[2], object=json.loads(events(f)[2]["body"])["object"] | {"rev": 1}),
        "revision",
        5,
    ),
    "an object that nobody made": (
        "filtered",
        lambda f: re_signed(events(f)[0], object=json.loads(events(f)[0]["body"])["object"] | {"op": "update"}),
        "revision",
        1,
    ),
    "an event told twice": (
        "whole",
        lambda f: re_signed(events(f)[7], id=json.loads(events(f)[5]["body"])["id"]),
        "duplicate",
        7,
    ),
    "a checkpoint where none is": (
        "whole",
        lambda f: events(f).__setitem__(3, {"idx": 3, "leaf": "0" * 8, "checkpoint": "x\n1\n" + "A" * 43 + "=\n"}),
        "malformed",
        3,
    ),
    "another detail": ("whole", lambda f: f["details.jsonl"][1].update(body='{"reason":"another"}'), "detail", 3),
    "another salt": ("whole", lambda f: f["details.jsonl"][1].update(salt="00" * 32), "detail", 3),
    "a detail in two forms": ("whole", lambda f: f["details.jsonl"][1].update(body_base64="e30="), "detail", 3),
    "a detail of another event": ("whole", lambda f: f["details.jsonl"][1].update(event_id="x"), "detail", 3),
    "a detail of the next event": (
        "whole",
        lambda f: as_exported(f, event_id=f["details.jsonl"][2]["event_id"]),
        "detail",
        3,
    ),
    "another detail as it is exported": ("whole", lambda f: as_exported(f, body="{}"), "detail", 3),
    "a detail with more": ("whole", lambda f: f["details.jsonl"][1].update(said="x"), "detail", 3),
    "a detail of another kind": ("whole", lambda f: f["details.jsonl"][1].update(media_type="text/html"), "detail", 3),
    "a detail erased and not": (
        "whole",
        lambda f: f["details.jsonl"][1].update(erased_at="2026-11-30T10:00:00Z"),
        "detail",
        3,
    ),
    "erased at no time": ("whole", lambda f: f["details.jsonl"][0].update(erased_at="now"), "malformed", 0),
    "erased never": ("whole", lambda f: f["details.jsonl"][0].update(erased_at=None), "malformed", 0),
    "no detail": ("whole", lambda f: f["details.jsonl"].pop(1), "detail", 3),
    "a detail of nobody": (
        "whole",
        lambda f: f["details.jsonl"].insert(2, f["details.jsonl"][1] | {"idx": 4}),
        "detail",
        4,
    ),
    "a detail twice": ("whole", lambda f: f["details.jsonl"].insert(2, f["details.jsonl"][1]), "order", 3),
    "a hash too many": ("whole", lambda f: f.update({"omitted.bin": bytes(32)}), "range", 13),
    "another hash": ("filtered", lambda f: f.update({"omitted.bin": f["omitted.bin"][:-32] + bytes(32)}), "root", None),
    "one that expired too early": ("whole", lambda f: expire(f, 3, 1), "missing", 3),
    "one more that expired": ("expired", lambda f: expire(f, 6, 5), "missing", 6),
    "more expired than are left out": (
        "expired",
        replaced("MANIFEST.json", b'"expired": 4', b'"expired": 5'),
        "missing",
        None,
    ),
    "fewer expired than are left out": (
        "expired",
        replaced("MANIFEST.json", b'"expired": 4', b'"expired": 3'),
        "missing",
        None,
    ),
    "expired where nothing is left out": (
        "whole",
        replaced("MANIFEST.json", b'"expired": 0', b'"expired": 7'),
        "missing",
        None,
    ),
    "expired below zero": ("whole", replaced("MANIFEST.json", b'"expired": 0', b'"expired": -1'), None, None),
    "expired in words": ("whole", replaced("MANIFEST.json", b'"expired": 0', b'"expired": "all"'), None, None),
    "filters that are none": ("whole", replaced("MANIFEST.json", b'"filters": {}', b'"filters": ["x"]'), None, None),
    "no filter": (
        "filtered",
        replaced("MANIFEST.json", b'"actions": [\n      "agent.updated"\n    ]', b""),
        "missing",
        0,
    ),
    "another root": (
        "whole",
        lambda f: f.update({"checkpoint": f["checkpoint"].replace(f["checkpoint"].split(b"\n")[2], b"A" * 43 + b"=")}),
        "checkpoint",
        None,
    ),
    "another size": ("whole", replaced("checkpoint", b"\n13\n", b"\n14\n"), "root", None),
    "no signature that is known": (
        "whole",
        replaced("checkpoint", b"\xe2\x80\x94 vectors", b"\xe2\x80\x94 victors"),
        "checkpoint",
        None,
    ),
    "another range": ("part", replaced("range.proof", b"range 6 11 13", b"range 6 11 12"), None, None),
    "another older tree": ("part", replaced("consistency.proof", b"range 5 5 13", b"range 4 4 13"), None, None),
    "another rotation": ("rotated", replaced("rotations", b"T09:00:00", b"T09:00:01"), "rotation", None),
    "no rotation": ("rotated", lambda f: f.update({"rotations": b""}), "checkpoint", None),
    "another noted checkpoint": (
        "instance",
        lambda f: events(f)[2].update(checkpoint=events(f)[2]["checkpoint"].replace("\n5\n", "\n6\n")),
        "leaf",
        2,
    ),
    "a member more": ("whole", lambda f: f.update({"more": b""}), None, None),
    "a member less": ("whole", lambda f: f.pop("rotations"), None, None),
    "a bomb": ("whole", lambda f: f.update({"events.jsonl": b"\n" * 5_000_000}), None, None),
    "a line without end": (
        "whole",
        lambda f: f.update({"details.jsonl": b'{"idx":0,' + bytes(range(256)) * 1500}),
        None,
        None,
    ),
    "half a line": ("whole", lambda f: f.update({"events.jsonl": b'{"idx":0,'}), None, None),
    "no checkpoint": ("whole", lambda f: f.update({"checkpoint": b"x"}), None, None),
    "no range": (
        "whole",
        lambda f: f.update({"range.proof": b"provenance-range-proof@v1\nrange 5 3 13\n"}),
        None,
        None,
    ),
    "a range of more than there is": (
        "whole",
        replaced("range.proof", b"range 0 13 13", b"range 0 999999999999999 999999999999999"),
        None,
        None,
    ),
    "a range of a little more": (
        "whole",
        replaced("range.proof", b"range 0 13 13", b"range 0 60013 60013"),
        "missing",
        13,
    ),
    "a value more in a line": ("whole", in_line(3, b',"more":1'), "malformed", 3),
    "a value twice in a line": ("whole", in_line(3, b',"leaf":"00000000"'), "malformed", 3),
    "an index twice in a line": ("whole", in_line(3, b',"idx":4'), "malformed", 3),
    "a hint less": ("whole", lambda f: events(f)[3].pop("leaf"), "malformed", 3),
    "columns that nobody knows": ("whole", lambda f: events(f)[3].update(columns={"secret": None}), "malformed", 3),
    "a key id that is a number": ("whole", lambda f: events(f)[3].update(kid=5), "malformed", 3),
    "half of a character": ("whole", in_line(3, b',"columns":{"action":"\\ud800"}'), "malformed", 3),
    "a checkpoint with more": ("instance", lambda f: events(f)[2].update(kid="web-1"), "malformed", 2),
    "an event before the range": ("part", lambda f: events(f).insert(0, events(f)[0] | {"idx": 2}), "order", 2),
    "a detail before the range": (
        "part",
        lambda f: f["details.jsonl"].insert(0, f["details.jsonl"][0] | {"idx": 2}),
        "order",
        2,
    ),
    "an event told twice of another object": (
        "whole",
        lambda f: re_signed(events(f)[8], id=json.loads(events(f)[5]["body"])["id"]),
        "duplicate",
        8,
    ),
    "a person by a key without a number": (
        "whole",
        lambda f: set_body(events(f)[4], kid="webx", actor={"type": "user", "id": "x", "via": "y"}),
        "malformed",
        4,
    ),
    "a day that no calendar has": (
        "whole",
        lambda f: set_body(events(f)[3], at="2026-11-31T09:00:03.000000Z"),
        "malformed",
        3,
    ),
    "a hash in a list": ("whole", lambda f: set_body(events(f)[3], detail=["0" * 64]), "malformed", 3),
    "a context that nobody knows": ("whole", lambda f: set_body(events(f)[3], context={"more": "x"}), "malformed", 3),
    "a context within": (
        "continued",
        lambda f: set_body(events(f)[0], context={"continues": {"kept": 4, "more": 1}}),
        "malformed",
        0,
    ),
    "a risk that nobody knows": ("whole", lambda f: set_body(events(f)[3], risk="none"), "malformed", 3),
    "a salt in capitals": (
        "whole",
        lambda f: f["details.jsonl"][-1].update(salt=f["details.jsonl"][-1]["salt"].upper()),
        "detail",
        12,
    ),
    "another origin": ("whole", claims(origin="vectors.example/log/instance"), "manifest", None),
    "another workspace": ("whole", claims(workspace="01900000-0000-7000-8000-000000000002"), "manifest", None),
    "another epoch": ("whole", claims(epoch=2), "manifest", None),
    "the epoch before": ("continued", of_another_epoch, "manifest", None),
    "another first": ("part", claims(first=0), "manifest", None),
    "another end": ("part", claims(end=13), "manifest", None),
    "another size of the log": ("whole", claims(size=14), "manifest", None),
    "more events": ("whole", claims(events=14), "manifest", None),
    "fewer checkpoints": ("instance", claims(checkpoints=0), "manifest", None),
    "fewer details": ("whole", claims(details=4), "manifest", None),
    "other digests": ("whole", claims(files={}), "manifest", None),
    "made before its events": ("whole", claims(created_at="2026-11-29T09:00:00+00:00"), "manifest", None),
    "made at no time": ("whole", claims(created_at="today"), None, None),
    "a claim more": ("whole", claims(more=1), None, None),
    "a claim less": ("whole", claims(sealed_at=None), None, None),
    "a claim twice": ("whole", replaced("MANIFEST.json", b'"epoch": 1', b'"epoch": 1, "epoch": 1'), None, None),
    "a count that is true": ("whole", claims(epoch=True), None, None),
    "a count that is a fraction": ("whole", replaced("MANIFEST.json", b'"epoch": 1', b'"epoch": 1.0'), None, None),
    "a count that is too large": ("whole", claims(events=2**53), None, None),
    "missing and nowhere": (
        "filtered",
        claims(omitted={"filtered": 5, "expired": 0, "missing": 2, "missing_at": []}),
        "missing",
        None,
    ),
    "filtered without a filter": (
        "expired",
        claims(omitted={"filtered": 2, "expired": 2, "missing": 0, "missing_at": []}),
        "missing",
        None,
    ),
    "expired in a time to come": (
        "whole",
        lambda f: (expire(f, 3, 1), in_manifest(f, created_at="2040-01-01T00:00:00Z")),
        "missing",
        3,
    ),
    "a proof of another size": ("whole", replaced("range.proof", b"range 0 13 13", b"range 0 13 14"), None, None),
    "a proof of another range": ("part", replaced("range.proof", b"range 6 11 13", b"range 6 10 13"), None, None),
    "hashes that are not of 32 bytes": ("part", shifted, None, None),
    "base64 in another form": ("part", lambda f: loosened(f, "range.proof"), None, None),
    "a consistency proof of another log": (
        "part",
        lambda f: f.update({"consistency.proof": make_bundles.range_proof([bytes(32)] * 13, 5, 5).encode()}),
        "consistency",
        None,
    ),
    "no consistency proof in it": ("whole", lambda f: f.update({"consistency.proof": b""}), None, None),
    "rotations without an end": ("whole", lambda f: f.update({"rotations": b"provenance-rotation-v1"}), None, None),
    "keys that are none": ("whole", lambda f: f.update({"vkeys": b"none\n"}), None, None),
    "no ML-DSA-44 signature": ("instance", without_mldsa, "checkpoint", None),
    "another ML-DSA-44 signature": ("instance", with_another_mldsa, "checkpoint", None),
    "a manifest that is none": ("whole", lambda f: f.update({"MANIFEST.json": b"[]"}), None, None),
    "a newer format": ("whole", replaced("MANIFEST.json", b"bundle/2", b"bundle/3"), None, None),
}


def with_another_checksum(member):
    """The whole bundle, whose directory says another CRC-32 of this member: what it holds is as it was."""
    zipped, name = bytearray((PLACE / "whole.zip").read_bytes()), member.encode()
    header = zipped.rindex(b"PK\x01\x02", 0, zipped.rindex(name))
    zipped[header + 16] ^= 1
    return bytes(zipped)


def with_broken_packing(member):
    """The whole bundle, of which the first packed bytes of this member are not what Deflate begins with."""
    zipped, name = bytearray((PLACE / "whole.zip").read_bytes()), member.encode()
    with zipfile.ZipFile(PLACE / "whole.zip") as opened:
        start = opened.getinfo(member).header_offset + 30 + len(name)
    zipped[start : start + 4] = b"\xff" * 4
    return bytes(zipped)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Every case by its name: file and options of the verifiers."""
    found = GOOD | {"expired": EXPIRED}
    for number, (name, (source, change, _kind, _index)) in enumerate(FORGED.items()):
        place = tmp_path_factory.mktemp(f"case{number}")
        found[name] = {**found[source], "file": forged(shutil.copy(PLACE / f"{source}.zip", place), change)}
    place = tmp_path_factory.mktemp("erased")
    found["erased"] = case(forged(shutil.copy(PLACE / "whole.zip", place), erase))
    place = tmp_path_factory.mktemp("besides")
    found["erased besides"] = case(forged(shutil.copy(PLACE / "whole.zip", place), erase_besides))
    proof = (PLACE / "event.tlog-proof").read_text()
    for name, old, new in (
        ("another index", "index 7", "index 6"),
        ("an index too far", "index 7", "index 99"),
        ("another note", "\n13\n", "\n14\n"),
    ):
        place = tmp_path_factory.mktemp("proof") / "event.tlog-proof"
        place.write_text(proof.replace(old, new))
        found[name] = case(place)
    for name, content in (("nothing", b""), ("no zip", b"PK\x03\x04" + bytes(500)), ("text", b"text")):
        place = tmp_path_factory.mktemp("broken") / "bundle.zip"
        place.write_bytes(content)
        found[name] = case(place)
    other = tmp_path_factory.mktemp("broken") / "bundle.zip"
    with zipfile.ZipFile(other, "w", zipfile.ZIP_BZIP2) as out:
        for name, data in members(PLACE / "whole.zip").items():
            out.writestr(name, data)
    found["packed in another way"] = case(other)
    trailing = tmp_path_factory.mktemp("broken") / "bundle.zip"
    trailing.write_bytes((PLACE / "whole.zip").read_bytes() + b"more")
    found["something after the zip"] = case(trailing)
    for name, member in (("a damaged checksum", "events.jsonl"), ("a damaged checkpoint", "checkpoint")):
        place = tmp_path_factory.mktemp("damaged") / "bundle.zip"
        place.write_bytes(with_another_checksum(member))
        found[name] = case(place)
    torn = tmp_path_factory.mktemp("damaged") / "bundle.zip"
    torn.write_bytes(with_broken_packing("events.jsonl"))
    found["a damaged packing"] = case(torn)
    return found


@pytest.fixture(scope="module")
def told(cases):
    """What our verifier says of each."""
    return {name: said(**options) for name, options in cases.items()}


def said(file, **options):
    code, report = verified(file, *(part for name, value in options.items() for part in (f"--{name}", value)))
    assert {"ok": 0, "failed": 1, "unusable": 2, "incomplete": 3}[report["verdict"]] == code
    return report


@pytest.mark.parametrize("name", GOOD)
def test_what_is_good_verifies_with_nothing_left_out(told, name):
    claim = "that the filters find what is here and nothing of the 7 left out"
    assert (told[name]["verdict"], told[name]["not_checked"]) == ("ok", [claim] if name == "filtered" else [])


def test_what_expired_is_never_complete(told):
    """Only the log of the instance can show that bodies left after seven years: nothing in the bundle does."""
    report = told["expired"]
    assert (report["verdict"], report["complete"], report["omitted"], report["findings"]) == (
        "incomplete",
        False,
        4,
        [],
    )
    assert "4 of [0, 3] expired" in "".join(report["not_checked"])


def test_what_was_erased_without_an_event_that_tells_of_it_is_not_silently_fine(told):
    """T28. Two were erased before an event said so, and one after it."""
    report = told["erased"]
    assert (report["verdict"], report["details_erased"], report["details_unexplained"]) == ("incomplete", 3, 1)
    assert (report["findings"], report["not_checked"]) == (
        [],
        ["why 1 details were erased: no event of this bundle tells of it"],
    )


def test_an_event_that_tells_of_other_erasures_excuses_none(told):
    """T28. Whoever hands the bundle over blanks what stood before an erasure that was in order."""
    report = told["erased besides"]
    assert (report["verdict"], report["details_erased"], report["details_unexplained"]) == ("incomplete", 3, 1)


def test_only_the_whole_log_is_complete(told):
    assert {name for name, report in told.items() if name in GOOD and report.get("complete")} == {
        "whole",
        "since",
        "rotated",
        "instance",
        "continued",
    }


@pytest.mark.parametrize("name", FORGED)
def test_what_was_forged_is_found_for_its_reason(told, name):
    _source, _change, kind, index = FORGED[name]
    assert told[name]["verdict"] in {"failed", "unusable"}
    if kind:
        assert kind in kinds(told[name])
        assert told[name]["first_bad_index"] == index


@pytest.mark.parametrize("name", ["another index", "an index too far", "another note"])
def test_a_proof_that_was_changed_is_found(told, name):
    assert told[name]["verdict"] == "failed"


@pytest.mark.parametrize("name", ["nothing", "no zip", "text", "something after the zip", "packed in another way"])
def test_what_is_no_bundle_is_unusable(told, name):
    assert told[name]["verdict"] == "unusable"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a damaged checksum", " (events.jsonl)"),
        ("a damaged checkpoint", " (checkpoint)"),
        ("a damaged packing", ""),
    ],
)
def test_what_was_damaged_on_its_way_is_to_be_had_again(told, name, place):
    message = f"The file was changed or damaged after it was made{place}: get it again."
    assert told[name] == {"verdict": "unusable", "message": message}


def test_a_proof_without_mac_keys_says_that_the_mac_was_not_checked():
    report = said(PLACE / "event.tlog-proof", key=PLACE / "workspace.pub")
    assert (report["verdict"], [text[:4] for text in report["not_checked"]]) == ("ok", ["MACs"])


def test_two_members_of_one_name_are_refused(tmp_path):
    """T30: two readers could each see another one."""
    path = shutil.copy(PLACE / "whole.zip", tmp_path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as out:
        out.writestr("events.jsonl", b"")
    assert said(path)["verdict"] == "unusable"


@pytest.mark.parametrize("text", ["nothing", "a+00000000+AQ==", "log.test/x+00000000+" + "A" * 44])
def test_a_key_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "bad.pub"
    path.write_text(text)
    assert said(PLACE / "whole.zip", key=path)["verdict"] == "unusable"


def test_a_key_file_that_is_not_there_is_said_to_be_missing(tmp_path):
    report = said(PLACE / "whole.zip", key=tmp_path / "log.pub")
    assert (report["verdict"], "log.pub is not there" in report["message"]) == ("unusable", True)


def test_a_pack_of_evidence_is_told_from_its_bundle(tmp_path):
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as out:
        out.write(PLACE / "whole.zip", "bundle.zip")
    report = said(tmp_path / "pack.zip", key=PLACE / "workspace.pub")
    assert (report["verdict"], "its bundle.zip is the bundle" in report["message"]) == ("unusable", True)


def test_keys_from_before_a_rotation_are_no_keys_and_the_report_says_what_to_ask_for(tmp_path):
    """M112: the verifier cannot tell a key that came later from an invented one, and the reader can."""
    held = json.loads((PLACE / "workspace.keys").read_text())
    del held["keys"]["web-1"]
    older = tmp_path / "older.keys"
    older.write_text(json.dumps(held))
    report = said(**{**GOOD["whole"], "mac-keys": older})
    assert (report["verdict"], kinds(report)) == ("failed", {"unknown key"})
    assert "no key web-1 was given: it is newer than these keys" in report["findings"][0]["message"]
    assert "./manage.py audit_keys" in report["findings"][0]["message"]


def test_keys_of_another_workspace_are_refused():
    wrong = {**GOOD["whole"], "mac-keys": PLACE / "instance.keys"}
    assert said(**wrong)["verdict"] == "unusable"


@pytest.mark.parametrize("text", ["[]", '{"workspace": "x"}', '{"workspace": null, "keys": []}', "[" * 100_000])
def test_mac_keys_that_are_none_are_refused(tmp_path, text):
    path = tmp_path / "bad.keys"
    path.write_text(text)
    assert said(**{**GOOD["whole"], "mac-keys": path})["verdict"] == "unusable"


def test_a_key_in_the_bundle_is_not_trusted_without_being_told_so():
    """T30. Consistent is not authentic: anybody can make a log of their own."""
    assert said(PLACE / "whole.zip")["verdict"] == "incomplete"
    code, report = verified(PLACE / "whole.zip", "--trust-bundle-keys")
    assert (code, report["verdict"]) == (0, "ok")


def test_a_whole_log_that_was_cut_to_a_part_says_so(tmp_path):
    """Whoever cuts the tail and makes a proof for what is left has a part: it verifies, and tells that it is one."""
    whole = members(PLACE / "whole.zip")
    items = [make_bundles.event(index) for index in range(13)]
    leaves = [leaf for _line, _detail, leaf in items]
    cut = b"".join(line + b"\n" for line in whole["events.jsonl"].splitlines()[:11])
    details = b"".join(line + b"\n" for line in whole["details.jsonl"].splitlines() if json.loads(line)["idx"] < 11)
    made = whole | {
        "events.jsonl": cut,
        "details.jsonl": details,
        "range.proof": make_bundles.range_proof(leaves, 0, 11).encode(),
    }
    made["MANIFEST.json"] = fitting(json.loads(whole["MANIFEST.json"]) | {"end": 11}, made)
    report = said(**{**GOOD["whole"], "file": packed(made, tmp_path / "cut.zip")})
    assert (report["verdict"], report["complete"], report["end"], report["size"]) == ("ok", False, 11, 13)


def test_keys_of_both_kinds_are_both_needed_and_of_one_kind_that_one(tmp_path):
    """A record of seven years outlives Ed25519 only if who has the other key does not take the first one's word."""
    ed25519, mldsa = (PLACE / "instance.pub").read_text().splitlines()
    bare = forged(shutil.copy(PLACE / "instance.zip", tmp_path), without_mldsa)
    found = {}
    for name, key in (("ed25519", ed25519), ("mldsa", mldsa)):
        path = tmp_path / f"{name}.pub"
        path.write_text(f"{key}\n")
        found[name] = [said(file, key=path)["verdict"] for file in (PLACE / "instance.zip", bare)]
    assert found == {"ed25519": ["ok", "ok"], "mldsa": ["ok", "failed"]}
    message = said(bare, key=PLACE / "instance.pub")["findings"][0]["message"]
    assert message == "no given ML-DSA-44 key of vectors.example/log/instance signed the checkpoint"


def test_an_old_bundle_shown_as_a_new_one_tells_its_age(tmp_path):
    """Whoever hands out what was true once can write any date into the manifest, and no event."""
    old = forged(shutil.copy(PLACE / "whole.zip", tmp_path), claims(created_at="2027-06-01T00:00:00Z"))
    report = said(old, key=PLACE / "workspace.pub")
    assert (report["verdict"], report["size"], report["newest_event_at"]) == ("ok", 13, "2026-11-30 09:00:12+00:00")
    assert report["only_claimed"]["created_at"] == "2027-06-01T00:00:00Z"


def test_a_checkpoint_of_another_epoch_is_another_log(tmp_path):
    report = said(PLACE / "continued.zip", key=PLACE / "continued.pub", since=PLACE / "older.note")
    assert (report["verdict"], kinds(report)) == ("failed", {"consistency"})
    assert report["findings"][0]["message"].endswith(f"and this one of {report['origin']}")


@pytest.mark.skipif(NODE is None, reason="Node is not installed: nothing holds the second verifier against the first")
def test_the_second_verifier_says_the_same_of_every_case(cases, told, tmp_path):
    agree(cases, told, tmp_path)


@pytest.mark.skipif(NODE is None, reason="Node is not installed: nothing holds the second verifier against the first")
def test_both_refuse_what_chance_makes_of_a_bundle(tmp_path):
    """Nobody thought of these cases: the two readers see the same in all of them, and nothing that changed is fine."""
    sources = {name: members(PLACE / f"{name}.zip") for name in mutations.SOURCES}
    found, told = {}, {}
    for number in range(400):
        name, files = mutations.mutated(number, sources)
        if mutations.is_another(files, sources[name]):
            options = EXPIRED if name == "expired" else GOOD[name]
            found[number] = options | {"file": packed(files, tmp_path / f"{number}.zip")}
            told[number] = said(**found[number])
    assert len(found) > 300
    assert not [number for number, report in told.items() if report["verdict"] in {"ok", "incomplete"}]
    agree(found, told, tmp_path)


def agree(cases, told, place):
    """The second verifier finds of each case what the first one told, at the same index."""
    listed = place / "cases.json"
    listed.write_text(json.dumps([for_node(**options) for options in cases.values()]))
    script = Path(__file__).parent / "verify.mjs"
    done = subprocess.run([NODE, str(script), str(listed)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    for name, theirs in zip(cases, json.loads(done.stdout), strict=True):
        ours = told[name]
        assert theirs["verdict"] == ours["verdict"], (name, theirs, ours)
        if ours["verdict"] != "unusable":
            assert (theirs["first_bad_index"], set(theirs["kinds"])) == (ours["first_bad_index"], kinds(ours)), name


def for_node(file, **options):
    """The same case as the second verifier takes it."""
    return {
        "file": str(file),
        "keys": options["key"].read_text().split(),
        "macKeys": json.loads(options["mac-keys"].read_text()),
        "since": options["since"].read_text() if "since" in options else None,
    }


def test_the_vectors_are_made_again_byte_for_byte(tmp_path, monkeypatch):
    kept = {path.name: path.read_bytes() for path in PLACE.iterdir()}
    shutil.copytree(PLACE, tmp_path / "bundles")
    monkeypatch.setattr(make_bundles, "PLACE", tmp_path / "bundles")
    make_bundles.make()
    assert {path.name: path.read_bytes() for path in (tmp_path / "bundles").iterdir()} == kept
