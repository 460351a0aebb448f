"""What a forger makes of a bundle, and what must be said of it: for every check of the verifiers somebody who would pass it."""

import base64
import json
import zipfile

from tests.vectors import make_bundles
from tests.vectors.cases import PLACE


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


def signed_besides_by(name):
    """A signature more, which nobody here checks."""

    def forge(files):
        files["checkpoint"] += f"\u2014 {name} AAAAAAAAAAAA\n".encode()

    return forge


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


def with_another_checksum(member):
    """The whole bundle, which says another CRC-32 of this member: what it holds is as it was."""
    zipped, name = bytearray((PLACE / "whole.zip").read_bytes()), member.encode()
    zipped[zipped.rindex(b"PK\x01\x02", 0, zipped.rindex(name)) + 16] ^= 1
    zipped[zipped.rindex(b"PK\x03\x04", 0, zipped.index(name)) + 14] ^= 1
    return bytes(zipped)


def with_broken_packing(member):
    """The whole bundle, of which the first packed bytes of this member are not what Deflate begins with."""
    zipped, name = bytearray((PLACE / "whole.zip").read_bytes()), member.encode()
    with zipfile.ZipFile(PLACE / "whole.zip") as opened:
        start = opened.getinfo(member).header_offset + 30 + len(name)
    zipped[start : start + 4] = b"\xff" * 4
    return bytes(zipped)


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
    "filters in filters": (
        "whole",
        replaced("MANIFEST.json", b'"filters": {}', b'"filters": {"actions": [["x"]]}'),
        None,
        None,
    ),
    "filters without an end": (
        "whole",
        replaced("MANIFEST.json", b'"filters": {}', b'"filters": ' + b'{"x": ' * 200 + b'"x"' + b"}" * 200),
        None,
        None,
    ),
    # What is white space in Python is none in JavaScript, and the other way round.
    "a witness whose name ends for some": ("whole", signed_besides_by("a\u0085b"), None, None),
    "a witness whose name ends for others": ("whole", signed_besides_by("a\ufeffb"), None, None),
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
    "missing at a text": (
        "whole",
        claims(omitted={"filtered": 0, "expired": 0, "missing": 0, "missing_at": ""}),
        None,
        None,
    ),
    "missing at what is no list": (
        "whole",
        claims(omitted={"filtered": 0, "expired": 0, "missing": 0, "missing_at": {}}),
        None,
        None,
    ),
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
