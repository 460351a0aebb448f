"""Writes `tests/vectors/bundles/` anew: `.venv/bin/python -m tests.vectors.make_bundles`. Same keys, same bytes.

It knows the format and none of the code that writes bundles, so that a mistake in that code does not become the vector.
Only the key ring and the signer are ours: what they make is fixed by vectors of its own.
"""

import base64
import hashlib
import hmac
import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from audit.notes import Checkpoint, LogKey, LogSigner, signed_note
from audit.signing import KeyRing
from audit.succession import Succession

PLACE = Path(__file__).parent / "bundles"
INSTALLATION = "vectors.example/log"
WORKSPACE = UUID("01900000-0000-7000-8000-000000000001")
SIGNER, NEXT = LogSigner(b"e" * 32, b"m" * 32), LogKey.ed25519(b"n" * 32, 2)
RING = KeyRing(current="web-1", roots={f"{name}-1": name.encode().ljust(32, b"-") for name in ("web", "worker")})
AT = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
TEXTS = ("plain", 'quotes " and \\ back', "line\nfeed, tab\t, bell\x07, Ö, 語", "\u2028 and 😀")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root_of(leaves):
    """MTH of RFC 6962, word for word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"")
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01", root_of(leaves[:split]), root_of(leaves[split:]))


def path_of(index, leaves):
    """PATH of RFC 6962, word for word."""
    if len(leaves) < 2:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return [*path_of(index, leaves[:split]), root_of(leaves[split:])]
    return [*path_of(index - split, leaves[split:]), root_of(leaves[:split])]


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def id_of(index, since=AT):
    made = int((since + timedelta(seconds=index)).timestamp() * 1000)
    return str(UUID(int=(made << 80) | (7 << 76) | (2 << 62) | index))


def event(index, *, workspace=WORKSPACE, since=AT, **changes):
    """Line and detail of one event; every third one has a detail, those of 0 and 6 are erased, of which 10 tells."""
    at, event_id = since + timedelta(seconds=index), id_of(index, since)
    tells = index == 10 or changes.get("action") == "audit.detail_erased"
    has_detail = index % 3 == 0 or tells
    facts = {"events": [id_of(0), id_of(6)]} if tells else {"reason": TEXTS[index % 4]}
    salt, text = bytes([index]) * 32, canonical(facts)
    body = {
        "v": 1,
        "id": event_id,
        "kid": changes.pop("kid", "worker-1" if index % 2 else "web-1"),
        "workspace": str(workspace) if workspace else None,
        "at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "action": "agent.updated" if index % 2 else "audit.detail_erased" if index == 10 else "secret.accessed",
        "outcome": "success",
        "risk": "low",
        "actor": {"type": "system", "id": TEXTS[index % 4], "via": "tests"},
        "on_behalf_of": "",
        "object": {"type": "agent", "id": "a-1", "rev": index // 2 + 1, "op": "insert" if index == 1 else "update"}
        if index % 2
        else {"type": "secret", "id": TEXTS[index % 4], "rev": None, "op": "read"},
        "changed": ["name", "size"] if index % 2 else [],
        "state": bytes([index]).hex() * 32 if index % 2 else None,
        "detail": hmac.digest(salt, text, "sha256").hex() if has_detail else None,
        "context": {"request": f"req-{index}", "run_id": event_id} if index % 4 else {},
        "gap": index,
        **changes,
    }
    text_of = canonical(body)
    mac = RING.key(body["kid"], workspace).mac(text_of)
    leaf = sha256(b"\x00provenance-audit-v1\n", text_of, mac)
    line = {"idx": index, "kid": body["kid"], "mac": mac.hex(), "leaf": leaf.hex()[:8], "body": text_of.decode()}
    detail = None
    if has_detail:
        gone = index in {0, 6}
        detail = {
            "idx": index,
            "event_id": event_id,
            "salt": None if gone else salt.hex(),
            "body": None if gone else text.decode(),
            "media_type": "application/json",
            "erased_at": "2026-11-30T10:00:00+00:00" if gone else None,
        }
    return line, detail, leaf


def spans(first, end):
    found = []
    while first < end:
        width = 1
        while first % (2 * width) == 0 and first + 2 * width <= end:
            width *= 2
        found.append((first, first + width))
        first += width
    return found


def range_proof(leaves, first, end):
    def side(name, edges):
        return "".join(f"{name} {base64.b64encode(root_of(leaves[a:b])).decode()}\n" for a, b in edges)

    head = f"provenance-range-proof@v1\nrange {first} {end} {len(leaves)}\n"
    return head + side("left", spans(0, first)) + side("right", spans(end, len(leaves)))


def note(origin, leaves, signer=SIGNER, *, is_instance=False):
    checkpoint = Checkpoint(origin, len(leaves), root_of(leaves))
    return signed_note(checkpoint, signer.sign(checkpoint, is_instance=is_instance, now=AT))


def jsonl(items):
    return "".join(json.dumps(item, separators=(",", ":"), ensure_ascii=False) + "\n" for item in items)


def bundle(name, origin, items, *, first=0, end=None, keep=lambda _line: True, filters=None, expired=0, **members):
    """Write one: `items` are (line, detail, leaf) of the whole log."""
    leaves = [leaf for _line, _detail, leaf in items]
    end = len(items) if end is None else end
    kept = [item for item in items[first:end] if keep(item[0])]
    omitted = [leaf for line, _detail, leaf in items[first:end] if not keep(line)]
    workspace = None if origin.endswith("/instance") else str(WORKSPACE)
    files = {
        "events.jsonl": jsonl(line for line, _detail, _leaf in kept),
        "details.jsonl": jsonl(detail for _line, detail, _leaf in kept if detail),
        "omitted.bin": b"".join(omitted),
        "range.proof": range_proof(leaves, first, end),
        "checkpoint": members.pop("checkpoint", None) or note(origin, leaves),
        "rotations": members.pop("rotations", ""),
        "vkeys": "".join(f"{key}\n" for key in SIGNER.vkeys(origin, is_instance=workspace is None)),
        **{name.replace("_", "."): text for name, text in members.items()},
    }
    manifest = {
        "format": "provenance-audit-bundle/2",
        "origin": origin,
        "workspace": workspace,
        "epoch": int(origin.rpartition("/e")[2]) if "/e" in origin else 1,
        "created_at": AT.isoformat(),
        "filters": filters or {},
        "first": first,
        "end": end,
        "size": len(items),
        "sealed_at": AT.isoformat(),
        "events": sum("body" in line for line, _detail, _leaf in kept),
        "checkpoints": sum("checkpoint" in line for line, _detail, _leaf in kept),
        "details": sum(bool(detail) for _line, detail, _leaf in kept),
        "omitted": {"filtered": len(omitted) - expired, "expired": expired, "missing": 0, "missing_at": []},
        "files": {name: hashlib.sha256(_bytes(data)).hexdigest() for name, data in files.items()},
    }
    files["MANIFEST.json"] = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    write(PLACE / f"{name}.zip", files)


def _bytes(data):
    return data if isinstance(data, bytes) else data.encode()


def write(path, files):
    """A zip that is the same each time."""
    with zipfile.ZipFile(path, "w") as out:
        for name, data in files.items():
            member = zipfile.ZipInfo(name, (2026, 11, 30, 9, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(member, _bytes(data))


def make():
    """All of them."""
    PLACE.mkdir(exist_ok=True)
    origin, instance = f"{INSTALLATION}/{WORKSPACE}", f"{INSTALLATION}/instance"
    items = [event(index) for index in range(13)]
    leaves = [leaf for _line, _detail, leaf in items]
    older = note(origin, leaves[:5])
    bundle("whole", origin, items)
    filters = {"actions": ["agent.updated"]}
    bundle("filtered", origin, items, keep=lambda line: "agent.updated" in line["body"], filters=filters)
    aged = [event(index, since=AT - timedelta(days=4000 * (index < 5))) for index in range(13)]
    bundle("expired", origin, aged, keep=lambda line: line["idx"] > 3, expired=4)
    part = {"first": 6, "end": 11, "consistency_proof": range_proof(leaves, 5, 5)}
    bundle("part", origin, items, **part)
    rotated = LogSigner.of([NEXT])
    rotation = Succession.signed_by(SIGNER.keys[0], NEXT, INSTALLATION, AT).text
    bundle("rotated", origin, items, checkpoint=note(origin, leaves, rotated), rotations=rotation)
    begun = {"continues": {"kept": 4, "origin": origin, "root": leaves[0].hex(), "size": 5}}
    again = [event(0, action="audit.epoch_started", context=begun), event(1, action="audit.detail_erased"), *items[2:5]]
    bundle("continued", f"{origin}/e2", again)
    text = Checkpoint(origin, 5, root_of(leaves[:5])).text
    noted = {"idx": 2, "leaf": "", "checkpoint": text}
    leaf = sha256(b"\x00provenance-checkpoint-v1\n", text.encode())
    first = [
        event(0, workspace=None),
        event(1, workspace=None, action="audit.detail_erased"),
        (noted | {"leaf": leaf.hex()[:8]}, None, leaf),
    ]
    own = [*first, event(3, workspace=None)]
    bundle("instance", instance, own, checkpoint=_kept_note(instance, [leaf for *_rest, leaf in own]))
    line = json.dumps(items[7][0], separators=(",", ":"), ensure_ascii=False).encode()
    proof = "".join(f"{base64.b64encode(value).decode()}\n" for value in path_of(7, leaves))
    extra = base64.b64encode(line).decode()
    (PLACE / "event.tlog-proof").write_text(
        f"c2sp.org/tlog-proof@v1\nextra {extra}\nindex 7\n{proof}\n{note(origin, leaves)}"
    )
    (PLACE / "older.note").write_text(older)
    for name, named in (("workspace", origin), ("continued", f"{origin}/e2"), ("instance", instance)):
        keys = SIGNER.vkeys(named, is_instance=name == "instance")
        (PLACE / f"{name}.pub").write_text("".join(f"{key}\n" for key in keys))
        if name == "continued":
            continue  # MAC keys are those of the workspace, whatever the epoch
        workspace = None if name == "instance" else WORKSPACE
        macs = {kid: key.hex() for kid, key in RING.derived_keys(workspace).items()}
        held = {"workspace": str(workspace) if workspace else "instance", "keys": macs}
        (PLACE / f"{name}.keys").write_text(json.dumps(held, indent=2) + "\n")


def _kept_note(origin, leaves):
    """ML-DSA signs with a grain of chance, so what was signed once stays."""
    made = note(origin, leaves, is_instance=True)
    kept = PLACE / "instance.zip"
    if kept.exists():
        with zipfile.ZipFile(kept) as opened:
            before = opened.read("checkpoint").decode()
        if before.split("\n")[:5] == made.split("\n")[:5]:
            return before
    return made


if __name__ == "__main__":
    make()
