"""Verify a bundle of an audit log, or the `.tlog-proof` of one event, offline: `python -I verify.py FILE.zip --key FILE.pub`.

One file, the standard library and, for signatures of checkpoints, the package `cryptography`; no code of the platform. It
reads what docs/audit-format.md promises and trusts nothing in the bundle, least of all a key. It prints a JSON report and
exits with 0 ("ok": what the given keys can show holds), 1 ("failed"), 2 ("unusable") or 3 ("incomplete": it holds as it is).
"""

import argparse
import base64
import hashlib
import hmac
import io
import json
import os
import re
import struct
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import lru_cache, partial, reduce
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa
except ImportError:
    print('{"verdict": "unusable", "message": "Install the package cryptography, 50 or newer: it tells who signed."}')
    sys.exit(2)

FORMAT, STREAMED = "provenance-audit-bundle/2", ("events.jsonl", "details.jsonl", "omitted.bin")
SMALL, OPTIONAL = {"range.proof", "checkpoint", "rotations", "vkeys", "MANIFEST.json"}, {"consistency.proof"}
COUNTS, LEFT_OUT = {"first", "end", "size", "events", "checkpoints", "details"}, ("filtered", "expired", "missing")
COUNTED = ("events", "checkpoints", "omitted", "details", "details_erased")
MANIFEST = COUNTS | {"format", "origin", "workspace", "epoch", "created_at", "sealed_at", "filters", "omitted", "files"}
COLUMNS = "id workspace object.type object.id object.rev object.op changed action actor.id actor.type outcome risk context.run_id"  # fmt: skip
MAC_PREFIX, CHECKPOINT_PREFIX = b"provenance-audit-v1\n", b"provenance-checkpoint-v1\n"
ED25519, KEY_KINDS = 1, {1: ("Ed25519", 33), 6: ("ML-DSA-44", 1313)}  # type byte; how many bytes, with that one
# What people do and decide is told by the processes in which they sign in; another process's key proves nothing of it.
KEYS_OF_PEOPLE, ERASING = {b"web", b"setup"}, b"audit.detail_erased"
DECISIONS = {b"approval.approved", b"approval.rejected", b"approval.decision_recorded", b"approval.payload_edited"}
SEVEN_YEARS_MS, CLOCK_TOLERANCE_MS = 7 * 365 * 86_400_000, 300_000
# What a hostile bundle may cost.
LEAST_LINE_BYTES, MAX_LINE_BYTES, MAX_BODY_BYTES, MAX_STREAMED_BYTES = 64, 262_144, 8192, 64 * 1024**3
MAX_SMALL_BYTES, MAX_RATIO, MAX_DETAIL_RATIO = 1_114_112, 100, 1100  # hashes and MACs do not pack well; details may
MAX_SIGNATURES, MAX_ROTATIONS, MAX_FINDINGS, MAX_WORDS, MAX_INTEGER = 64, 64, 1000, 300, 2**53 - 1
JOB_BYTES, MOST_LEAVES, BUCKETS, PARALLEL_BYTES = 1_048_576, 65_536, 64, 16 * 1024**2

NUMBER, ZONE = "(0|[1-9][0-9]{0,14})", r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_ORIGIN = re.compile(r"(.+)/(?:instance|([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))(?:/e([2-9]|[1-9][0-9]{1,8}))?")
_CHECKPOINT = re.compile(rf"([^\n]+)\n{NUMBER}\n([A-Za-z0-9+/]{{43}}=)\n")
_RANGE = re.compile(rf"provenance-range-proof@v1\nrange{3 * f' {NUMBER}'}\n((?:left \S+\n)*)((?:right \S+\n)*)")
_TLOG = re.compile(rf"c2sp.org/tlog-proof@v1\n(?:extra (\S+)\n)?index {NUMBER}\n((?:\S+\n)*)\n(.*)", re.DOTALL)
_TIME = re.compile(rf"20\d\d-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{{6}})?{ZONE}", re.ASCII)
# The end of a zip, with or without its large form: a directory of less than 64 KiB, and nothing after it (T30).
_END = re.compile(rb"(?:PK\x06\x06.{36}..\0{6}.{8}PK\x06\x07.{16}|(?!PK\x06\x06).{56}(?!PK\x06\x07).{20})PK\x05\x06.{8}..\0\0.{4}\0\0", re.DOTALL)  # fmt: skip
_INDEX = re.compile(rb'\{"idx":(0|[1-9]\d{0,14}),')
_EVENT = re.compile(rb'\{"idx":\d+,"kid":"([a-z]+-\d+)","mac":"([0-9a-f]{64})","leaf":"([0-9a-f]{8})","body":"')
_DETAIL = re.compile(rb'\{"idx":\d+,"event_id":"([0-9a-f-]{36})","salt":"([0-9a-f]{64})","media_type":"application/json","erased_at":null,"body":"')  # fmt: skip
_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_ESCAPED = bytes([*range(32), ord("\\")])
_RECORD = struct.Struct("<16sqqc")
# A body of version 1 in canonical form (RFC 8785): these fields in this order, no white space, the shortest escapes.
_FIELDS = rb"""\{"action":"(?P<action>TEXT)","actor":\{"id":"TEXT","type":"(?P<actor>user|agent|system|integration)","via":"TEXT"\},
"at":"(?P<at>20\d\d-\d\d-\d\dT\d\d:\d\d:[0-5]\d\.\d{6}Z)","changed":\[(?:"TEXT"(?:,"TEXT")*+)?\],
"context":\{<action_digest><action_id><agent_version>(?:"continues":\{"kept":NUMBER(?:,"origin":"TEXT","root":"HASH","size":NUMBER)?\}NEXT)?
(?:"data_tier":NUMBERNEXT)?<environment><request><run_id><step><workflow_version>\},"detail":(?:null|"(?P<detail>HASH)"),"gap":NUMBER,
"id":"(?P<id>[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})","kid":"(?P<kid>[a-z]+-[1-9]\d*)",
"object":\{"id":"(?P<object>TEXT)","op":"(?P<op>read|insert|update|delete)","rev":(?P<rev>null|NUMBER),"type":"(?P<type>TEXT)"\},
"on_behalf_of":"TEXT","outcome":"(?:success|failure|blocked|pending|unknown)","risk":"(?:low|medium|high|critical)",
(?:"sanitized":true,)?"state":(?:null|"HASH"),"v":1,"workspace":(?:null|"(?P<workspace>[0-9a-f-]{36})")\}"""
_PARTS = {
    b"\n": b"",
    b"NEXT": rb"(?:,(?!\})|(?=\}))",
    b"HASH": b"[0-9a-f]{64}",
    b"NUMBER": NUMBER.replace("(", "(?:").encode(),
    b"TEXT": rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\bfnrt]|u00(?:0[1-7bef]|1[0-9a-f]))[^"\\\x00-\x1f]*+)*+',
}
_KNOWN = re.sub(rb"(?<!P)<(\w+)>", rb'(?:"\1":"TEXT"NEXT)?', _FIELDS)
_BODY = re.compile(reduce(lambda pattern, part: pattern.replace(*part), _PARTS.items(), _KNOWN))
# All that broken shapes raise.
BROKEN: tuple[type[Exception], ...] = (
    ValueError,
    OSError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    MemoryError,
)
BROKEN += (RuntimeError, ArithmeticError, struct.error, zipfile.BadZipFile, zlib.error, UnsupportedAlgorithm)

Numbered = list[tuple[int, bytes]]  # subtrees with their height
MacKeys = tuple[str | None, dict[bytes, bytes]]  # of a workspace, or "instance"; by key id
Finding = tuple[str, str, int]
Line = tuple[bytes, bytes, bytes, str, dict[str, Any]]  # text, MAC (none: a checkpoint), key id, hint, doubtful columns
Job = tuple[int, int, list[tuple[int, bytes, bytes]], bytes]  # from index to index; events and details; hashes between
Kept = tuple[bytes, int, bytes]  # id or object, revision, and what it is: to compare with others of the same
Seen = tuple[Numbered, Counter[str], list[Finding], dict[int, bytes]]  # subtrees (none: a leaf is unknown); records


class Unusable(ValueError):
    """There is nothing to verify: the input is not what it should be."""


class Report(dict[str, Any]):
    """What was looked at and what does not hold."""

    def __init__(self, **told: Any) -> None:
        super().__init__(is_signed=False, first_bad_index=None, finding_count=0, findings=[], not_checked=[], **told)

    def add(self, kind: str, message: str, index: int | None = None) -> None:
        """Note one thing that does not hold; after the first thousand only their number."""
        self["finding_count"] += 1
        if index is not None and index < (sys.maxsize if (first := self["first_bad_index"]) is None else first):
            self["first_bad_index"] = index
        if self["finding_count"] <= MAX_FINDINGS:
            self["findings"].append({"kind": kind, "idx": index, "message": message[:MAX_WORDS]})

    @property
    def verdict(self) -> str:
        """Consistent is not authentic: what no given key signed is never `ok`."""
        is_shown = self["is_signed"] and not self.get("expired") and not self.get("details_unexplained")
        return "failed" if self["finding_count"] else "ok" if is_shown else "incomplete"


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(value := dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def whole(digits: str) -> int:
    if len(digits) > 17 or abs(number := int(digits)) > MAX_INTEGER:
        raise ValueError("a number is no whole one below 2^53")
    return number


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
    if base64.b64encode(value).decode() != text or size not in {None, len(value)}:
        raise ValueError("something is no base64 of as many bytes as belong there")
    return value


def milliseconds(text: str) -> int:
    """Since 1970, of a time with its zone. Raises ValueError."""
    if not (found := _TIME.fullmatch(text)):
        raise ValueError(f"{text[:40]!r} is no time")
    return int(datetime.fromisoformat(text).timestamp()) * 1000 + int((found[1] or ".000")[1:4])


@lru_cache
def minute(text: bytes) -> int:
    return milliseconds(f"{text.decode()}:00Z")


class Checkpoint(NamedTuple):
    """Three lines: whose log, how large it is, and its root."""

    text: str
    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        if not (found := _CHECKPOINT.fullmatch(text)):
            raise Unusable("This is no checkpoint of three lines.")
        return cls(text, found[1], int(found[2]), decoded(found[3], 32))

    def whose(self) -> tuple[str | None, int]:
        """The workspace (None: the instance) and the epoch that the name tells."""
        if not (found := _ORIGIN.fullmatch(self.origin)):
            raise Unusable(f"{self.origin[:200]!r} names neither the log of a workspace nor that of the instance.")
        return found[2], int(found[3] or 1)


class Key(NamedTuple):
    """A verifier key of c2sp.org/signed-note: whose, and its type byte before the public key."""

    name: str
    material: bytes

    @classmethod
    def parse(cls, text: str) -> "Key":
        """The key that a line of a `.pub` file names. Raises `Unusable`."""
        found = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+(\S+)", text)
        key = cls(found[1], decoded(found[3])) if found else cls("", b"\0")
        if not found or KEY_KINDS.get(key.material[0], ("", 0))[1] != len(key.material) or key.id.hex() != found[2]:
            raise Unusable(f"{text[:80]!r} is no verifier key that is known here, or its id is not that of its key.")
        return key

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + self.material).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}"

    def holds(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's over these bytes."""
        library: Any = ed25519.Ed25519PublicKey if self.material[0] == ED25519 else mldsa.MLDSA44PublicKey
        try:
            library.from_public_bytes(self.material[1:]).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def signed(self, checkpoint: Checkpoint, signature: bytes) -> bool:
        """Whether that of a signature line is this key's over the checkpoint (c2sp.org/tlog-cosignature for ML-DSA-44)."""
        if self.material[0] == ED25519:
            return self.holds(checkpoint.text.encode(), signature)
        signer, log = (bytes([len(name.encode())]) + name.encode() for name in (self.name, checkpoint.origin))
        message = b"subtree/v1\n\0" + signer + signature[:8] + log + bytes(8) + checkpoint.size.to_bytes(8, "big")
        return self.holds(message + checkpoint.root, signature[8:])


def check_note(note: str, keys: list[Key], report: Report) -> Checkpoint:
    """Open a checkpoint that its log signed, with each type of key that was given for it. Raises `Unusable`."""
    text, _separator, tail = note.rpartition("\n\n")
    lines = re.findall(r"\u2014 (\S+) ([A-Za-z0-9+/=]+)\n", tail)[:MAX_SIGNATURES]
    if not lines or tail != "".join(f"\u2014 {name} {code}\n" for name, code in lines):
        raise Unusable("The checkpoint is no signed note.")
    checkpoint, known = Checkpoint.parse(f"{text}\n"), {(key.name, key.id): key for key in keys}
    report |= {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex(), "signed_by": []}
    missing = {key.material[0] for key in keys if key.name == checkpoint.origin} or {ED25519}
    for key, signature in [(known.get((name, decoded(code)[:4])), decoded(code)[4:]) for name, code in lines]:
        if key and not key.signed(checkpoint, signature):
            report.add("checkpoint", f"the signature of {key} does not hold")
        elif key:
            report["signed_by"].append(str(key))
            missing -= {key.material[0]} if key.name == checkpoint.origin else set()
    for kind in missing if keys else ():
        report.add("checkpoint", f"no given {KEY_KINDS[kind][0]} key of {checkpoint.origin} signed the checkpoint")
    report["not_checked"] += [] if keys else ["who signed the checkpoint: no key was given (--key)"]
    report["is_signed"] = not missing
    return checkpoint


def follow_rotations(text: str, keys: list[Key], report: Report) -> None:
    """Trust a new key of a log when one already trusted, of the same type, signed that it follows (T30)."""
    *lines, rest = text.split("\n")
    if rest or len(lines) % 6 or len(lines) > 6 * MAX_ROTATIONS or set(lines[::6]) - {"provenance-rotation-v1"}:
        raise Unusable("The member rotations does not hold rotations of six lines each.")
    for start in range(0, len(lines), 6):
        origin, old, new, until, signature = lines[start + 1 : start + 6]
        message, material, _ = "\n".join([*lines[start : start + 5], ""]).encode(), decoded(old), milliseconds(until)
        for key in {key for key in keys if key.material == material and key.name.startswith(f"{origin}/")}:
            following = Key(key.name, decoded(new))
            is_alike = (following.material[:1], len(following.material)) == (material[:1], len(material))
            if is_alike and key.holds(message, decoded(signature)):
                keys.append(following)
                report["rotations_followed"].append(f"{key}, then {following.id.hex()}")
            else:
                report.add("rotation", f"the rotation of {key} is not signed by that key")


def leaf_hash(text: bytes, mac: bytes) -> bytes:
    return hashlib.sha256(b"\0" + (MAC_PREFIX if mac else CHECKPOINT_PREFIX) + text + mac).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Spine:
    """The right edge of a tree that grows from index `end` on by whole subtrees, each a height and a hash (RFC 6962)."""

    def __init__(self, end: int = 0) -> None:
        self.nodes, self.end = Numbered(), end

    def add(self, nodes: Iterable[tuple[int, bytes]]) -> "Spine":
        for height, value in nodes:
            level, node, index, self.end = height, value, self.end >> height, self.end + (1 << height)
            while index & 1 and self.nodes and self.nodes[-1][0] == level:
                node, index, level = node_hash(self.nodes.pop()[1], node), index >> 1, level + 1
            self.nodes.append((level, node))
        return self

    def root(self) -> bytes:
        hashes = [node for _height, node in reversed(self.nodes)] or [hashlib.sha256(b"").digest()]
        return reduce(lambda right, left: node_hash(left, right), hashes)


def root_above(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """The root to which a proof leads from the leaf at this index (PATH of RFC 6962, 2.1.1); the proof is used up."""
    if size < 2:
        return leaf
    half, sibling = 1 << (size - 1).bit_length() - 1, proof.pop() if proof else b""
    inner = root_above(leaf, index % half, half if index < half else size - half, proof)
    return node_hash(inner, sibling) if index < half else node_hash(sibling, inner)


def heights(first: int, end: int) -> Iterator[int]:
    """The heights of the fewest whole subtrees that cover the leaves from `first` up to `end`."""
    while first < end:
        height = min((first & -first).bit_length() - 1 if first else 64, (end - first).bit_length() - 1)
        yield height
        first += 1 << height


class Range(NamedTuple):
    """The leaves from `first` up to `end` of a tree of `size`, and the subtrees left and right of them."""

    first: int
    end: int
    size: int
    left: Numbered
    right: Numbered

    @classmethod
    def parse(cls, text: str) -> "Range":
        found = _RANGE.fullmatch(text)
        first, end, size = (int(number) for number in found.groups()[:3]) if found else (1, 0, 0)
        if not found or not first <= end <= size:
            raise Unusable("A range proof is not one.")
        left, right = ([decoded(line, 32) for line in re.findall(r" (\S+)\n", side)] for side in found.groups()[3:])
        left_side, right_side = zip(heights(0, first), left, strict=True), zip(heights(end, size), right, strict=True)
        return cls(first, end, size, [*left_side], [*right_side])


def plain(line: bytes, start: int) -> bytes:
    """The string that ends a line, if nothing is escaped in it but quotes: the quick way for most. Else nothing."""
    text = (string := line[start:-2]).translate(None, _ESCAPED)
    is_plain = string.count(b'\\"') == string.count(b'"') == len(string) - len(text) and line.endswith(b'"}')
    return text if is_plain and (line.isascii() or line.decode()) else b""


def read_line(line: bytes, *, is_of_instance: bool) -> Line:
    """Take a line of events apart. Raises ValueError and what broken shapes raise."""
    if (head := _EVENT.match(line)) and (text := plain(line, head.end())):
        return text, bytes.fromhex(head[2].decode()), head[1], head[3].decode(), {}
    if (event := loaded(line.decode())).keys() == {"idx", "leaf", "checkpoint"} and is_of_instance:
        return Checkpoint.parse(event["checkpoint"]).text.encode(), b"", b"", event["leaf"], {}
    columns = event.pop("columns", {})
    is_event = event.keys() == {"idx", "kid", "mac", "leaf", "body"} and columns.keys() <= {*COLUMNS.split()}
    if not is_event or not re.fullmatch("[0-9a-f]{64}", event["mac"]):
        raise ValueError("its fields are not those of an event, or of a checkpoint in the log of the instance")
    return event["body"].encode(), bytes.fromhex(event["mac"]), event["kid"].encode(), event["leaf"], columns


def read_body(text: bytes) -> re.Match[bytes]:
    """What a body of version 1 in canonical form says. Raises ValueError."""
    said = _BODY.fullmatch(text)
    if not said or len(text) > MAX_BODY_BYTES or (said["op"] != b"read" and said["rev"] == b"null"):
        raise ValueError("its body is not one of version 1 in canonical form, of at most 8,192 bytes")
    at, event_id = said["at"], said["id"]
    told = minute(at[:16]) + int(at[17:19] + at[20:23])
    if abs(told - int(event_id[:8] + event_id[9:13], 16)) > CLOCK_TOLERANCE_MS:
        raise ValueError("the time in its id is not the time it tells")
    return said


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """RFC 2104 for keys of 32 bytes, in half the time of `hmac.digest`, which makes a context anew each time."""
    padded = key.ljust(64, b"\0")
    return hashlib.sha256(padded.translate(_OUTER) + hashlib.sha256(padded.translate(_INNER) + data).digest()).digest()


class Rules(NamedTuple):
    """What every event must agree with. `secret`: so that nobody can choose which events share a bucket."""

    workspace: str | None
    macs: dict[bytes, bytes]
    secret: bytes

    @classmethod
    def of(cls, log: Checkpoint, held: MacKeys, report: Report) -> "Rules":
        """Raises `Unusable` for MAC keys of another log."""
        (workspace, _epoch), (owner, macs) = log.whose(), held
        if macs and owner != (workspace or "instance"):
            raise Unusable(f"The MAC keys are those of {owner}, and this is the log of {workspace or 'instance'}.")
        report["not_checked"] += [] if macs else ["MACs: no keys of the workspace were given (--mac-keys)"]
        return cls(workspace, macs, os.urandom(16))

    def look_at(self, job: Job) -> Seen:
        """Check the events of a job one by one, and gather what is to be compared with others."""
        (start, end, events, packed), hashes = job, list[bytes]()
        counts, findings, records = Counter(omitted=len(packed) // 32), list[Finding](), defaultdict[int, bytes](bytes)
        omitted = iter([packed[at : at + 32] for at in range(0, len(packed), 32)])
        for index, text, detail in events:
            hashes += [next(omitted, b"") for _ in range(index - start - len(hashes))]
            hashes.append(b"")
            try:
                line = read_line(text, is_of_instance=self.workspace is None)
                hashes[-1] = leaf = leaf_hash(*line[:2])
                if leaf.hex()[:8] != line[3]:
                    findings.append(("leaf", "this is not what the log holds at this index", index))
                counts["events" if line[1] else "checkpoints"] += 1
                if line[1]:
                    said = read_body(line[0])
                    findings += [(kind, words, index) for kind, words in self.problems(line, said)]
                    self.record(said, index, records)
                    erased = list[Kept]()
                    findings += [("detail", words, index) for words in detail_problems(said, detail, counts, erased)]
                    self.keep(erased, index, records)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                findings.append(("malformed", f"this is no event: {error}", index))
        hashes += omitted
        is_known = len(hashes) == end - start and all(hashes)
        return Spine(start).add((0, leaf) for leaf in hashes if is_known).nodes, counts, findings, records

    def record(self, said: re.Match[bytes], index: int, records: dict[int, bytes]) -> None:
        """Put what is compared with other events where theirs is: the id, and the revision of a changed object."""
        op = b"!" if said["action"] == b"audit.verification_failed" else b"="
        kept = [(bytes.fromhex(said["id"].decode().replace("-", "")), 0, op)]
        if said["op"] != b"read":
            thing = hashlib.blake2b(said["type"] + b"\n" + said["object"], digest_size=16).digest()
            kept.append((thing, int(said["rev"]), said["op"][:1]))
        self.keep(kept, index, records)

    def keep(self, kept: list[Kept], index: int, records: dict[int, bytes]) -> None:
        for key, revision, kind in kept:
            bucket = hashlib.blake2b(key, key=self.secret, digest_size=1).digest()[0] % BUCKETS
            records[bucket] += _RECORD.pack(key, index, revision, kind)

    def problems(self, line: Line, said: re.Match[bytes]) -> Iterator[tuple[str, str]]:
        """What is wrong with one event by itself: kind and words."""
        text, mac, kid, _hint, columns = line
        if said["kid"] != kid or (said["workspace"] or b"").decode() != (self.workspace or ""):
            yield "projection", "its key id or its workspace differs from the signed body"
        body = json.loads(text) if columns else {}
        for name, value in columns.items():
            part, _dot, inner = name.partition(".")
            if json.dumps(value, sort_keys=True) != json.dumps(body[part].get(inner) if inner else body[part]):
                yield "projection", f"{name} differs in the database from the signed body"
        is_of_people = said["actor"] == b"user" or said["action"] in DECISIONS
        if is_of_people and said["kid"].rpartition(b"-")[0] not in KEYS_OF_PEOPLE:
            yield "wrong signer", f"what people do or decide is told under {kid.decode()}, which is no key of people"
        if self.macs and kid not in self.macs:
            newer = "it is newer than these keys, or no key of this workspace"
            yield "unknown key", f"no key {kid.decode()} was given: {newer}; ask for them anew (./manage.py audit_keys)"
        elif self.macs and not hmac.compare_digest(hmac_sha256(self.macs[kid], MAC_PREFIX + text), mac):
            yield "bad mac", "the event was not signed by a holder of the key"


def told_erased(text: bytes) -> list[Kept]:
    """Of which events the details went, by the detail of an event that tells; nothing by words that no process uses."""
    try:
        ids = loaded(text.decode())["events"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []
    named = [name for name in ids if isinstance(name, str) and _UUID.fullmatch(name)] if isinstance(ids, list) else []
    return [(bytes.fromhex(name.replace("-", "")), 0, b"t") for name in named]


def detail_problems(said: re.Match[bytes], line: bytes, counts: Counter[str], kept: list[Kept]) -> Iterator[str]:
    """What is wrong with an event's detail; `kept` takes that it is gone, or of which ones it tells so."""
    if not line or not said["detail"]:
        if line or said["detail"]:
            yield "it has a detail, and its signed text none, or the other way round"
        return
    counts["details"] += 1
    if (head := _DETAIL.match(line)) and head[1] == said["id"] and (text := plain(line, head.end())):
        if hmac_sha256(bytes.fromhex(head[2].decode()), text).hex().encode() != said["detail"]:
            yield "it is not the detail that was signed"
        kept += told_erased(text) if said["action"] == ERASING else []
        return
    form = "body_base64" if "body_base64" in (detail := loaded(line.decode())) else "body"
    same = {"event_id": said["id"].decode(), "media_type": "application/json"}
    if detail.keys() != {*same, "idx", form, "salt", "erased_at"} or same != {name: detail[name] for name in same}:
        yield "its detail is of another event or kind, or has other fields"
    elif detail["salt"] is None and detail[form] is None:
        counts["details_erased"] += 1 if milliseconds(detail["erased_at"]) else 0
        kept.append((bytes.fromhex(said["id"].decode().replace("-", "")), 0, b"e"))
    else:
        salt = re.fullmatch("[0-9a-f]{64}", detail["salt"])
        data = decoded(detail[form]) if form == "body_base64" else detail[form].encode()
        mac = hmac_sha256(bytes.fromhex(salt[0]), data).hex().encode() if salt else b""
        if mac != said["detail"] or detail["erased_at"] is not None:
            yield "it is not the detail that was signed"
        kept += told_erased(data) if said["action"] == ERASING else []


def numbered(member: Any, first: int, sha256: Any, report: Report) -> Iterator[tuple[int, bytes]]:
    """The numbered lines of a member, one in memory; those whose number does not rise are noted and left out."""
    last, lines = first - 1, io.BufferedReader(member, JOB_BYTES)
    while line := lines.readline(MAX_LINE_BYTES + 1):
        sha256.update(line)
        if not line.endswith(b"\n"):
            raise Unusable(f"{member.name} ends within a line, or has one of more than {MAX_LINE_BYTES} bytes.")
        found = _INDEX.match(line)
        if found and (number := int(found[1])) > last:
            last = number
            yield number, line[:-1]
        else:
            words = f"in {member.name} a line does not begin with an index above {last}"
            report.add("order", words, int(found[1]) if found else None)


def each(work: Callable[[Job], Seen], wanted: Iterable[Job], processes: int) -> Iterator[Seen]:
    """What comes of each job, in order; never more of them at once than memory should hold."""
    with ProcessPoolExecutor(processes) as pool:
        waiting: deque[Future[Seen]] = deque()
        for job in wanted:
            waiting.append(pool.submit(work, job))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)


class Bundle:
    """A bundle while it is checked, step by step; what does not hold goes into the report. Raises `Unusable` when it is none."""

    def __init__(self, opened: zipfile.ZipFile, given: list[Key], held: MacKeys, since: str, *, trust: bool) -> None:
        self.zip, self.report = opened, Report(rotations_followed=[], alarms=[], objects=0, left_out=[])
        self.check_members()
        self.texts = {name: opened.read(name).decode() for name in opened.namelist() if name not in STREAMED}
        self.hashes = {name: hashlib.sha256(self.texts.get(name, "").encode()) for name in opened.namelist()}
        shown = [Key.parse(line) for line in self.texts["vkeys"].removesuffix("\n").split("\n")]
        keys = [*given, *shown] if trust else [*given]
        follow_rotations(self.texts["rotations"], keys, self.report)
        self.checkpoint = check_note(self.texts["checkpoint"], keys, self.report)
        self.manifest, self.span = self.parse_manifest(), Range.parse(self.texts["range.proof"])
        self.rules = Rules.of(self.checkpoint, held, self.report)
        self.old = Checkpoint.parse(since.rpartition("\n\n")[0] + "\n") if since else None
        self.spine, self.old_root, self.counts = Spine().add(self.span.left), b"", Counter[str]()

    def check(self, processes: int) -> Report:
        """All steps."""
        span, (workspace, epoch) = self.span, self.checkpoint.whose()
        self.report |= {"workspace": workspace, "epoch": epoch, "first": span.first, "end": span.end}
        self.report |= {"filters": self.manifest["filters"], "expired": self.manifest["omitted"]["expired"]}
        with ExitStack() as files:
            buckets = [files.enter_context(tempfile.TemporaryFile()) for _ in range(BUCKETS)]
            self.read_leaves(buckets, processes)
            self.check_left_out(*self.check_histories(buckets))
        root = self.spine.add(span.right).root() if self.spine.end == span.end else b""
        if root != self.checkpoint.root or span.size != self.checkpoint.size:
            self.report.add("root", f"the leaves from {span.first} up to {span.end} are not those of the checkpoint")
        self.check_older()
        digests = {name: sha256.hexdigest() for name, sha256 in self.hashes.items() if name != "MANIFEST.json"}
        found = {name: self.report[name] for name in (*COUNTS, "origin", "workspace", "epoch")} | {"files": digests}
        for name, value in found.items():
            if self.manifest[name] != value:
                self.report.add("manifest", f"{name} is {self.manifest[name]} in the manifest, and {value} was found")
        return self.report

    def check_members(self) -> None:
        """Refuse a zip that holds another thing than a bundle does (T30)."""
        names = [member.filename for member in self.zip.infolist()]
        if len(set(names)) != len(names) or not {*STREAMED} | SMALL <= {*names} <= {*STREAMED} | SMALL | OPTIONAL:
            hint = " That is an evidence pack: its bundle.zip is the bundle." if "bundle.zip" in names else ""
            raise Unusable(f"A bundle holds {sorted({*STREAMED} | SMALL)}, each once, and this one {names[:12]}.{hint}")
        for member in self.zip.infolist():
            name, most = member.filename, MAX_STREAMED_BYTES if member.filename in STREAMED else MAX_SMALL_BYTES
            ratio = MAX_DETAIL_RATIO if name == "details.jsonl" else MAX_RATIO
            is_packed = member.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} and not member.flag_bits & 1
            is_file = member.external_attr >> 28 in {0, 8}  # what it is to Unix
            if not is_packed or not is_file or member.file_size > min(most, ratio * (member.compress_size + 100)):
                raise Unusable(f"{name} is encrypted, packed in another way, no plain file, or too large.")

    def parse_manifest(self) -> dict[str, Any]:
        """What the bundle says of itself: of the right shape, and not believed."""
        said: dict[str, Any] = loaded(self.texts["MANIFEST.json"])
        left = said["omitted"]
        counts = [*(said[name] for name in [*COUNTS, "epoch"]), *(left[name] for name in LEFT_OUT), *left["missing_at"]]
        if said["format"] != FORMAT or said.keys() != MANIFEST or left.keys() != {*LEFT_OUT, "missing_at"}:
            raise Unusable(f"MANIFEST.json is not one of {FORMAT}, which this verifier reads.")
        is_counted = all(type(count) is int and count >= 0 for count in counts)
        if not is_counted or not isinstance(said["filters"], dict) or not milliseconds(said["sealed_at"]):
            raise Unusable("In MANIFEST.json a count is no count, the filters are no object, or a time is none.")
        return said

    def jobs(self, old: int) -> Iterator[Job]:
        """The leaves in pieces that fit into memory, one ending at `old`; what is missing or too much is noted."""
        span, report, none, packed = self.span, self.report, (sys.maxsize, b""), self.hashes["omitted.bin"]
        files = [self.zip.open(name) for name in STREAMED]
        one, two = (numbered(file, span.first, self.hashes[file.name], report) for file in files[:2])
        (event, line), (about, detail), omitted = next(one, none), next(two, none), files[2]
        start, size, events, gone = span.first, 0, list[tuple[int, bytes, bytes]](), list[int]()
        for index in range(span.first, span.end):
            told = detail if about == index else b""
            if event == index:
                events.append((index, line, told))
                size += len(line) + len(told)
                event, line = next(one, none)
            else:
                gone.append(index)
                if told:
                    report.add("detail", "a detail belongs to no event of the bundle", index)
            if told:
                about, detail = next(two, none)
            if index + 1 in {old, span.end} or size > JOB_BYTES or index - start == MOST_LEAVES:
                packed.update(block := omitted.read(32 * len(gone)))
                report["left_out"] = [*report["left_out"], *gone][:1] + [*report["left_out"], *gone][-1:]
                if lost := gone[len(block) // 32 :] if report["filters"] or report["expired"] else gone:
                    report.add("missing", f"not there, nor what would say why; {len(lost)} in all here", lost[0])
                yield start, index + 1, events, block
                start, size, events, gone = index + 1, 0, [], []
        after = min(event, about)
        deque(chain(one, two), 0)  # to the end, for order and hashes
        while block := omitted.read(JOB_BYTES):
            packed.update(block)
            after = min(after, span.end)
        if after < sys.maxsize:
            report.add("range", f"the bundle holds more than the leaves up to {span.end}", after)

    def read_leaves(self, buckets: list[Any], processes: int) -> None:
        """Grow the tree leaf by leaf, in constant memory, and count."""
        event_bytes, _, omitted_bytes = (self.zip.getinfo(name).file_size for name in STREAMED)
        if self.span.end - self.span.first > event_bytes // LEAST_LINE_BYTES + omitted_bytes // 32 + MOST_LEAVES:
            raise Unusable(f"The range ends at {self.span.end}, with more leaves than the bundle can hold.")
        old = self.old.size if self.old else -1
        is_large = processes > 1 and event_bytes > PARALLEL_BYTES  # below, starting processes costs more than they save
        work, jobs = self.rules.look_at, self.jobs(old)
        self.old_root = self.spine.root() if self.spine.end == old else b""
        for nodes, counts, findings, records in each(work, jobs, processes) if is_large else map(work, jobs):
            self.old_root = self.spine.root() if self.spine.add(nodes).end == old else self.old_root
            self.counts += counts
            for finding in findings:
                self.report.add(*finding)
            for number, packed in records.items():
                buckets[number].write(packed)
        self.report |= {name: self.counts[name] for name in COUNTED}

    def check_histories(self, buckets: list[Any]) -> tuple[int, int]:
        """No event twice, revision after revision, what is erased told. The newest time, and the first that cannot have expired."""
        report, newest, young = self.report, b"", sys.maxsize
        report["details_unexplained"] = 0
        now = min(milliseconds(self.manifest["created_at"]), time.time_ns() // 1_000_000)
        oldest, is_whole = max(0, now - SEVEN_YEARS_MS).to_bytes(6, "big"), report["first"] == report["omitted"] == 0
        for bucket in buckets:  # one holds all of an event or object, and one at a time is in memory
            bucket.seek(0)
            known, gone, told = dict[bytes, tuple[int, bytes]](), dict[bytes, int](), dict[bytes, int]()
            blocks = iter(partial(bucket.read, 4096 * _RECORD.size), b"")
            for key, index, revision, op in chain.from_iterable(map(_RECORD.iter_unpack, blocks)):
                if op in b"et":
                    (gone if op == b"e" else told)[key] = index
                    continue
                last, last_op = known.get(key, (0, b""))
                known[key] = revision, op
                if op in b"=!":
                    newest, young = max(newest, key[:6]), min(young, index) if key[:6] > oldest else young
                    report["alarms"] += [index] if op == b"!" and len(report["alarms"]) < MAX_FINDINGS else []
                    if last_op:
                        report.add("duplicate", "the same event stands in the log twice", index)
                elif (revision, op) == (last, last_op):
                    continue  # several events may tell of one change
                elif revision <= last or (op == b"i" and revision != 1) or last_op == b"d":
                    report.add("revision", f"of its object, revision {revision} cannot follow {last}", index)
                elif revision != last + 1 and is_whole:
                    report.add("revision", f"of its object, what came from {last} to {revision} is missing", index)
            report["details_unexplained"] += sum(told.get(key, -1) < index for key, index in gone.items())
            report["objects"] += sum(op not in b"=!" for _revision, op in known.values())
        report["complete"] = is_whole and self.span.end == self.checkpoint.size and not report["filters"]
        return int.from_bytes(newest, "big"), young

    def check_left_out(self, newest: int, young: int) -> None:
        """Whether events that are left out have a reason, and what only the manifest says."""
        report, left, made = self.report, self.manifest["omitted"], self.manifest["created_at"]
        filters, places, lost = report["filters"], report["left_out"], report["details_unexplained"]
        if newest > milliseconds(made) + 2 * CLOCK_TOLERANCE_MS:
            report.add("manifest", f"the bundle was made {made}, before events happened that it holds")
        report["newest_event_at"] = str(datetime.fromtimestamp(newest / 1000, UTC)) if newest else None
        report["only_claimed"] = {name: self.manifest[name] for name in ("created_at", "sealed_at")}
        if sum(left[name] for name in LEFT_OUT) != report["omitted"] or (left["filtered"] and not filters):
            report.add("missing", f"{report['omitted']} leaves have no event; the manifest says why of others: {left}")
        if left["missing"]:
            where = min(left["missing_at"], default=None)
            report.add(
                "missing", f"the log holds {left['missing']} events that the database did not have any more", where
            )
        if left["expired"] and not filters and places and places[-1] > young:
            report.add("missing", f"event {young} before it is younger than seven years: it did not expire", places[-1])
        claims = {
            f"{left['expired']} of {places} expired: the instance log must tell so": left["expired"],
            f"that the filters find what is here and nothing of the {left['filtered']} left out": left["filtered"],
            f"why {lost} details were erased: no event of this bundle tells of it": lost,
        }
        report["not_checked"] += [words for words, count in claims.items() if count]

    def check_older(self) -> None:
        """Whether the log begins with what an older checkpoint says, by its leaves or by a proof."""
        new, old, old_root, report = self.checkpoint, self.old, self.old_root, self.report
        if "consistency.proof" in self.texts:
            span = Range.parse(self.texts["consistency.proof"])
            root = (proved := Spine().add(span.left)).root()
            if span.first != span.end or span.size != new.size or proved.add(span.right).root() != new.root:
                report.add("consistency", "consistency.proof does not lead to the checkpoint")
            old_root = old_root or (root if old and old.size == span.first else b"")
        if old and old.origin != new.origin:
            report.add("consistency", f"the older checkpoint is of {old.origin}, and this one of {new.origin}")
        elif old and (old.size > new.size or (old_root and old_root != old.root)):
            report.add("consistency", f"this log does not begin with the {old.size} entries of the older checkpoint")
        elif old and not old_root:
            report["not_checked"].append(f"the older checkpoint: export with it, to have a proof from {old.size} on")
            report["is_signed"] = False


def check_proof(text: str, keys: list[Key], held: MacKeys, event: bytes) -> Report:
    """Check a `.tlog-proof` (c2sp.org/tlog-proof@v1) of one event, which its extra line holds unless it is given."""
    report, found = Report(), _TLOG.fullmatch(text)
    if not found:
        raise Unusable("This is neither a bundle nor a proof of c2sp.org/tlog-proof@v1.")
    checkpoint, index = check_note(found[4], keys, report), int(found[2])
    told, proof = event.rstrip(b"\n") or decoded(found[1] or ""), [decoded(value, 32) for value in found[3].split()]
    line, place = read_line(told, is_of_instance=False), _INDEX.match(told)
    for kind, words in Rules.of(checkpoint, held, report).problems(line, read_body(line[0])):
        report.add(kind, words, index)
    if (leaf := leaf_hash(*line[:2])).hex()[:8] != line[3]:
        report.add("leaf", "this is not what the log holds at this index", index)
    root = root_above(leaf, index, checkpoint.size, proof) if index < checkpoint.size else b""
    if root != checkpoint.root or proof or not place or int(place[1]) != index:
        report.add("inclusion", "the event is not at this index of the log", index)
    report |= {"index": index, "event": json.loads(line[0])}
    return report


def small(path: Path | None) -> str:
    """A file that is read whole; nothing if none is named. Raises `Unusable`."""
    if path and (not path.is_file() or path.stat().st_size > MAX_SMALL_BYTES):
        raise Unusable(f"{path} is not there, or no file of at most {MAX_SMALL_BYTES} bytes.")
    return path.read_bytes().decode() if path else ""


def checked(wish: argparse.Namespace) -> Report:
    """What the command line names. Raises `Unusable`, or what broken shapes raise."""
    keys = [Key.parse(line) for path in wish.key for line in small(path).split("\n") if line.strip()]
    told = loaded(small(wish.mac_keys) or '{"workspace": null, "keys": {}}')
    held = told["workspace"], {kid.encode(): bytes.fromhex(key) for kid, key in told["keys"].items()}
    if told.keys() != {"workspace", "keys"} or any(len(key) != 32 for key in held[1].values()):
        raise Unusable(f"{wish.mac_keys} does not hold the MAC keys of a workspace.")
    if not wish.file.is_file():
        raise Unusable(f"{wish.file} is no file: a bundle is a zip as it was exported, and not unpacked.")
    with wish.file.open("rb") as file:
        is_bundle = file.read(4) == b"PK\3\4"
        file.seek(-min(98, wish.file.stat().st_size), os.SEEK_END)
        if is_bundle and not _END.fullmatch(file.read()):
            raise Unusable("The zip does not end as one does: its directory is too large, or something follows.")
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
        damaged = re.fullmatch("Bad CRC-32 for file '(.+)'", str(error)) or isinstance(error, zlib.error)
        place = f" ({damaged[1]})" if isinstance(damaged, re.Match) else ""
        message = f"The file was changed or damaged after it was made{place}: get it again." if damaged else str(error)
        print(json.dumps({"verdict": "unusable", "message": message[:MAX_WORDS]}, indent=2))
        return 2
    print(json.dumps({"verdict": report.verdict, **report}, indent=2))
    return {"ok": 0, "failed": 1}.get(report.verdict, 3)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
