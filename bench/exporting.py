"""Goal 10: how fast a bundle is made beside plain COPY of the same rows, in how much memory, how large, how soon checked."""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import django
import psycopg

from bench.figures import Figure, Goal, Sample, interleaved, median, ratio
from bench.ground import Ground, cpu_seconds
from bench.loading import load
from provenance.home import CHECKOUT

EVENTS = 1_000_000
FILTERED = {"actions": ["run.started"]}
"""A quarter of what `bench.events` tells."""


@dataclass(frozen=True, slots=True)
class Export:
    """What a process of its own is to export. `indices`: only these; `filters`: as a manifest describes them."""

    workspace: UUID
    path: str
    indices: tuple[int, int] | None = None
    filters: dict[str, Any] | None = None


def exporting(ground: Ground, *, quick: bool) -> list[Figure]:
    """The whole log, a tenth of it, a range in its middle and a choice; each by a process that does nothing else."""
    count, workspace = EVENTS // 10 if quick else EVENTS, ground.workspace()
    # The goal is about events. Details are as many rows again, each of them in the bundle by a way of its own.
    load(ground, workspace, count, labels=False)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        whole = Export(workspace, str(place / "whole.zip"))
        tenth = Export(workspace, str(place / "tenth.zip"), indices=(0, count // 10))
        middle = Export(workspace, str(place / "middle.zip"), indices=(count // 3 + 1, count // 3 * 2))
        chosen = Export(workspace, str(place / "chosen.zip"), filters=FILTERED)
        rounds = interleaved(
            {
                "bundle": lambda: _apart(_export, whole),
                "copy": lambda: _apart(_copy, ground.url("web"), workspace, str(place / "plain.jsonl")),
            },
            2 if quick else 3,
        )
        smaller = _apart(_export, tenth)
        _apart(_export, middle)
        _apart(_export, chosen)
        return [
            *_rates(rounds, count),
            *_memory(rounds, smaller, count),
            *_sizes(Path(whole.path), Path(middle.path), Path(chosen.path), count),
            _verified(ground, workspace, Path(whole.path), count),
        ]


def _rates(rounds: dict[str, list[Sample]], count: int) -> list[Figure]:
    rate = count / median(rounds["bundle"], "seconds")
    return [
        Figure(
            name=f"10 export {count:,} events with proof",
            value=rate,
            unit="/s",
            limit=count / median(rounds["copy"], "seconds"),
            peers={
                f"{whose} CPU, us an event{of}": median(rounds[variant], name) / count * 1e6
                for variant, of in (("bundle", ""), ("copy", " of the limit"))
                for name, whose in (("cpu", "its own"), ("server", "server"))
            },
            ratio=ratio(rounds["copy"], rounds["bundle"], "seconds"),
            goal=Goal(kind="least", bound=0.5),
            note="limit: COPY of the same rows as JSONL to a file, without proof and not packed",
        )
    ]


def _memory(rounds: dict[str, list[Sample]], smaller: Sample, count: int) -> list[Figure]:
    return [
        Figure(
            name="10 memory of an export above what its process had",
            value=median(rounds["bundle"], "grown"),
            unit="MiB",
            peers={
                f"with {count // 10:,} events": smaller["grown"],
                "the whole process": median(rounds["bundle"], "whole"),
                "before": median(rounds["bundle"], "before"),
            },
            goal=Goal(kind="most", bound=100, of_value=True),
            note="a process of its own, with all of Django in it",
        )
    ]


def _sizes(whole: Path, middle: Path, chosen: Path, count: int) -> list[Figure]:
    with zipfile.ZipFile(chosen) as bundle:
        omitted = json.loads(bundle.read("MANIFEST.json"))["omitted"]["filtered"]
        packed = bundle.getinfo("omitted.bin").compress_size
    return [
        Figure(
            name="10 proof of a contiguous range",
            value=_beside_events(middle),
            unit="B",
            peers={"of the whole log": _beside_events(whole), "bundle, bytes an event": whole.stat().st_size / count},
            goal=Goal(kind="most", bound=4096, of_value=True),
            note="all of the zip but the events: proof, checkpoint, keys, manifest, directory",
        ),
        Figure(
            name="10 proof for each omitted event",
            value=packed / omitted,
            unit="B",
            goal=Goal(kind="most", bound=40, of_value=True),
            note=f"{omitted:,} omitted",
        ),
    ]


def _beside_events(path: Path) -> int:
    with zipfile.ZipFile(path) as bundle:
        return path.stat().st_size - bundle.getinfo("events.jsonl").compress_size


def _verified(ground: Ground, workspace: UUID, bundle: Path, count: int) -> Figure:
    """By the stand-alone file in a process of its own, with the keys that an auditor gets."""
    keys, macs = bundle.with_name("log.pub"), bundle.with_name("macs.json")
    origin = f"{ground.installation.home.log_origin()}/{workspace}"
    keys.write_text("".join(f"{key}\n" for key in ground.signer().vkeys(origin, is_instance=False)), "utf-8")
    derived = ground.keys("web").derived_keys(workspace)
    macs.write_text(
        json.dumps({"workspace": str(workspace), "keys": {kid: key.hex() for kid, key in derived.items()}}), "utf-8"
    )
    command = [sys.executable, "-I", str(CHECKOUT / "audit" / "verify.py"), str(bundle)]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, "--key", str(keys), "--mac-keys", str(macs)], capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f"a bundle that nobody touched does not verify: {done.stdout[:500]}{done.stderr[:500]}")
    return Figure(
        name=f"10 verify a bundle of {count:,} offline",
        value=seconds,
        unit="s",
        peers={"events a second": count / seconds},
        goal=Goal(kind="most", bound=10 * count / EVENTS, of_value=True),
        note="the stand-alone file with all keys, its start included",
    )


# --- In a process of its own -----------------------------------------------------------------------------------------


def _apart(work: Any, *arguments: Any) -> Sample:
    """What a new process that does nothing else measures of itself. It inherits the environment of a web process."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_measured, args=(answers, work, arguments))
    process.start()
    answer: Sample = answers.get(timeout=3600)
    process.join()
    if process.exitcode:
        raise RuntimeError("an export failed")
    return answer


def _measured(answers: Any, work: Any, arguments: tuple[Any, ...]) -> None:
    answers.put(work(*arguments))


def _export(wanted: Export) -> Sample:
    django.setup()
    from django.db import connection

    from audit.exports import export_bundle
    from audit.selectors import EventFilters
    from provenance.actor import Actor
    from provenance.db import enter
    from provenance.permissions import Permission

    actor = Actor.system("bench", wanted.workspace, {Permission.AUDIT_READ})
    filters = EventFilters.of(wanted.filters) if wanted.filters else None
    with Path(wanted.path).open("wb") as out:
        # What the first transaction loads and looks up is no part of an export.
        with enter(wanted.workspace):
            pass
        before = _forget_peak()
        with _watched(connection.connection.info.backend_pid) as sample, enter(wanted.workspace):
            export_bundle(actor=actor, out=out, filters=filters, indices=wanted.indices)
    peak = _kept("VmHWM")
    return {**sample, "before": before, "whole": peak, "grown": peak - before}


def _copy(url: str, workspace: UUID, path: str) -> Sample:
    """What anybody would do: the rows as one JSON object a line, into a file, in the order of their ids."""
    with psycopg.connect(url) as connection, Path(path).open("wb") as out:
        connection.execute("SELECT set_config('app.workspace_id', %s, true)", [str(workspace)])
        with (
            _watched(connection.info.backend_pid) as sample,
            connection.cursor() as cursor,
            cursor.copy(_PLAIN, [workspace]) as rows,
        ):
            out.writelines(rows)
    return sample


@contextmanager
def _watched(server: int) -> Iterator[dict[str, float]]:
    """How long it takes, and what it uses of the processor, here and in its backend."""
    sample: dict[str, float] = {}
    begun, used, served = time.monotonic(), time.process_time(), cpu_seconds(server)
    yield sample
    sample["seconds"] = time.monotonic() - begun
    sample |= {"cpu": time.process_time() - used, "server": cpu_seconds(server) - served}


def _forget_peak() -> float:
    """Begin to watch the peak of memory anew; what is held now."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return _kept("VmRSS")


def _kept(name: str) -> float:
    status = Path(f"/proc/{os.getpid()}/status").read_text("ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(name))


_PLAIN = """
COPY (
  SELECT json_build_object('kid', kid, 'mac', encode(mac, 'hex'), 'body', body)
  FROM audit.event WHERE workspace_id = %s ORDER BY id
) TO STDOUT
"""
