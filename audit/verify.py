"""Verify a bundle of an audit log, or the `.tlog-proof` of one event, offline: `python -I verify.py FILE.zip --key FILE.pub`.

One file, the standard library and, for signatures of checkpoints, the package `cryptography`; no code of the platform. It
reads what docs/audit-format.md promises and trusts nothing in the bundle, least of all a key. It prints a JSON report and
exits with 0 ("ok": what the given keys can show holds), 1 ("failed"), 2 ("unusable") or 3 ("incomplete": it holds as it is).
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import re
import sqlite3
import struct
import sys
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import lru_cache, partial, reduce
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa
except ImportError:
    print('{"verdict": "unusable", "message": "Install the package cryptography, 50 or newer: it tells who signed."}')
    sys.exit(2)

FORMAT, STREAMED = "provenance-audit-bundle/2", ("events.jsonl", "details.jsonl", "omitted.bin")
MEMBERS = {*STREAMED, "range.proof", "checkpoint", "rotations", "vkeys", "MANIFEST.json"}
COUNTS, LEFT_OUT = {"first", "end", "size", "events", "checkpoints", "details"}, {"filtered", "expired", "missing"}
COUNTED = ("events", "checkpoints", "omitted", "details", "details_erased", "details_unexplained", "objects")
MANIFEST = COUNTS | {"format", "origin", "workspace", "epoch", "created_at", "sealed_at", "filters", "omitted", "files"}
COLUMNS = "id workspace object.type object.id object.rev object.op changed action actor.id actor.type outcome risk context.run_id"  # fmt: skip
MAC_PREFIX, CHECKPOINT_PREFIX = b"provenance-audit-v1\n", b"provenance-checkpoint-v1\n"
LEAF, NODE, LF, EVENT, ALARM, GONE, TOLD = b"\0", b"\1", b"\n", b"event", b"alarm", b"gone", b"told"
ED25519, KEY_KINDS = 1, {1: ("Ed25519", 33), 6: ("ML-DSA-44", 1313)}  # type byte; how many bytes, with that one
# What people do and decide is told by the processes in which they sign in; another process's key proves nothing of it.
KEYS_OF_PEOPLE, ERASING = {b"web", b"setup"}, b"audit.detail_erased"
DECISIONS = {b"approval.approved", b"approval.rejected", b"approval.decision_recorded", b"approval.payload_edited"}
SEVEN_YEARS_MS, CLOCK_TOLERANCE_MS = 7 * 365 * 86_400_000, 300_000
# What a hostile bundle may cost: hashes and MACs do not pack well, details may.
LEAST_LINE_BYTES, MAX_LINE_BYTES, MAX_BODY_BYTES, LARGEST = 64, 262_144, 8192, dict.fromkeys(STREAMED, 64 * 1024**3)
MAX_SMALL_BYTES, MAX_RATIO, RATIOS, MAX_INTEGER = 1_114_112, 100, {"details.jsonl": 1100}, 2**53 - 1
MAX_SIGNATURES, MAX_ROTATIONS, MAX_FINDINGS, MAX_WORDS = 64, 64, 100, 300
JOB_BYTES, PACKED_BYTES, LEAVES_MORE, PARALLEL_BYTES, LARGE = 1_048_576, 2048, 65_536, 16 * 1024**2, 2**32 - 1
# What a broken line raises; of what else broken shapes raise there is no end, and the verifier ends with a sentence.
MALFORMED, BROKEN = (ValueError, TypeError, LookupError, AttributeError, RecursionError), Exception

NUMBER, ZONE = "(0|[1-9][0-9]{0,14})", r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ORIGIN = re.compile(rf"([!-~]+)/(?:instance|({UUID}))(?:/e([2-9]|[1-9][0-9]{{1,8}}))?")
_VKEY = re.compile(r"([!-*,-~]+)\+([0-9a-f]{8})\+(\S+)")
_CHECKPOINT = re.compile(rf"([^\n]+)\n{NUMBER}\n([A-Za-z0-9+/]{{43}}=)\n")
_ROTATION = re.compile(r"(provenance-rotation-v1\n(.*)\n(.*)\n(.*)\n(.*)\n)(.*)\n")
_RANGE = re.compile(rf"provenance-range-proof@v1\nrange{3 * f' {NUMBER}'}\n((?:left \S+\n)*)((?:right \S+\n)*)")
_TLOG = re.compile(rf"c2sp.org/tlog-proof@v1\n(?:extra (\S+)\n)?index {NUMBER}\n((?:\S+\n)*)\n(.*)", re.DOTALL)
_TIME = re.compile(rf"20\d\d-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{{6}})?{ZONE}", re.ASCII)
# The end of a zip, with or without its large form: a directory of less than 64 KiB, and nothing after it (T30).
_END = re.compile(rb"(?:PK\x06\x06.{36}..\0{6}.{8}PK\x06\x07.{16}|.{56}(?!PK\x06\x07).{20})PK\x05\x06.{8}..\0\0.{4}\0\0", re.DOTALL)  # fmt: skip
_INDEX = re.compile(rb'\{"idx":(0|[1-9]\d{0,14}),')
_EVENT = re.compile(rb'\{"idx":\d+,"kid":"([a-z]+-\d+)","mac":"([0-9a-f]{64})","leaf":"([0-9a-f]{8})","body":(".*")\}')
_DETAIL = re.compile(rb'\{"idx":\d+,"event_id":"[0-9a-f-]{36}","salt":"[0-9a-f]{64}","media_type":"application/json","erased_at":null,"body":"[^"\\]*+(?:\\.[^"\\]*+)*+"\}')  # fmt: skip
AGES = "SELECT max(substr(what,1,12)), min(CASE WHEN substr(what,1,12) > ? THEN idx END) FROM seen WHERE op IN (?, ?)"
ALARMS = "SELECT idx FROM seen WHERE op = ? LIMIT ?"
TWICE = "SELECT max(idx) FROM seen WHERE op IN (?, ?) GROUP BY what HAVING count(*) > 1"
CHANGES = "SELECT * FROM seen WHERE op NOT IN (?, ?, ?, ?) ORDER BY what, idx"
# Details that are gone, and of which no event at the same index or later tells.
UNEXPLAINED = """SELECT count(*) FROM (SELECT max(CASE op WHEN ?1 THEN idx END) AS gone, max(CASE op WHEN ?2 THEN idx END) AS told
FROM seen WHERE op IN (?1, ?2) GROUP BY what) WHERE gone > ifnull(told, -1)"""
# A body of version 1 in canonical form (RFC 8785): these fields in this order, no white space, the shortest escapes.
_FIELDS = rb"""\{"action":"(?P<action>TEXT)","actor":\{"id":"TEXT","type":"(?P<actor>user|agent|system|integration)","via":"TEXT"\},
"at":"(?P<at>20\d\d-\d\d-\d\dT\d\d:\d\d:[0-5]\d\.\d{6}Z)","changed":\[(?:"TEXT"(?:,"TEXT")*+)?\],
"context":\{<action_digest><action_id><agent_version>(?:"continues":\{"kept":NUMBER(?:,"origin":"TEXT","root":"HASH","size":NUMBER)?\}NEXT)?
(?:"data_tier":NUMBERNEXT)?<environment><request><run_id><step><tool><workflow_version>\},"detail":(?:null|"(?P<detail>HASH)"),"gap":NUMBER,
"id":"(?P<id>[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})","kid":"(?P<kid>[a-z]+-[1-9]\d*)",
"object":\{"id":"(?P<object>TEXT)","op":"(?P<op>read|insert|update|delete)","rev":(?P<rev>(?<="read","rev":)null|NUMBER),"type":"(?P<type>TEXT)"\},
"on_behalf_of":"TEXT","outcome":"(?:success|failure|blocked|pending|unknown)","risk":"(?:low|medium|high|critical)",
(?:"sanitized":true,)?"state":(?:null|"HASH"),"v":1,"workspace":(?:null|"(?P<workspace>[0-9a-f-]{36})")\}"""
_TEXT = rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\bfnrt]|u00(?:0[1-7bef]|1[0-9a-f]))[^"\\\x00-\x1f]*+)*+'
_PARTS = {b"\n": b"", b"NEXT": rb"(?:,(?!\})|(?=\}))", b"HASH": b"[0-9a-f]{64}", b"NUMBER": b"(?:0|[1-9][0-9]{0,14})"}
_KNOWN = re.sub(rb"(?<!P)<(\w+)>", rb'(?:"\1":"TEXT"NEXT)?', _FIELDS)
_BODY = re.compile(reduce(lambda all_, part: all_.replace(*part), {**_PARTS, b"TEXT": _TEXT}.items(), _KNOWN))

Nodes = list[tuple[int, bytes]]  # the roots of whole subtrees with their heights
MacKeys = tuple[str | None, dict[bytes, bytes]]  # of a workspace, or "instance"; by key id
Line = tuple[bytes, bytes, bytes, str, dict[str, Any]]  # text, MAC (none: a checkpoint), key id, hint, doubtful columns
Leaf = tuple[int, bytes, bytes]  # its index, with line and detail, or without a line and with its hash, if it is there
Row = tuple[bytes, int, int, bytes]  # an event's id or a changed object, index, the object's revision, what was done
Seen = tuple[Nodes, Counter[str], list[tuple[str, str, int]], list[Row]]  # of leaves; no nodes where one is unknown
Said = re.Match[bytes]
Found = TypeVar("Found")


def demand(found: Found | None, words: str) -> Found:
    """Go on with what was found. Raises ValueError where there is nothing, or something does not hold."""
    if not found:
        raise ValueError(words)
    return found


class Report(dict[str, Any]):
    """What was looked at and what does not hold."""

    def __init__(self) -> None:
        super().__init__(is_signed=False, first_bad_index=None, finding_count=0, findings=[], not_checked=[])
        self.of_kind = Counter[str]()

    def add(self, kind: str, message: str, index: int | None = None, *, unless: Any = False) -> None:
        """Note one thing that does not hold; after the first hundred of a kind only their number."""
        if not unless:
            self["finding_count"] += 1
            self["first_bad_index"] = min({self["first_bad_index"], index} - {None}, default=None)
            self.of_kind[kind] += 1
            if self.of_kind[kind] <= MAX_FINDINGS:
                self["findings"].append({"kind": kind, "idx": index, "message": message[:MAX_WORDS]})


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    demand(len(value := dict(pairs)) == len(pairs), "a key stands twice in one object")
    return value


def whole(digits: str) -> int:
    demand(len(digits) <= 17 and abs(int(digits)) <= MAX_INTEGER, "a number is no whole one below 2^53")
    return int(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=unique, parse_int=whole, parse_float=whole, parse_constant=whole)


def loaded(text: str) -> Any:
    """JSON that every reader reads alike. Raises ValueError."""
    value = _DECODER.decode(text)
    if "\\u" in text:  # half of a surrogate pair, perhaps
        json.dumps(value, ensure_ascii=False).encode()
    return value


def decoded(text: str, size: int | None = None) -> bytes:
    """Standard base64 in its one form, of so many bytes. Raises ValueError."""
    value = base64.b64decode(text, validate=True)
    demand(base64.b64encode(value).decode() == text and size in {None, len(value)}, "this is no base64 of its size")
    return value


@lru_cache
def milliseconds(text: str) -> int:
    """Since 1970, of a time with its zone. Raises ValueError."""
    found = demand(_TIME.fullmatch(text), f"{text[:40]!r} is no time")
    return int(datetime.fromisoformat(text).timestamp()) * 1000 + int((found[1] or ".000")[1:4])


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


class Checkpoint(NamedTuple):
    """Three lines: whose log, how large it is, and its root."""

    text: str
    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        found = demand(_CHECKPOINT.fullmatch(text), "This is no checkpoint of three lines.")
        return cls(text, found[1], int(found[2]), decoded(found[3], 32))


class Key(NamedTuple):
    """A verifier key of c2sp.org/signed-note: whose, and its type byte before the public key."""

    name: str
    material: bytes

    @classmethod
    def parse(cls, text: str) -> "Key":
        words = f"{text[:80]!r} is no verifier key that is known here, or its id is not that of its key."
        found = demand(_VKEY.fullmatch(text), words)
        key = cls(found[1], decoded(found[3]))
        is_known = KEY_KINDS.get(key.material[0], ("", 0))[1] == len(key.material) and text.startswith(f"{key}+")
        return demand(key if is_known else None, words)

    def __str__(self) -> str:
        return f"{self.name}+{sha256(self.name.encode(), LF, self.material)[:4].hex()}"

    def holds(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's over these bytes."""
        library: Any = ed25519.Ed25519PublicKey if self.material[0] == ED25519 else mldsa.MLDSA44PublicKey
        with suppress(InvalidSignature, ValueError):
            library.from_public_bytes(self.material[1:]).verify(signature, message)
            return True
        return False

    def signed(self, checkpoint: Checkpoint, signature: bytes) -> bool:
        """Whether that of a signature line is this key's over the checkpoint (c2sp.org/tlog-cosignature for ML-DSA-44)."""
        if self.material[0] == ED25519:
            return self.holds(checkpoint.text.encode(), signature)
        signer, log = (bytes([len(name.encode())]) + name.encode() for name in (self.name, checkpoint.origin))
        message = b"subtree/v1\n\0" + signer + signature[:8] + log + bytes(8) + checkpoint.size.to_bytes(8, "big")
        return self.holds(message + checkpoint.root, signature[8:])


def check_note(note: str, keys: list[Key], held: MacKeys, report: Report) -> Checkpoint:
    """Open a checkpoint that its log signed, with each type of key that was given for it, and say whose it is."""
    text, _separator, tail = note.rpartition("\n\n")
    lines = re.findall(r"\u2014 ([!-~]+) ([A-Za-z0-9+/=]+)\n", tail)[:MAX_SIGNATURES]
    demand(lines and tail == "".join(f"\u2014 {name} {code}\n" for name, code in lines), "This is no signed note.")
    checkpoint, known, (owner, macs) = Checkpoint.parse(f"{text}\n"), {str(key): key for key in keys}, held
    whose = demand(_ORIGIN.fullmatch(checkpoint.origin), f"{checkpoint.origin[:200]!r} names no log there can be.")
    demand(not macs or owner == (whose[2] or "instance"), f"The MAC keys are those of {owner}: this is another log.")
    report.update(origin=checkpoint.origin, workspace=whose[2], epoch=int(whose[3] or 1))
    report.update(size=checkpoint.size, root=checkpoint.root.hex(), signed_by=[])
    missing = {key.material[0] for key in keys if key.name == checkpoint.origin} or {ED25519}
    for name, signature in [(name, decoded(code)) for name, code in lines]:
        key = known.get(f"{name}+{signature[:4].hex()}")
        if key and not key.signed(checkpoint, signature[4:]):
            report.add("checkpoint", f"the signature of {key} does not hold")
        elif key:
            report["signed_by"].append(str(key))
            missing -= {key.material[0]} if key.name == checkpoint.origin else set()
    for kind, _size in [KEY_KINDS[number] for number in missing if keys]:
        report.add("checkpoint", f"no given {kind} key of {checkpoint.origin} signed the checkpoint")
    report["not_checked"] += [] if keys else ["who signed the checkpoint: no key was given (--key)"]
    report["not_checked"] += [] if macs else ["MACs: no keys of the workspace were given (--mac-keys)"]
    report["is_signed"] = not missing
    return checkpoint


def follow_rotations(text: str, keys: list[Key], report: Report) -> None:
    """Trust a new key of a log when one already trusted, of the same type, signed that it follows (T30)."""
    rotations = _ROTATION.findall(text)
    is_whole = text == "".join(f"{message}{signature}\n" for message, *_others, signature in rotations)
    demand(is_whole and len(rotations) <= MAX_ROTATIONS, "The member rotations does not hold rotations of six lines.")
    for message, origin, old, new, until, signature in rotations:
        material, _ = decoded(old), milliseconds(until)
        for key in {key for key in keys if key.material == material and key.name.startswith(f"{origin}/")}:
            following = Key(key.name, decoded(new))
            is_alike = (following.material[:1], len(following.material)) == (material[:1], len(material))
            if is_alike and key.holds(message.encode(), decoded(signature)):
                keys.append(following)
                report["rotations_followed"].append(f"{key}, then {str(following).rpartition('+')[2]}")
            else:
                report.add("rotation", f"the rotation of {key} is not signed by that key")


class Spine:
    """The right edge of a tree that grows from index `end` on by whole subtrees, each a height and a hash (RFC 6962)."""

    def __init__(self, end: int = 0) -> None:
        self.nodes, self.end = Nodes(), end

    def add(self, nodes: Iterable[tuple[int, bytes]]) -> "Spine":
        for height, value in nodes:
            level, node, index, self.end = height, value, self.end >> height, self.end + (1 << height)
            while index & 1 and self.nodes and self.nodes[-1][0] == level:
                node, index, level = sha256(NODE, self.nodes.pop()[1], node), index >> 1, level + 1
            self.nodes.append((level, node))
        return self

    def root(self) -> bytes:
        hashes = (node for _height, node in reversed(self.nodes))
        return reduce(lambda right, left: sha256(NODE, left, right), hashes) if self.nodes else sha256()


def root_above(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """The root to which a proof leads from the leaf at this index (PATH of RFC 6962, 2.1.1); the proof is used up."""
    if size < 2:
        return leaf
    half, sibling = 1 << (size - 1).bit_length() - 1, proof.pop() if proof else b""
    inner = root_above(leaf, index % half, half if index < half else size - half, proof)
    return sha256(NODE, inner, sibling) if index < half else sha256(NODE, sibling, inner)


def heights(first: int, end: int) -> Iterator[int]:
    """The heights of the fewest whole subtrees that cover the leaves from `first` up to `end`."""
    while first < end:
        yield (height := min((first & -first).bit_length() - 1 if first else 64, (end - first).bit_length() - 1))
        first += 1 << height


class Range(NamedTuple):
    """The leaves from `first` up to `end` of a tree of `size`, and the subtrees left and right of them."""

    first: int
    end: int
    size: int
    left: Nodes
    right: Nodes

    @classmethod
    def parse(cls, text: str) -> "Range":
        found = demand(_RANGE.fullmatch(text), "A range proof is not one.")
        first, end, size = (int(number) for number in found.groups()[:3])
        demand(first <= end <= size, "A range proof is of no range.")
        left, right = ([decoded(line, 32) for line in re.findall(r" (\S+)\n", side)] for side in found.groups()[3:])
        left_side, right_side = zip(heights(0, first), left, strict=True), zip(heights(end, size), right, strict=True)
        return cls(first, end, size, [*left_side], [*right_side])


def read_line(line: bytes, *, is_of_instance: bool) -> Line:
    """Take a line of events apart: most by their one form, with quotes alone escaped. Raises what broken shapes raise."""
    if found := _EVENT.fullmatch(line):
        quoted, quotes = found[4][1:-1], found[4].count(b'\\"')
        text = quoted.translate(None, b"\\")
        if not quoted.count(b'"') == quotes == len(quoted) - len(text) or not text.isascii():
            text = json.loads(found[4].decode()).encode()
        return text, bytes.fromhex(found[2].decode()), found[1], found[3].decode(), {}
    if (event := loaded(line.decode())).keys() == {"idx", "leaf", "checkpoint"} and is_of_instance:
        return Checkpoint.parse(event["checkpoint"]).text.encode(), b"", b"", event["leaf"], {}
    columns = event.pop("columns", {})
    is_event = event.keys() == {"idx", "kid", "mac", "leaf", "body"} and columns.keys() <= {*COLUMNS.split()}
    demand(is_event and re.fullmatch("[0-9a-f]{64}", event["mac"]), "its fields are not those that are known here")
    return event["body"].encode(), bytes.fromhex(event["mac"]), event["kid"].encode(), event["leaf"], columns


def read_body(text: bytes) -> Said:
    """What a body of version 1 in canonical form says. Raises ValueError."""
    found = _BODY.fullmatch(text) if len(text) <= MAX_BODY_BYTES else None
    said = demand(found, "its body is not one of version 1 in canonical form, of at most 8,192 bytes")
    at, made = said["at"], said["id"]
    told = milliseconds(f"{at[:16].decode()}:00Z") + int(at[17:19] + at[20:23])
    demand(abs(told - int(made[:8] + made[9:13], 16)) <= CLOCK_TOLERANCE_MS, "its id is of another time than it tells")
    return said


def look_at(log: MacKeys, leaves: list[Leaf]) -> Seen:
    """Check events one by one, and gather what is to be compared with others: ids, and revisions of what was changed."""
    hashes, counts, findings, rows = list[bytes](), Counter[str](), list[tuple[str, str, int]](), list[Row]()
    for index, told, beside in leaves:
        hashes.append(b"" if told else beside)
        try:
            line = read_line(told, is_of_instance=log[0] is None) if told else (b"", b"", b"", "", {})
            if told:
                hashes[-1] = sha256(LEAF, MAC_PREFIX if line[1] else CHECKPOINT_PREFIX, *line[:2])
                counts["events" if line[1] else "checkpoints"] += 1
                if hashes[-1].hex()[:8] != line[3]:
                    findings.append(("leaf", "this is not what the log holds at this index", index))
            if line[1]:
                said = read_body(line[0])
                findings += [(kind, words, index) for kind, words in problems(log, line, said)]
                is_alarm = said["action"] == b"audit.verification_failed"
                rows.append((said["id"].replace(b"-", b""), index, 0, ALARM if is_alarm else EVENT))
                if said["op"] != b"read":
                    rows.append((said["type"] + LF + said["object"], index, int(said["rev"]), said["op"]))
                findings += [("detail", words, index) for words in detail_problems(said, beside, counts, rows, index)]
        except MALFORMED as error:
            findings.append(("malformed", f"this is no event: {error}", index))
    return Spine(leaves[0][0]).add([(0, leaf) for leaf in hashes] if all(hashes) else []).nodes, counts, findings, rows


@lru_cache
def begun_mac(key: bytes) -> hmac.HMAC:
    """HMAC-SHA256 up to where an event begins: to copy it costs less than making it does."""
    return hmac.new(key, MAC_PREFIX, "sha256")


def problems(log: MacKeys, line: Line, said: Said) -> Iterator[tuple[str, str]]:
    """What is wrong with one event by itself: kind and words."""
    (workspace, macs), (text, mac, kid, _hint, columns) = log, line
    if said["kid"] != kid or (said["workspace"] or b"").decode() != (workspace or ""):
        yield "projection", "its key id or its workspace differs from the signed body"
    body = json.loads(text) if columns else {}
    for name, value in columns.items():
        part, _dot, inner = name.partition(".")
        if json.dumps(value, sort_keys=True) != json.dumps(body[part].get(inner) if inner else body[part]):
            yield "projection", f"{name} differs in the database from the signed body"
    is_of_people = said["actor"] == b"user" or said["action"] in DECISIONS
    if is_of_people and said["kid"].rpartition(b"-")[0] not in KEYS_OF_PEOPLE:
        yield "wrong signer", f"what people do or decide is told under {kid.decode()}, which is no key of people"
    if macs and kid not in macs:
        newer = "it is newer than these keys, or not of this workspace; ask for them anew (./manage.py audit_keys)"
        yield "unknown key", f"no key {kid.decode()} was given: {newer}"
    elif macs:
        (made := begun_mac(macs[kid]).copy()).update(text)
        if made.digest() != mac:
            yield "bad mac", "the event was not signed by a holder of the key"


def detail_problems(said: Said, line: bytes, counts: Counter[str], rows: list[Row], index: int) -> Iterator[str]:
    """What is wrong with an event's detail; `rows` takes that it is gone, or of which ones it tells so."""
    if bool(line) != bool(said["detail"]):
        yield "it has a detail, and its signed text none, or the other way round"
    elif line:
        counts["details"] += 1
        detail = json.loads(line) if _DETAIL.fullmatch(line) else loaded(line.decode())  # most: the quick way
        form = "body_base64" if "body_base64" in detail else "body"
        same = {"event_id": said["id"].decode(), "media_type": "application/json"}
        if detail.keys() != {*same, "idx", form, "salt", "erased_at"} or same != {name: detail[name] for name in same}:
            yield "its detail is of another event or kind, or has other fields"
        elif detail["salt"] is None and detail[form] is None:
            counts["details_erased"] += 1 if milliseconds(detail["erased_at"]) else 0
            rows.append((said["id"].replace(b"-", b""), index, 0, GONE))
        else:
            salt = re.fullmatch("[0-9a-f]{64}", detail["salt"])
            data = decoded(detail[form]) if form == "body_base64" else detail[form].encode()
            mac = hmac.digest(bytes.fromhex(salt[0]), data, "sha256").hex().encode() if salt else b""
            if mac != said["detail"] or detail["erased_at"] is not None:
                yield "it is not the detail that was signed"
            with suppress(*MALFORMED):  # words that no process uses tell of nothing
                ids = loaded(data.decode())["events"] if said["action"] == ERASING else []
                named = [name for name in ids if type(ids) is list and type(name) is str and re.fullmatch(UUID, name)]
                rows += [(name.replace("-", "").encode(), index, 0, TOLD) for name in named]


def each(work: Callable[[list[Leaf]], Seen], jobs: Iterator[list[Leaf]], processes: int) -> Iterator[Seen]:
    """What comes of each job, in order; never more of them at once than memory should hold."""
    with ProcessPoolExecutor(processes) as pool:
        waiting = deque(pool.submit(work, job) for job in islice(jobs, 2 * processes))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, job) for job in islice(jobs, 1))


def parse_manifest(text: str) -> dict[str, Any]:
    """What a bundle says of itself: of the right shape, and not believed."""
    said: dict[str, Any] = loaded(text)
    left, words = said["omitted"], f"MANIFEST.json is not one of {FORMAT}, or a count, a time or the filters are none."
    is_of_it = said["format"] == FORMAT and said.keys() == MANIFEST and left.keys() == LEFT_OUT | {"missing_at"}
    counts = [*(said[name] for name in [*COUNTS, "epoch"]), *(left[name] for name in LEFT_OUT), *left["missing_at"]]
    is_counted = type(left["missing_at"]) is list and all(type(count) is int and count >= 0 for count in counts)
    flat = [one for value in said["filters"].values() for one in (value if type(value) is list else [value])]
    demand(is_of_it and is_counted and all(type(one) is str for one in flat) and milliseconds(said["sealed_at"]), words)
    return said


def end_of(opened: Any, member: zipfile.ZipInfo, place: int) -> int:
    """Where a member ends that begins at this place under what the directory says of it, so that every reader reads it."""
    opened.fp.seek(place)
    head = opened.fp.read(50 + len(member.filename))
    extra, member.extra = member.extra, b""
    form = member.FileHeader(zip64=head[18:26] == b"\xff" * 8)
    is_told = (member.header_offset, member.orig_filename, member.comment) == (place, member.filename, b"")
    is_alone = head.startswith(form) and extra[:4] in {b"", struct.pack("<HH", 1, max(len(extra) - 4, 0))}
    demand(is_told and is_alone, f"{member.filename} is not alone at its place: readers may differ on it.")
    return place + len(form) + member.compress_size


class Bundle(Report):
    """The report of a bundle while it is made, step by step. Raises ValueError when it is none."""

    def __init__(self, opened: Any, given: list[Key], held: MacKeys, since: str, *, trust: bool) -> None:
        super().__init__()
        self.update(dict.fromkeys(COUNTED, 0), alarms=[], left_out=[], rotations_followed=[])
        self.zip, self.macs, names = opened, held[1], opened.namelist()
        is_bundle = len({*names}) == len(names) and MEMBERS <= {*names} <= MEMBERS | {"consistency.proof"}
        hint = " That is an evidence pack: its bundle.zip is the bundle." if "bundle.zip" in names else ""
        demand(is_bundle, f"A bundle holds {sorted(MEMBERS)}, each once, and this one {names[:12]}.{hint}")
        self.hashes, self.ends, place = {name: hashlib.sha256() for name in names}, dict[str, int](), 0
        for name, member in zip(names, opened.infolist(), strict=True):
            self.ends[name] = place = end_of(opened, member, place)
            most = min(LARGEST.get(name, MAX_SMALL_BYTES), RATIOS.get(name, MAX_RATIO) * (member.compress_size + 100))
            is_plain = member.compress_type in {0, 8} and member.external_attr >> 28 in {0, 8} and not member.flag_bits
            demand(is_plain and member.file_size <= most, f"{name} is packed oddly, no plain file, or too large.")
        opened.fp.seek(place)
        rest, n = opened.fp.read(), [len(names)] * 2
        size = int.from_bytes(rest[-10:-6], "little")
        more = b"PK\6\6", 44, 45, 45, 0, 0, *n, size, place, b"PK\6\7", 0, place + size, 1
        small = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *n, size, min(place, LARGE), 0)
        demand(rest[size:] in {small, struct.pack("<4sQ2H2L4Q4sLQL", *more) + small}, "The zip ends as no bundle does.")
        self.texts = {name: b"".join(self.unpacked(name)).decode() for name in names if name not in STREAMED}
        shown = [Key.parse(line) for line in self.texts["vkeys"].removesuffix("\n").split("\n")]
        keys = [*given, *shown] if trust else [*given]
        follow_rotations(self.texts["rotations"], keys, self)
        self.checkpoint = check_note(self.texts["checkpoint"], keys, held, self)
        self.said, self.span = parse_manifest(self.texts["MANIFEST.json"]), Range.parse(self.texts["range.proof"])
        self.update(filters=self.said["filters"], expired=self.said["omitted"]["expired"])
        self.update(first=self.span.first, end=self.span.end)
        self.old = Checkpoint.parse(since.replace("\r\n", "\n").rpartition("\n\n")[0] + "\n") if since else None
        self.spine, self.old_root = Spine().add(self.span.left), b""

    def check(self, processes: int) -> Report:
        """Grow the tree leaf by leaf, in constant memory, and hold all that is said against what is there."""
        event_bytes, _, omitted_bytes = (self.zip.getinfo(name).file_size for name in STREAMED)
        most = event_bytes // LEAST_LINE_BYTES + omitted_bytes // 32 + LEAVES_MORE
        demand(self.span.end - self.span.first <= most, "The range is of more leaves than the bundle can hold.")
        old = self.old.size if self.old else -1
        self.old_root = self.spine.root() if self.spine.end == old else b""
        is_large = processes > 1 and event_bytes > PARALLEL_BYTES  # below, starting processes costs more than they save
        work, jobs = partial(look_at, (self["workspace"], self.macs)), self.jobs(old)
        with closing(sqlite3.connect("")) as table:  # a file that is gone with it; most of it is never in memory
            table.execute("CREATE TABLE seen (what BLOB, idx INTEGER, rev INTEGER, op BLOB)")
            for nodes, counts, findings, rows in each(work, jobs, processes) if is_large else map(work, jobs):
                self.old_root = self.spine.root() if self.spine.add(nodes).end == old else self.old_root
                self |= {name: self[name] + count for name, count in counts.items()}
                table.executemany("INSERT INTO seen VALUES (?, ?, ?, ?)", rows)
                for finding in findings:
                    self.add(*finding)
            self.check_left_out(*self.check_histories(table))
        root = self.spine.add(self.span.right).root() if self.spine.end == self.span.end else b""
        is_root = root == self.checkpoint.root and self.span.size == self.checkpoint.size
        self.add("root", "leaves and range proof do not lead to the root of the checkpoint", unless=is_root)
        self.check_older()
        digests = {name: sha256.hexdigest() for name, sha256 in self.hashes.items() if name != "MANIFEST.json"}
        found = {name: self[name] for name in (*COUNTS, "origin", "workspace", "epoch")} | {"files": digests}
        for name, value in [(name, value) for name, value in found.items() if value != self.said[name]]:
            self.add("manifest", f"{name}: {self.said[name]!s:.99} in the manifest, and {value!s:.99} was found")
        return self

    def lines(self, name: str) -> Iterator[tuple[int, bytes]]:
        """The numbered lines of a member, one in memory; those whose number does not rise are noted and left out."""
        last, rest = self.span.first - 1, b""
        for piece in self.unpacked(name):
            *lines, rest = (rest + piece).split(LF)
            demand(max(map(len, [*lines, rest])) <= MAX_LINE_BYTES, f"{name} has a line that is too long.")
            for line in lines:
                index = int(found[1]) if (found := _INDEX.match(line)) else None
                if index is not None and index > last:
                    yield (last := index), line
                else:
                    self.add("order", f"in {name} a line does not begin with an index above {last}", index)
        demand(not rest, f"{name} ends within a line.")
        yield sys.maxsize, b""

    def unpacked(self, name: str) -> Iterator[bytes]:
        """A member piece by piece, which is one stream and all that is packed in its place: zipfile would not mind more."""
        info, stream, end, size, crc = self.zip.getinfo(name), zlib.decompressobj(-15), self.ends[name], 0, 0
        with suppress(zlib.error):
            for place in range(end - info.compress_size, end, PACKED_BYTES):
                self.zip.fp.seek(place)
                packed = self.zip.fp.read(min(PACKED_BYTES, end - place))
                piece = stream.decompress(packed) if info.compress_type else packed
                size, crc = size + len(piece), zlib.crc32(piece, crc)
                if size > info.file_size or stream.unused_data:
                    break
                self.hashes[name].update(piece)
                yield piece
        is_it = (size, crc, stream.eof, stream.unused_data) == (info.file_size, info.CRC, info.compress_type > 0, b"")
        demand(is_it, f"The file was changed or damaged after it was made ({name}): get it again.")

    def jobs(self, old: int) -> Iterator[list[Leaf]]:
        """The leaves in pieces that fit into memory, one ending at `old`; what is missing or too much is noted."""
        span, events, details = self.span, self.lines("events.jsonl"), self.lines("details.jsonl")
        omitted = chain.from_iterable(self.unpacked("omitted.bin"))
        (event, line), (about, detail), lost, first_lost = next(events), next(details), 0, sys.maxsize
        job, size = list[Leaf](), 0
        for index in range(span.first, span.end):
            told, beside = b"", b""
            if about == index:
                beside, (about, detail) = detail, next(details)
            if event == index:
                told, (event, line) = line, next(events)
            else:
                self.add("detail", "a detail belongs to no event of the bundle", index, unless=not beside)
                beside = bytes(islice(omitted, 32))
                self["left_out"] = [*(self["left_out"] or [index])[:1], index]
                self["omitted"] += len(beside) == 32
                if len(beside) < 32 or not (self["filters"] or self["expired"]):
                    lost, first_lost = lost + 1, min(first_lost, index)
            job.append((index, told, beside if told or len(beside) == 32 else b""))
            size += LEAST_LINE_BYTES + len(told) + len(beside)
            if index + 1 in {old, span.end} or size > JOB_BYTES:
                yield job
                job, size = [], 0
        self.add("missing", f"not there, nor what would say why; {lost} in all", first_lost, unless=not lost)
        after = min(event, about, sys.maxsize if next(omitted, None) is None else span.end)
        deque(chain(events, details, omitted), 0)  # to the end, for order and hashes
        self.add("range", f"more than the leaves up to {span.end}", after, unless=after == sys.maxsize)

    def check_histories(self, table: sqlite3.Connection) -> tuple[int, int]:
        """No event twice, and of each object revision after revision. The newest time, and the first that cannot have expired."""
        now = min(milliseconds(self.said["created_at"]), int(datetime.now(UTC).timestamp() * 1000))
        oldest, is_whole = b"%012x" % max(0, now - SEVEN_YEARS_MS), self["first"] == self["omitted"] == 0
        newest, young = table.execute(AGES, (oldest, EVENT, ALARM)).fetchone()
        self["alarms"] = [row[0] for row in table.execute(ALARMS, (ALARM, MAX_FINDINGS))]
        for (index,) in table.execute(TWICE, (EVENT, ALARM)):
            self.add("duplicate", "the same event stands in the log twice", index)
        before = b"", 0, b""
        for what, index, revision, op in table.execute(CHANGES, (EVENT, ALARM, GONE, TOLD)):
            last, last_op = before[1:] if before[0] == what else (0, b"")
            before = what, revision, op
            if (revision, op) != (last, last_op):  # several events may tell of one change
                is_after = revision > last and (op == b"insert") == (revision == 1) and last_op != b"delete"
                is_next = is_after and (revision == last + 1 or not is_whole)
                self.add("revision", f"of its object, {revision} does not follow {last}", index, unless=is_next)
                self["objects"] += not last_op
        (self["details_unexplained"],) = table.execute(UNEXPLAINED, (GONE, TOLD)).fetchone()
        self["complete"] = is_whole and self.span.end == self.checkpoint.size and not self["filters"]
        return int(newest or b"0", 16), sys.maxsize if young is None else young

    def check_left_out(self, newest: int, young: int) -> None:
        """Whether events that are left out have a reason, and what only the manifest says."""
        left, made, filters, places = self.said["omitted"], self.said["created_at"], self["filters"], self["left_out"]
        is_later = newest <= milliseconds(made) + 2 * CLOCK_TOLERANCE_MS
        self.add("manifest", f"the bundle was made {made}, before events happened that it holds", unless=is_later)
        self["newest_event_at"] = str(datetime.fromtimestamp(newest / 1000, UTC)) if newest else None
        self["only_claimed"] = {name: self.said[name] for name in ("created_at", "sealed_at")}
        is_told = sum(left[name] for name in LEFT_OUT) == self["omitted"] and (filters or not left["filtered"])
        self.add("missing", f"{self['omitted']} leaves are left out; the manifest says {left}", unless=is_told)
        where, words = min(left["missing_at"], default=None), "events that the log holds and the database did not"
        self.add("missing", f"{left['missing']} {words}", where, unless=not left["missing"])
        if left["expired"] and not filters and places and places[-1] > young:
            self.add("missing", f"event {young} before it is younger than seven years: it did not expire", places[-1])
        lost = self["details_unexplained"]
        claims = {
            f"{left['expired']} of {places} expired: the instance log must tell so": left["expired"],
            f"that the filters find what is here and nothing of the {left['filtered']} left out": left["filtered"],
            f"why {lost} details were erased: no event of this bundle tells of it": lost,
        }
        self["not_checked"] += [words for words, count in claims.items() if count]

    def check_older(self) -> None:
        """Whether the log begins with what an older checkpoint says, by its leaves or by a proof."""
        new, old, root = self.checkpoint, self.old, self.old_root
        if "consistency.proof" in self.texts:
            span = Range.parse(self.texts["consistency.proof"])
            proved = (spine := Spine().add(span.left)).root()
            is_it = span.first == span.end and span.size == new.size and spine.add(span.right).root() == new.root
            self.add("consistency", "consistency.proof does not lead to the checkpoint", unless=is_it)
            root = root or (proved if old and old.size == span.first else b"")
        if old and old.origin != new.origin:
            self.add("consistency", f"the older checkpoint is of {old.origin}, and this one of {new.origin}")
        elif old and (old.size > new.size or (root and root != old.root)):
            self.add("consistency", f"this log does not begin with the {old.size} entries of the older checkpoint")
        elif old and not root:
            self["not_checked"].append(f"the older checkpoint: export with it, to have a proof from {old.size} on")
            self["is_signed"] = False


def check_proof(text: str, keys: list[Key], held: MacKeys, event: bytes) -> Report:
    """Check a `.tlog-proof` (c2sp.org/tlog-proof@v1) of one event, which its extra line holds unless it is given."""
    found = demand(_TLOG.fullmatch(text), "This is neither a bundle nor a proof of c2sp.org/tlog-proof@v1.")
    checkpoint, index = check_note(found[4], keys, held, report := Report()), int(found[2])
    told, proof = event.rstrip(b"\n") or decoded(found[1] or ""), [decoded(value, 32) for value in found[3].split()]
    line, place = read_line(told, is_of_instance=False), _INDEX.match(told)
    for kind, words in problems((report["workspace"], held[1]), line, read_body(line[0])):
        report.add(kind, words, index)
    leaf = sha256(LEAF, MAC_PREFIX, *line[:2])
    report.add("leaf", "this is not what the log holds at this index", index, unless=leaf.hex()[:8] == line[3])
    root = root_above(leaf, index, checkpoint.size, proof) if index < checkpoint.size else b""
    is_in = root == checkpoint.root and not proof and place and int(place[1]) == index
    report.add("inclusion", "the event is not at this index of the log", index, unless=is_in)
    report |= {"index": index, "event": json.loads(line[0])}
    return report


def small(path: Path | None) -> str:
    """A file that is read whole; nothing if none is named."""
    size = path.stat().st_size if path and path.is_file() else 0
    demand(not path or 0 < size <= MAX_SMALL_BYTES, f"{path} is not there, empty, or too large to be one.")
    return path.read_bytes().decode() if path else ""


def checked(wish: argparse.Namespace) -> Report:
    """What the command line names. Raises what broken shapes raise."""
    keys = [Key.parse(line) for path in wish.key for line in small(path).split("\n") if line.strip()]
    told = loaded(small(wish.mac_keys) or '{"workspace": null, "keys": {}}')
    held = told["workspace"], {kid.encode(): bytes.fromhex(key) for kid, key in told["keys"].items()}
    is_held = told.keys() == {"workspace", "keys"} and all(len(key) == 32 for key in held[1].values())
    demand(is_held, f"{wish.mac_keys} does not hold the MAC keys of a workspace.")
    demand(wish.file.is_file(), f"{wish.file} is no file: a bundle is a zip as it was exported, and not unpacked.")
    with wish.file.open("rb") as file:
        is_bundle = file.read(4) == b"PK\3\4"
        file.seek(-min(98, wish.file.stat().st_size), os.SEEK_END)
        is_whole = not is_bundle or _END.fullmatch(file.read())
    demand(is_whole, "The zip does not end as one does: its directory is too large, or something follows.")
    if not is_bundle:
        return check_proof(small(wish.file), keys, held, small(wish.event).encode())
    with zipfile.ZipFile(wish.file) as opened:
        return Bundle(opened, keys, held, small(wish.since), trust=wish.trust_bundle_keys).check(wish.jobs)


def main(arguments: list[str]) -> int:
    """Verify what the command line names and print the report; the exit code."""
    parser = argparse.ArgumentParser(description="Verify a bundle of an audit log, or a .tlog-proof, offline.")
    parser.add_argument("file", type=Path, help="the bundle (.zip), or the proof of one event (.tlog-proof)")
    parser.add_argument("--key", type=Path, action="append", default=[], help="public keys of the log: a .pub file")
    parser.add_argument("--mac-keys", type=Path, help="the workspace's MAC keys")
    parser.add_argument("--since", type=Path, help="an older checkpoint of this log that you kept")
    parser.add_argument("--event", type=Path, help="the event of a .tlog-proof without an extra line")
    parser.add_argument("--trust-bundle-keys", action="store_true", help="trust what anybody can put into a bundle")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 8), help="processes for a large bundle")
    try:
        report = checked(parser.parse_args(arguments))
    except BROKEN as error:
        print(json.dumps({"verdict": "unusable", "message": str(error)[:MAX_WORDS]}, indent=2))
        return 2
    # Consistent is not authentic: what no given key signed is never `ok`.
    is_shown = report["is_signed"] and not report.get("expired") and not report.get("details_unexplained")
    verdict, code = ("failed", 1) if report["finding_count"] else ("ok", 0) if is_shown else ("incomplete", 3)
    print(json.dumps({"verdict": verdict, **report}, indent=2))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
