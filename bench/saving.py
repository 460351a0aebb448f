"""Goal 6: a save through a real service, beside the plain save and what peers make of it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from bench import events
from bench.figures import OUT, Figure, Goal, Sample, against, interleaved, median, ratio
from bench.ground import Ground
from provenance.home import CHECKOUT

PEERS = Path(__file__).resolve().parent / "peers"
MODES = ("plain", "auditlog", "pghistory")


def saving(ground: Ground, *, quick: bool) -> list[Figure]:
    """Saves by one client and one connection, CPU-bound; then changes of 1,000 rows at once."""
    workspace = _workspace(ground)
    count, rounds = (100, 5) if quick else (400, 15)
    with ExitStack() as opened:
        ours = opened.enter_context(_runner([sys.executable, "-m", "bench.saves", str(workspace)], _ours(ground)))
        others = {
            mode: opened.enter_context(_runner(command, environment)) for mode, command, environment in _peers(ground)
        }
        runners = {"ours": ours, "least": lambda asked: ours(f"least {asked}"), **others}
        for ask in runners.values():
            ask("100")
        with ground.connect("postgres") as admin:
            # Their rows were made when the first line was answered.
            admin.execute("ANALYZE bench_bulk, bench_unguarded")
        found = interleaved({name: partial(ask, str(count)) for name, ask in runners.items()}, rounds)
        bulk = interleaved(
            {table: partial(ours, f"bulk {table}") for table in ("bench_bulk", "bench_unguarded")}, rounds
        )
    return [*(_of_saves(found) if others else []), *_of_bulk(bulk)]


def _of_saves(found: dict[str, list[Sample]]) -> list[Figure]:
    def beside(limit: str, measured: str, name: str, goal: Goal | None = None, note: str = "") -> Figure:
        """One thing that the saves were measured by, ours beside the limit, and the others as peers."""
        middle = {variant: median(samples, measured) for variant, samples in found.items()}
        return against(
            *(found["ours"], found[limit], measured),
            name=name,
            unit="/s" if measured == "rate" else "us",
            peers={variant: value for variant, value in middle.items() if variant not in {"ours", limit}},
            goal=goal,
            note=note,
        )

    plain = "limit: the same lock, change and save without us"
    return [
        beside("plain", "rate", "6 save through a service: rate, CPU-bound", Goal(kind="least", bound=0.7), plain),
        beside("plain", "client_us", "6 save through a service: client CPU", Goal(kind="most", bound=1.5)),
        beside("auditlog", "rate", "6 save through a service: against django-auditlog", Goal(kind="least", bound=1.7)),
        beside("least", "rate", "  save through a service: of what the promise costs by hand", note="decision 0016"),
        beside("plain", "server_us", "  save through a service: server CPU"),
        beside("least", "server_us", "  save through a service: server CPU, of the same by hand"),
    ]


def _of_bulk(found: dict[str, list[Sample]]) -> list[Figure]:
    guarded, unguarded = found["bench_bulk"], found["bench_unguarded"]
    return [
        Figure(
            name="6 change of 1,000 rows: server CPU",
            value=median(guarded, "server_us") / 1000,
            unit="ms",
            limit=median(unguarded, "server_us") / 1000,
            ratio=ratio(guarded, unguarded, "server_us"),
            goal=Goal(kind="most", bound=1.6),
            note="limit: the same update and events without guards",
        )
    ]


def _workspace(ground: Ground) -> UUID:
    workspace = ground.workspace()
    with ground.connect("postgres") as admin:
        events.make_governed(admin, "bench_bulk")
        events.make_governed(admin, "bench_unguarded", without=["audit_coverage", "audit_revision"])
    return workspace


def _ours(ground: Ground) -> dict[str, str]:
    return {**os.environ, **ground.installation.environment("web")}


def _peers(ground: Ground) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    python = _environment_of_peers()
    if python is None:
        return
    for mode in MODES:
        database = f"peer_{mode}"
        with ground.connect("postgres") as admin:
            admin.execute(f"CREATE DATABASE {database}")
        command = [str(python), str(PEERS / "saves.py"), mode]
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PEERS / "apps")}
        prepare = base | {"BENCH_URL": ground.url("postgres", database)}
        subprocess.run([*command, "prepare"], env=prepare, check=True)
        yield mode, [*command, "serve"], base | {"BENCH_URL": ground.url("web", database)}


def _environment_of_peers() -> Path | None:
    """The peers' Python, made once; None, with a word about it, where their packages cannot be had."""
    place = OUT / "peers"
    python, mark = place / "bin" / "python", place / "installed.txt"
    wanted = (PEERS / "requirements.txt").read_text("utf-8")
    if mark.exists() and mark.read_text("utf-8") == wanted:
        return python
    OUT.mkdir(exist_ok=True)
    uv = shutil.which("uv")
    make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
    install = [uv, "pip", "install", "--quiet", "--python"] if uv else []
    install = [*install, str(python)] if uv else [str(python), "-m", "pip", "install", "--quiet"]
    for command in ([*make, str(place)], [*install, "--requirement", str(PEERS / "requirements.txt")]):
        if subprocess.run(command, cwd=CHECKOUT, check=False).returncode:
            print("The peers' packages cannot be installed: goal 6 is left out.", file=sys.stderr)
            return None
    mark.write_text(wanted, "utf-8")
    return python


@contextmanager
def _runner(command: list[str], environment: dict[str, str]) -> Iterator[Any]:
    with subprocess.Popen(
        command, env=environment, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        asked, answers = child.stdin, child.stdout
        if asked is None or answers is None:
            raise RuntimeError("pipes were asked for")

        def ask(line: str) -> Sample:
            asked.write(f"{line}\n")
            asked.flush()
            answer = answers.readline()
            if not answer:
                raise RuntimeError(f"{' '.join(command[:3])} ended with {child.wait()}")
            found: Sample = json.loads(answer)
            return found

        yield ask
        asked.close()
