"""Bundles for tests: made of what is sealed, taken apart, forged, and put before the verifier in a process of its own."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import redirect_stdout
from pathlib import Path

from django.db import transaction

import audit.verify
from audit.exports import export_bundle, export_keys
from provenance.actor import Actor
from provenance.permissions import Permission
from tests.audit import sealing

VERIFIER = Path(audit.verify.__file__)
LINES = ("events.jsonl", "details.jsonl")


def exported(actor, place, name="bundle.zip", **wishes):
    """A bundle on disk."""
    path = place / name
    with path.open("wb") as out:
        export_bundle(actor=actor, out=out, **wishes)
    return path


def public_keys(workspace_id, place):
    """The file of the log's public keys, as an auditor gets it by another way."""
    path = place / f"{workspace_id or 'instance'}.pub"
    path.write_text("".join(f"{key}\n" for key in sealing.vkeys(workspace_id)))
    return path


def mac_keys(workspace_id, place):
    """The file of the workspace's MAC keys. Rolled back: nobody is there to seal that they were handed out."""
    path = place / f"{workspace_id}.keys"
    with path.open("w") as out, transaction.atomic():
        export_keys(actor=Actor.system("audit_keys", workspace_id, [Permission.AUDIT_READ]), out=out)
        transaction.set_rollback(True)
    return path


def verified(path, *options):
    """Exit code and report of the verifier."""
    said = io.StringIO()
    with redirect_stdout(said):
        code = audit.verify.main([str(path), *map(str, options)])
    return code, json.loads(said.getvalue())


def verified_apart(path, *options):
    """The same in a process that has the one file of the verifier and these, and nothing of ours."""
    with tempfile.TemporaryDirectory() as place:
        alone = shutil.copy(VERIFIER, place)
        arguments = [sys.executable, "-I", alone, str(path), *map(str, options)]
        done = subprocess.run(arguments, capture_output=True, text=True, cwd=place, env={}, check=False, timeout=300)
    assert not done.stderr
    return done.returncode, json.loads(done.stdout)


def members(path):
    """What a bundle holds, by name."""
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def lines(path, name="events.jsonl"):
    """The lines of a member, parsed."""
    return [json.loads(line) for line in members(path)[name].splitlines()]


def bodies(path):
    """The signed bodies of the events, parsed."""
    return [json.loads(line["body"]) for line in lines(path)]


def packed(files, path):
    """A bundle of these members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return path


def forged(path, change):
    """The bundle after `change` had its members: parsed lines of events and details, everything else as bytes.

    What the manifest says of them fits afterwards, as a careful forger would have it, unless `change` wrote there itself.
    """
    path = Path(path)
    files = members(path)
    files |= {name: [json.loads(line) for line in files[name].splitlines()] for name in LINES}
    change(files)
    for name in LINES:
        if isinstance(files[name], list):
            made = [json.dumps(line, separators=(",", ":"), ensure_ascii=False) for line in files[name]]
            files[name] = "".join(f"{line}\n" for line in made).encode()
    if files.get("MANIFEST.json") == (manifest := members(path)["MANIFEST.json"]):
        files["MANIFEST.json"] = fitting(json.loads(manifest), files)
    return packed(files, path.with_name("forged.zip"))


def fitting(manifest, files):
    """The manifest with the counts and digests of these members."""
    events, details = (files[name].splitlines() for name in LINES)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != "MANIFEST.json"}
    manifest |= {
        "events": sum(b'"body":' in line for line in events),
        "checkpoints": sum(b'"checkpoint":' in line for line in events),
        "details": len(details),
        "files": digests,
    }
    return json.dumps(manifest).encode()


def kinds(report):
    """The kinds of what does not hold."""
    return {finding["kind"] for finding in report["findings"]}


def memory():
    """A place for a bundle that nobody looks at."""
    return io.BytesIO()
