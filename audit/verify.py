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
import struct
import sys
import tempfile
import zipfile
import zlib
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import partial, reduce
from pathlib import Path
from typing import IO, Any, NamedTuple

ed25519: Any = None
mldsa: Any = None
with suppress(ImportError):
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa  # in this order: older ones lack the second

FORMAT, NO_MACS = "provenance-audit-bundle/2", "MACs: no keys of the workspace were given (--mac-keys)"
MAC_PREFIX, CHECKPOINT_PREFIX = b"provenance-audit-v1\n", b"provenance-checkpoint-v1\n"
STREAMED = {"events.jsonl", "details.jsonl", "omitted.bin"}
SMALL, OPTIONAL = {"range.proof", "checkpoint", "rotations", "vkeys", "MANIFEST.json"}, {"consistency.proof"}
LEAST_LINE_BYTES, MAX_LINE_BYTES, MAX_BODY_BYTES = 64, 262_144, 8192
MAX_SMALL_BYTES, MAX_STREAMED_BYTES, MAX_RATIO = 1_114_112, 64 * 1024**3, 100  # hashes and MACs do not pack better
MAX_SIGNATURES, MAX_ROTATIONS, MAX_FINDINGS, CLOCK_TOLERANCE_MS = 64, 64, 1000, 300_000
BLOCK_BYTES, MOST_LINES, MOST_LEAVES, BUCKETS, SEVEN_YEARS = 1_048_576, 2048, 65_536, 64, 7 * 365 * 86_400
PARALLEL_BYTES = 16 * 1024**2  # below, starting processes costs more than they save
BROKEN = (ValueError, OSError, LookupError, TypeError, EOFError, RuntimeError, MemoryError, AttributeError)
# What people do and decide is told by the processes in which they sign in; another process's key proves nothing of it.
KEYS_OF_PEOPLE, ERASING = {"web", "setup"}, {b"audit.detail_erased", b"member.erased"}
DECISIONS = {b"approval.approved", b"approval.rejected", b"approval.decision_recorded", b"approval.payload_edited"}
ED25519, MLDSA44, KEY_BYTES = 0x01, 0x06, {0x01: 33, 0x06: 1313}  # with the type byte

_RANGE = re.compile(r"provenance-range-proof@v1\nrange (\d+) (\d+) (\d+)\n((?:(?:left|right) \S+\n)*)")
_TLOG = re.compile(r"c2sp.org/tlog-proof@v1\n(?:extra (\S+)\n)?index (0|[1-9]\d*)\n((?:\S+\n)*)\n(.*)", re.DOTALL)
# The end of a zip, with or without its large form: a directory of less than 64 KiB, and nothing after it (T30).
_END = re.compile(rb"(?:PK\x06\x06.{36}..\0{6}.{8}PK\x06\x07.{16}|(?!PK\x06\x06).{56}(?!PK\x06\x07).{20})PK\x05\x06.{8}..\0\0.{4}\0\0", re.DOTALL)  # fmt: skip
_INDEX = re.compile(rb'\{"idx":(0|[1-9]\d{0,14}),')
_HEAD = re.compile(rb'\{"idx":\d+,"kid":"([a-z]+-\d+)","mac":"([0-9a-f]{64})","leaf":"([0-9a-f]{8})"')
decoded = partial(base64.b64decode, validate=True)
_RECORD = struct.Struct("<16s16sqqc")
# A body of version 1 in canonical form (RFC 8785): fields in this order, no white space, the shortest escapes, no U+0000.
_PATTERN = (
    rb'\{"action":"(?P<action>TEXT)","actor":\{"id":"TEXT","type":"(?P<actor>TEXT)","via":"TEXT"\},"at":"(?P<at>20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})Z","changed":\[(?:"TEXT"(?:,"TEXT")*+)?\],"context":\{(?P<context>'
    rb'(?:PAIR(?:,PAIR)*+)?)\},"detail":(?:null|"(?P<detail>[0-9a-f]{64})"),"gap":NUMBER,"id":"(?P<id>[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})","kid":"(?P<kid>TEXT)","object":\{"id":"(?P<object>TEXT)","op":"(?P<op>read|insert|update|delete)","rev":(?P<rev>null|NUMBER'
    rb'),"type":"(?P<type>TEXT)"\},"on_behalf_of":"TEXT","outcome":"TEXT","risk":"TEXT",(?:"sanitized":true,)?"state":(?:null|"[0-9a-f]{64}"),"v":1,"workspace":(?:null|"(?P<workspace>[0-9a-f-]{36})")\}'
)
_PARTS = {
    b"PAIR": rb'"[a-z_]+":(?:"TEXT"|NUMBER|\{(?:FLAT(?:,FLAT)*+)?\})',
    b"FLAT": rb'"[a-z_]+":(?:"TEXT"|NUMBER)',
    b"NUMBER": rb"(?:0|[1-9]\d{0,14})",
    b"TEXT": rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\bfnrt]|u00(?:0[1-7bef]|1[0-9a-f])))*+',
}
_filled = partial(reduce, lambda pattern, part: pattern.replace(*part), _PARTS.items())
_BODY, _PAIR = re.compile(_filled(_PATTERN)), re.compile(_filled(b'("[a-z_]+")' + _PARTS[b"PAIR"][9:]))  # key as group

Numbered = list[tuple[int, bytes]]  # lines with their index, or subtrees with their height
Named = dict[str, bytes]
Parts = tuple[bytes, bytes, str, str, dict[str, Any]]
Job = tuple[int, int, Numbered, Numbered, bytes]  # from index to index: events, details, and hashes of what is between
Done = tuple[Numbered, Counter[str], list[tuple[str, str, int]], dict[int, list[bytes]]]


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
            self["findings"].append({"kind": kind, "idx": index, "message": message})

    @property
    def verdict(self) -> str:
        """Consistent is not authentic: what no given key signed is never `ok`."""
        is_shown = self["is_signed"] and not self.get("expired") and not self.get("details_unexplained")
        return "failed" if self["finding_count"] else "ok" if is_shown else "incomplete"


class Key(NamedTuple):
    """A verifier key of c2sp.org/signed-note: whose, and its type byte before the public key."""

    name: str
    material: bytes

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + self.material).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}"

    def holds(self, message: bytes, signature: bytes) -> bool | None:
        """Whether the signature is this key's over these bytes; None when that cannot be checked here."""
        library: Any = ed25519 and ed25519.Ed25519PublicKey
        if self.material[0] == MLDSA44:
            library = mldsa and mldsa.MLDSA44PublicKey
        try:
            return library and library.from_public_bytes(self.material[1:]).verify(signature, message) is None
        except (InvalidSignature, ValueError):
            return False

    def signed(self, text: str, signature: bytes) -> bool | None:
        """Whether that of a signature line is this key's over the checkpoint (c2sp.org/tlog-cosignature for ML-DSA-44)."""
        if self.material[0] == ED25519:
            return self.holds(text.encode(), signature)
        origin, size, root = parse_checkpoint(text)
        signer, log = (bytes([len(name.encode())]) + name.encode() for name in (self.name, origin))
        message = b"subtree/v1\n\0" + signer + signature[:8] + log + bytes(8) + size.to_bytes(8, "big") + root
        return self.holds(message, signature[8:])


def parse_key(text: str) -> Key:
    """The key that a line of a `.pub` file names. Raises `Unusable`."""
    found = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+(\S+)", text)
    key = Key(found[1], decoded(found[3])) if found else Key("", b"")
    if not found or KEY_BYTES.get(key.material[0]) != len(key.material) or key.id.hex() != found[2]:
        raise Unusable(f"{text[:80]!r} is no verifier key that this verifier knows, or its id is not that of its key.")
    return key


def parse_checkpoint(text: str) -> tuple[str, int, bytes]:
    """Origin, size and root. Raises `Unusable`."""
    found = re.fullmatch(r"([^\n]+)\n(0|[1-9]\d{0,14})\n([A-Za-z0-9+/]{43}=)\n", text)
    if not found:
        raise Unusable("This is no checkpoint of three lines.")
    return found[1], int(found[2]), decoded(found[3])


def check_note(note: str, keys: list[Key], report: Report) -> tuple[str, int, bytes]:
    """Whether the log signed a checkpoint: at least one given key of its name did. Raises `Unusable`."""
    text, separator, tail = note.rpartition("\n\n")
    lines = re.findall(r"\u2014 (\S+) ([A-Za-z0-9+/=]+)\n", tail)[:MAX_SIGNATURES]
    if not separator or tail != "".join(f"\u2014 {name} {code}\n" for name, code in lines):
        raise Unusable("The checkpoint is no signed note.")
    origin, size, root = parse_checkpoint(f"{text}\n")
    report |= {"origin": origin, "size": size, "root": root.hex(), "signed_by": []}
    known = {(key.name, key.id): key for key in keys}
    for key, signature in [(known.get((name, decoded(code)[:4])), decoded(code)[4:]) for name, code in lines]:
        holds = key and key.signed(f"{text}\n", signature)
        if key and holds:
            report["signed_by"].append(str(key))
            report["is_signed"] |= key.name == origin
        elif key and holds is False:
            report.add("checkpoint", f"the signature of {key} does not hold")
        elif key:
            report["not_checked"].append(f"the signature of {key}: the package cryptography is missing or too old")
    if not keys:
        report["not_checked"].append("who signed the checkpoint: no key was given (--key)")
    elif not report["is_signed"] and not report["not_checked"]:
        report.add("checkpoint", f"no given key of {origin} signed the checkpoint")
    return origin, size, root


def follow_rotations(text: str, keys: list[Key], report: Report) -> None:
    """Trust a new key of a log when one already trusted, of the same type, signed that it follows (T30)."""
    lines = text.split("\n")[:-1]
    if len(lines) % 6 or len(lines) > 6 * MAX_ROTATIONS or set(lines[::6]) - {"provenance-rotation-v1"}:
        raise Unusable("The member rotations does not hold rotations of six lines each.")
    for start in range(0, len(lines), 6):
        origin, old, new, _until, signature = lines[start + 1 : start + 6]
        message = "".join(f"{line}\n" for line in lines[start : start + 5]).encode()
        for key in {key for key in keys if key.material == decoded(old) and key.name.startswith(f"{origin}/")}:
            following = Key(key.name, decoded(new))
            is_alike = (following.material[0], len(following.material)) == (key.material[0], len(key.material))
            if is_alike and key.holds(message, decoded(signature)):
                keys.append(following)
                report["rotations_followed"].append(f"{key}, then {following.id.hex()}")
            else:
                report.add("rotation", f"the rotation of {key} is not signed by that key")


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def levels(first: int, end: int) -> Iterator[int]:
    """The heights of the subtrees that cover the leaves from `first` up to `end`."""
    while first < end:
        level = min((first & -first).bit_length() - 1 if first else 64, (end - first).bit_length() - 1)
        yield level
        first += 1 << level


class Spine:
    """The right edge of a tree that grows from index `end` on by whole subtrees, each a height and a hash."""

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
        root = self.nodes[-1][1] if self.nodes else hashlib.sha256(b"").digest()
        for _level, left in reversed(self.nodes[:-1]):
            root = node_hash(left, root)
        return root


def root_above(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """The root to which a proof leads from the leaf at this index (PATH of RFC 6962, 2.1.1); the proof is used up."""
    if size < 2:
        return leaf
    half, sibling = 1 << (size - 1).bit_length() - 1, proof.pop() if proof else b""
    inner = root_above(leaf, index % half, half if index < half else size - half, proof)
    return node_hash(inner, sibling) if index < half else node_hash(sibling, inner)


def parse_range(text: str) -> tuple[tuple[int, ...], Numbered, Numbered]:
    """First index, end and size of the tree of a range, and the subtrees left and right of it. Raises `Unusable`."""
    found = _RANGE.fullmatch(text)
    first, end, size = (int(number) for number in found.groups()[:3]) if found else (1, 0, 0)
    if not found or not first <= end <= size:
        raise Unusable("A range proof is not one.")
    left, right = (map(decoded, re.findall(f"^{side} (.*)$", found[4], re.MULTILINE)) for side in ("left", "right"))
    nodes = [*zip(levels(0, first), left, strict=True)], [*zip(levels(end, size), right, strict=True)]
    return (first, end, size), *nodes


def split_line(line: bytes) -> Parts:
    """Text, MAC (none: a checkpoint), key id, hint and columns. Raises ValueError and what broken shapes raise."""
    head, _separator, tail = line.partition(b',"body":"')
    quoted, found = tail[:-2], _HEAD.fullmatch(head)
    # Nothing is escaped but quotes, and each of them: so the string is what it looks like.
    if found and tail.endswith(b'"}') and quoted.count(b'\\"') == quoted.count(b'"') == quoted.count(b"\\"):
        kid, mac, hint = (part.decode() for part in found.groups())
        return quoted.replace(b"\\", b""), bytes.fromhex(mac), kid, hint, {}
    if "checkpoint" in (event := loaded(line.decode())):
        parse_checkpoint(event["checkpoint"])
        return event["checkpoint"].encode(), b"", "", event["leaf"], {}
    if not re.fullmatch("[0-9a-f]{64}", event["mac"]):
        raise ValueError("its MAC is not 32 bytes in hex")
    kid, mac = str(event["kid"]), bytes.fromhex(event["mac"])
    return event["body"].encode(), mac, kid, event["leaf"], event.get("columns", {})


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(value := dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


loaded = json.JSONDecoder(object_pairs_hook=unique).decode


def read_body(text: bytes) -> Named:
    """What a body of version 1 in canonical form says. Raises ValueError."""
    found = _BODY.fullmatch(text)
    if not found or len(text) > MAX_BODY_BYTES:
        raise ValueError("its body is not one of version 1 in canonical form, of at most 8,192 bytes")
    text.decode("utf-8")
    said = found.groupdict(b"")
    names = _PAIR.findall(said["context"])
    if names != sorted(set(names)):
        raise ValueError("its context is not in canonical form")
    if said["op"] != b"read" and said["rev"] == b"null":
        raise ValueError("a change must have a revision")
    told = datetime.fromisoformat(said["at"].decode() + "+00:00").timestamp() * 1000
    if abs(int(said["id"][:8] + said["id"][9:13], 16) - told) > CLOCK_TOLERANCE_MS:
        raise ValueError("the time in its id is not the time it tells")
    return said


def problems(parts: Parts, said: Named, workspace: str | None, keys: Named | None) -> Iterator[tuple[str, str]]:
    """What is wrong with one event by itself: kind and words."""
    text, mac, kid, _hint, columns = parts
    for name, expected in (("kid", kid), ("workspace", workspace or "")):
        if said[name].decode() != expected:
            yield "projection", f"{name} differs from the signed body"
    for name, value in columns.items():
        if value != reduce(lambda body, part: body.get(part), name.split("."), json.loads(text)):
            yield "projection", f"{name} differs in the database from the signed body"
    if (said["actor"] == b"user" or said["action"] in DECISIONS) and kid.rpartition("-")[0] not in KEYS_OF_PEOPLE:
        yield "wrong signer", f"what people do or decide is told under {kid}, which is no key of people"
    if keys is not None and kid not in keys:
        newer = "it is newer than these keys, or no key of this workspace"
        yield "unknown key", f"no key {kid} was given: {newer}; ask for the keys anew (./manage.py audit_keys)"
    elif keys is not None and not hmac.compare_digest(hmac.digest(keys[kid], MAC_PREFIX + text, "sha256"), mac):
        yield "bad mac", "the event was not signed by a holder of the key"


def detail_problem(said: Named, line: bytes | None, counts: Counter[str]) -> str:
    """What is wrong with the detail of an event, "" for nothing. Raises what broken shapes raise."""
    if line is None or not said["detail"]:
        return "it has a detail, and its signed text none, or the other way round" if line or said["detail"] else ""
    counts["details"] += 1
    body = "body_base64" if "body_base64" in (detail := loaded(line.decode())) else "body"
    same = {"idx": detail["idx"], "event_id": said["id"].decode(), "media_type": "application/json"}
    if set(detail) != {*same, body, "salt", "erased_at"} or same != {name: detail[name] for name in same}:
        return "its detail is of another event or kind, or has other fields"
    if detail["salt"] is None and detail[body] is None:
        counts.update(details_erased=1, lost=1)
        return str(datetime.fromisoformat(detail["erased_at"]))[:0]
    data = decoded(detail[body]) if body == "body_base64" else detail[body].encode()
    is_signed = hmac.digest(bytes.fromhex(detail["salt"]), data, "sha256").hex().encode() == said["detail"]
    return "" if is_signed and detail["erased_at"] is None else "it is not the detail that was signed"


def look_at(workspace: str | None, keys: Named | None, job: Job) -> Done:
    """Check the lines of a job: subtrees over its leaves (none: one is unknown), counts, findings, and histories."""
    start, end, lines, numbered, packed = job
    counts, findings, records = Counter(omitted=len(packed) // 32), list[tuple[str, str, int]](), defaultdict(list)
    omitted = iter([packed[at : at + 32] for at in range(0, len(packed), 32)])
    details, hashes = dict(numbered), list[bytes]()
    for here, line in lines:
        hashes += [next(omitted, b"") for _ in range(here - start - len(hashes))]
        leaf = b""
        try:
            text, mac, _kid, hint, _columns = parts = split_line(line)
            leaf = leaf_of(text, mac)
            if leaf.hex()[:8] != hint:
                findings.append(("leaf", "this is not what the log holds at this index", here))
            counts["events" if mac else "checkpoints"] += 1
            if mac:
                said = read_body(text)
                findings += [(kind, words, here) for kind, words in problems(parts, said, workspace, keys)]
                words = detail_problem(said, details.pop(here, None), counts)
                findings += [("detail", words, here)] if words else []
                if said["action"] in ERASING:
                    counts["told"], counts["lost"] = 1, 0
                name = hashlib.blake2b(said["type"] + b"\n" + said["object"], digest_size=16).digest()
                event_id, rev = bytes.fromhex(said["id"].decode().replace("-", "")), said["rev"].replace(b"null", b"-1")
                op = b"!" if said["action"] == b"audit.verification_failed" else said["op"][:1]
                records[name[0] % BUCKETS].append(_RECORD.pack(name, event_id, here, int(rev), op))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            findings.append(("malformed", f"this is no event: {error}", here))
        hashes.append(leaf)
    hashes += omitted
    findings += [("detail", "a detail belongs to no event of the bundle", here) for here in details]
    is_known = len(hashes) == end - start and all(hashes)
    return Spine(start).add((0, leaf) for leaf in hashes if is_known).nodes, counts, findings, dict(records)


def leaf_of(text: bytes, mac: bytes) -> bytes:
    return hashlib.sha256(b"\0" + (MAC_PREFIX if mac else CHECKPOINT_PREFIX) + text + mac).digest()


class Lines:
    """The numbered lines of a member, in constant memory. Those whose number does not rise are noted and left out."""

    def __init__(self, member: IO[bytes], report: Report) -> None:
        self.member, self.report, self.last, self.waiting, self.at, self.rest = member, report, -1, Numbered(), 0, b""

    def next(self) -> int:
        """The number of the next line; the largest there is when there is none."""
        while self.at == len(self.waiting) and (block := self.member.read(BLOCK_BYTES)):
            *lines, self.rest = (self.rest + block).split(b"\n")
            if max(map(len, [self.rest, *lines])) > MAX_LINE_BYTES:
                raise Unusable(f"{self.member.name} has a line longer than {MAX_LINE_BYTES} bytes.")
            self.waiting, self.at = Numbered(), 0
            for line, found in [(line, _INDEX.match(line)) for line in lines]:
                number = int(found[1]) if found else -1
                if number > self.last:
                    self.waiting.append((number, line))
                    self.last = number
                else:
                    self.report.add("order", f"in {self.member.name} it stands after index {self.last}", number)
        if self.at == len(self.waiting) and self.rest:
            raise Unusable(f"{self.member.name} ends within a line.")
        return self.waiting[self.at][0] if self.at < len(self.waiting) else sys.maxsize

    def take(self, end: int, most: int = sys.maxsize) -> Numbered:
        """The next lines with numbers below `end`, at most so many."""
        taken = Numbered()
        while len(taken) < most and self.next() < end:
            stop = bisect_left(self.waiting, (end,), self.at, min(len(self.waiting), self.at + most - len(taken)))
            taken += self.waiting[self.at : stop]
            self.at = stop
        return taken


def jobs(bundle: zipfile.ZipFile, first: int, end: int, old: int, report: Report) -> Iterator[Job]:
    """The leaves from `first` up to `end`, some at a time and divided at `old`; what is missing or too much is noted."""
    with bundle.open("events.jsonl") as one, bundle.open("details.jsonl") as two, bundle.open("omitted.bin") as hashes:
        events, details, start = Lines(one, report), Lines(two, report), first
        while start < end:
            if events.next() == sys.maxsize and hashes.tell() == bundle.getinfo("omitted.bin").file_size:
                report.add("missing", f"from here on nothing is there; {end - start} in all", start)
                yield start, end, [], details.take(end), b""
                break
            until = min(end, start + MOST_LEAVES, old if old > start else end)
            lines = events.take(until, MOST_LINES)
            until = lines[-1][0] + 1 if len(lines) == MOST_LINES else until
            gone = sorted({*range(start, until)} - {number for number, _ in lines})
            omitted = hashes.read(32 * len(gone))
            report["left_out"] = (report["left_out"] + gone)[:1] + (report["left_out"] + gone)[-1:]
            if lost := gone[len(omitted) // 32 :] if report["filters"] or report["expired"] else gone:
                report.add("missing", f"not there, nor what would say why; {len(lost)} in all here", lost[0])
            yield start, until, lines, details.take(until), omitted
            start = until
        after = min(events.next(), details.next())
        if after < sys.maxsize or hashes.read(1):
            report.add("range", f"the bundle holds more than the leaves up to {end}", min(after, end))


def check_histories(records: bytes, report: Report, oldest: bytes, *, is_whole: bool) -> int:
    """No event twice, revisions of each object one after the other (several may tell of one); the first index that is young."""
    seen, histories, young = set[bytes](), dict[bytes, tuple[int, bytes]](), sys.maxsize
    for name, event_id, index, rev, op in _RECORD.iter_unpack(records):
        if event_id in seen:
            report.add("duplicate", "the same event stands in the log twice", index)
        seen.add(event_id)
        young = index if event_id[:6] > oldest and index < young else young
        report["alarms"] += [index] if op == b"!" else []
        last, last_op = histories.setdefault(name, (0, b""))
        if op in b"r!" or (rev, op) == (last, last_op):
            continue
        histories[name] = rev, op
        if rev <= last or (op == b"i" and rev != 1) or last_op == b"d":
            report.add("revision", f"revision {rev} of its object does not follow revision {last}", index)
        elif rev != last + 1 and is_whole:
            report.add("revision", f"of its object, what came between revisions {last} and {rev} is missing", index)
    report["objects"] += len(histories)
    return young


def each(work: Callable[[Job], Done], wanted: Iterable[Job], processes: int) -> Iterator[Done]:
    """What comes of each job, in order; never more of them at once than memory should hold."""
    with ProcessPoolExecutor(processes) as pool:
        waiting: deque[Future[Done]] = deque()
        for job in wanted:
            waiting.append(pool.submit(work, job))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)


def small_members(bundle: zipfile.ZipFile) -> dict[str, str]:
    """The members that are read whole, if the zip holds what a bundle does and no more (T30). Raises `Unusable`."""
    names = [member.filename for member in bundle.infolist()]
    if len(set(names)) != len(names) or not STREAMED | SMALL <= set(names) <= STREAMED | SMALL | OPTIONAL:
        raise Unusable(f"A bundle holds {', '.join(sorted(STREAMED | SMALL))}, each once, and this holds {names[:12]}.")
    for member in bundle.infolist():
        most = MAX_STREAMED_BYTES if member.filename in STREAMED else MAX_SMALL_BYTES
        is_odd = member.flag_bits & 1 or member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
        if is_odd or member.file_size > min(most, MAX_RATIO * (member.compress_size + MAX_RATIO)):
            raise Unusable(f"{member.filename} is encrypted, packed in another way or too large: {member.file_size}.")
    return {name: bundle.read(name).decode() for name in names if name not in STREAMED}


def check_bundle(path: Path, keys: list[Key], macs: Any, since: str, processes: int, *, trust: bool) -> Report:  # noqa: C901, PLR0912, PLR0915  step by step
    """Check a bundle. Raises `Unusable` when it is none."""
    report, seen, lost = Report(rotations_followed=[], alarms=[], objects=0, left_out=[]), Counter[str](), 0
    with zipfile.ZipFile(path) as bundle, ExitStack() as files:
        texts = small_members(bundle)
        keys += [parse_key(line) for line in texts["vkeys"].split("\n")[:-1] if trust]
        follow_rotations(texts["rotations"], keys, report)
        origin, size, root = check_note(texts["checkpoint"], keys, report)
        manifest = loaded(texts["MANIFEST.json"])
        workspace, (first, end, of), left, right = manifest["workspace"], *parse_range(texts["range.proof"])
        if manifest["format"] != FORMAT or macs["workspace"] not in {None, workspace or "instance"}:
            raise Unusable(f"This verifier reads {FORMAT}, and MAC keys of the bundle's own workspace or none.")
        report |= {"workspace": workspace, "filters": manifest["filters"], "expired": manifest["omitted"]["expired"]}
        report |= {"first": first, "end": end}
        made = datetime.fromisoformat(manifest["created_at"]).timestamp()
        oldest = int(1000 * (made - SEVEN_YEARS)).to_bytes(6, "big")
        if not isinstance(report["filters"], dict) or type(report["expired"]) is not int or report["expired"] < 0:
            raise Unusable("In MANIFEST.json filters are no object, or expired is no count.")
        report["not_checked"] += [] if macs["keys"] else [NO_MACS]
        held = {name: bundle.getinfo(name).file_size for name in STREAMED}
        if end - first > held["events.jsonl"] // LEAST_LINE_BYTES + held["omitted.bin"] // 32 + MOST_LEAVES:
            raise Unusable(f"The range is of {end - first} leaves, more than the bundle can hold.")
        old = parse_checkpoint(since.rpartition("\n\n")[0] + "\n") if since else ("", -1, b"")
        old_root = spine.root() if (spine := Spine().add(left)).end == old[1] else b""
        buckets = [files.enter_context(tempfile.SpooledTemporaryFile(MAX_LINE_BYTES)) for _ in range(BUCKETS)]
        work, wanted = partial(look_at, workspace, macs["keys"]), jobs(bundle, first, end, old[1], report)
        is_large = processes > 1 and held["events.jsonl"] > PARALLEL_BYTES
        for numbered, counts, findings, records in each(work, wanted, processes) if is_large else map(work, wanted):
            old_root = spine.root() if spine.add(numbered).end == old[1] else old_root
            seen, lost = seen + counts, counts["lost"] + (0 if counts["told"] else lost)
            for finding in findings:
                report.add(*finding)
            for number, found in records.items():
                buckets[number].write(b"".join(found))
        young, is_whole = sys.maxsize, first == 0 and not seen["omitted"]
        for bucket in buckets:
            bucket.seek(0)
            young = min(young, check_histories(bucket.read(), report, oldest, is_whole=is_whole))
    expired, omitted, places = report["expired"], seen["omitted"], report["left_out"]
    if expired > omitted or (not report["filters"] and expired != omitted):
        report.add("missing", f"{omitted} events are left out, and the manifest says that {expired} expired")
    if expired and not report["filters"] and places and places[-1] > young:
        report.add("missing", f"event {young} before it is younger than seven years: it did not expire", places[-1])
    report["not_checked"] += [f"{expired} of {places} expired: the instance log must tell so"] if expired else []
    report["details_unexplained"] = lost
    report["not_checked"] += [f"why {lost} details were erased: no event of this bundle tells of it"] if lost else []
    report["complete"] = (first, end, of) == (0, size, size) and not report["filters"] and not omitted
    for index in manifest["omitted"]["missing_at"] if report["filters"] or report["expired"] else []:
        report.add("missing", "the log holds an event here that the database did not have any more", index)
    if spine.end != end or spine.add(right).root() != root or of != size:
        report.add("root", f"the leaves from {first} up to {end} are not those of the checkpoint")
    if since and not old_root and (text := texts.get("consistency.proof", "")):
        (at, _end, of), left, right = parse_range(text)
        old_root = (proved := Spine().add(left)).root()
        if (at, of, proved.add(right).root()) != (old[1], size, root):
            report.add("consistency", "the proof does not lead from the older checkpoint to this one")
    if since and (old[0] != origin or old[1] > size or (old_root and old_root != old[2])):
        report.add("consistency", f"this log does not begin with the {old[1]} entries of the older checkpoint")
    elif since and not old_root:
        report["not_checked"].append(f"the older checkpoint: export with it, so that there is a proof from {old[1]} on")
        report["is_signed"] = False
    report |= {name: seen[name] for name in ("events", "checkpoints", "omitted", "details", "details_erased")}
    return report


def check_proof(text: str, keys: list[Key], macs: Any, event: bytes) -> Report:
    """Check a `.tlog-proof` (c2sp.org/tlog-proof@v1) of one event, which its extra line holds unless it is given."""
    report, found = Report(), _TLOG.fullmatch(text)
    if not found:
        raise Unusable("This is neither a bundle nor a proof of c2sp.org/tlog-proof@v1.")
    _origin, size, root = check_note(found[4], keys, report)
    parts, index = split_line(event.rstrip(b"\n") or decoded(found[1] or "")), int(found[2])
    said = read_body(parts[0])
    for kind, words in problems(parts, said, said["workspace"].decode() or None, macs["keys"]):
        report.add(kind, words, index)
    leaf, proof = leaf_of(*parts[:2]), [*map(decoded, found[3].split())]
    if index >= size or root_above(leaf, index, size, proof) != root or proof:
        report.add("inclusion", "the event is not at this index of the log", index)
    report["not_checked"] += [] if macs["keys"] else [NO_MACS]
    report |= {"index": index, "event": json.loads(parts[0])}
    return report


def main(arguments: list[str]) -> int:
    """Verify what the command line names and print the report; the exit code."""
    parser = argparse.ArgumentParser(description="Verify a bundle of an audit log, or a .tlog-proof, offline.")
    parser.add_argument("file", type=Path, help="the bundle (.zip), or the proof of one event (.tlog-proof)")
    parser.add_argument("--key", type=Path, action="append", default=[], help="public keys of the log: a .pub file")
    parser.add_argument("--mac-keys", type=Path, help="the workspace's MAC keys")
    parser.add_argument("--since", type=Path, help="an older checkpoint of this log that you kept")
    parser.add_argument("--event", type=Path, help="the event of a .tlog-proof without an extra line")
    parser.add_argument("--trust-bundle-keys", action="store_true", help="trust what anybody can put into a bundle")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 8), help="for large bundles")
    wish = parser.parse_args(arguments)
    try:
        keys = [parse_key(line) for path in wish.key for line in small(path).split("\n") if line.strip()]
        macs = loaded(small(wish.mac_keys)) if wish.mac_keys else {"workspace": None, "keys": {}}
        macs["keys"] = {kid: bytes.fromhex(key) for kid, key in macs["keys"].items()} or None
        with wish.file.open("rb") as file:
            is_bundle = file.read(4) == b"PK\3\4"
            file.seek(-min(98, wish.file.stat().st_size), os.SEEK_END)
            if is_bundle and not _END.fullmatch(file.read()):
                raise Unusable("The zip does not end as one does: its directory is too large, or something follows.")
        if is_bundle:
            since = small(wish.since) if wish.since else ""
            report = check_bundle(wish.file, keys, macs, since, wish.processes, trust=wish.trust_bundle_keys)
        else:
            report = check_proof(small(wish.file), keys, macs, small(wish.event).encode() if wish.event else b"")
    except (*BROKEN, ArithmeticError, struct.error, zipfile.BadZipFile, zlib.error) as error:
        damaged = re.fullmatch("Bad CRC-32 for file '(.+)'", str(error)) or isinstance(error, zlib.error)
        place = f" ({damaged[1]})" if isinstance(damaged, re.Match) else ""
        message = f"The file was changed or damaged after it was made{place}: get it again." if damaged else str(error)
        print(json.dumps({"verdict": "unusable", "message": message}, indent=2))
        return 2
    print(json.dumps({"verdict": report.verdict, **report}, indent=2))
    return {"ok": 0, "failed": 1}.get(report.verdict, 3)


def small(path: Path) -> str:
    """A file that is read whole. Raises `Unusable`."""
    if path.stat().st_size > MAX_SMALL_BYTES:
        raise Unusable(f"{path} is larger than {MAX_SMALL_BYTES} bytes.")
    return path.read_bytes().decode("utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
