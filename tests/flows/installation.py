"""A whole installation for stories: the real processes over a cloned database, driven only from outside."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import psycopg
import redis
from django.conf import settings
from psycopg.rows import dict_row

from provenance.actor import Actor, ActorKind
from provenance.db import enter
from provenance.embedded import EmbeddedValkey
from provenance.home import CHECKOUT, Home, Ports, replace_text
from provenance.ids import parse_public_id, public_id
from provenance.management.demo.browser import Browser, Page
from provenance.management.demo.sign_ins import SignIns
from provenance.processes import ExternalDatabase, Installation
from provenance.roles import RUNTIME_ROLES, in_database
from tests import databases
from tests.ports import free_ports
from workspaces.models import Membership, User
from workspaces.roles import permissions_of

START_SECONDS = 180.0
STOP_SECONDS = 60.0
STORY_SECONDS = 180.0
# After a crash a lease and the deadline of a call that was under way have to run out first.
RECOVERY_SECONDS = 300.0
PROCESSES = ("examples", "scripted-model", "worker", "sealer", "front")


@dataclass
class Story:
    """A filled demo installation that runs. Tests act through HTTP and look behind it with the owner's own eyes."""

    installation: Installation
    database: str
    blocker: Any
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def home(self) -> Home:
        return self.installation.home

    @property
    def url(self) -> str:
        return self.installation.url

    @property
    def sign_ins(self) -> SignIns:
        return SignIns.read(self.home.demo_file)

    # --- Processes ---------------------------------------------------------------------------------------------------

    def start(self, role: str, **environment: str) -> None:
        program = self.installation.program(role)
        with (self.home.logs / f"{role}.log").open("ab") as log:
            self.running[role] = subprocess.Popen(
                program.command, env={**program.environment, **environment}, cwd=CHECKOUT, stdout=log, stderr=log
            )

    def stop(self, role: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop one process; its exit code."""
        process = self.running.pop(role)
        process.send_signal(number)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """One of Django's commands, as the set-up role."""
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            env={**self.installation.environment("setup"), **environment},
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def wait_until_ready(self) -> None:
        ports = self.installation.ports
        for role, address in (
            ("examples", f"http://127.0.0.1:{ports.examples}/healthz"),
            ("scripted-model", f"http://127.0.0.1:{ports.scripted_model}/healthz"),
            ("front", f"{self.url}/readyz"),
        ):
            if role in self.running:
                self.wait_for(lambda address=address: _is_ok(address), f"{role} to serve", seconds=START_SECONDS)

    def wait_for(self, condition: Callable[[], Any], what: str, *, seconds: float = STORY_SECONDS) -> Any:
        """The first true value of the condition. Says what was waited for and what the processes wrote when none comes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for role, process in self.running.items():
                assert process.poll() is None, f"{role} ended while waiting for {what}:\n{self.log(role)}"
            if value := condition():
                return value
            time.sleep(0.05)
        logs = "\n".join(f"--- {role}\n{self.log(role)}" for role in self.running)
        raise AssertionError(f"Waited {seconds:.0f} s in vain for {what}.\n{logs}")

    def log(self, role: str) -> str:
        """The end of what a process wrote."""
        path = self.home.logs / f"{role}.log"
        return path.read_text("utf-8", errors="replace")[-3000:] if path.exists() else ""

    # --- As people and integrations -------------------------------------------------------------------------------

    @contextmanager
    def signed_in(self, title: str) -> Iterator[Browser]:
        person = self.sign_ins.person(title)
        with Browser(self.url) as browser:
            browser.sign_in(person.email, person.password)
            yield browser

    def api(self, key: str | None = None) -> httpx2.Client:
        """The API with a key, the integration's own unless another is given."""
        headers = {"X-API-Key": self.sign_ins.api_key if key is None else key}
        return httpx2.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=60, trust_env=False)

    def start_run(self, workflow: str, **run_input: str) -> str:
        """Start a run as the integration; its public id."""
        with self.api() as api:
            answer = api.post(f"/workflows/{workflow}/runs", json={"input": run_input})
        assert answer.status_code in {201, 202}, answer.text
        return answer.json()["id"]

    def run(self, run_id: str) -> dict[str, Any]:
        with self.api() as api:
            return api.get(f"/runs/{run_id}").raise_for_status().json()

    def request_of(self, run_id: str) -> str:
        """The address of the approval that a run asked for."""
        found = self.rows(
            "SELECT id FROM approvals_approvalrequest WHERE run_id = %s ORDER BY id DESC",
            parse_public_id("run", run_id),
        )
        assert found, f"{run_id} asked for no approval"
        return f"/w/{self.sign_ins.workspace}/approvals/{public_id('apr', found[0]['id'])}/"

    def decide(self, run_id: str, verdict: str, reason: str, **edits: str) -> Page:
        """Decide as the approver, with a browser and without scripts; the page at the end."""
        with self.signed_in("approver") as browser:
            form = browser.open(self.request_of(run_id)).form("/decide")
            typed = {f"payload.{name}": value for name, value in edits.items()}
            page = browser.send(form, **typed, verdict=verdict, reason=reason)
            if verdict == "approve":
                confirm = page.form("/decide")
                confirm.tick("read")
                page = browser.send(confirm, verdict=verdict)
            return page

    def wait_for_run(self, run_id: str, *statuses: str, seconds: float = STORY_SECONDS) -> dict[str, Any]:
        """The run, once it stands at one of these."""

        def reached() -> dict[str, Any] | None:
            run = self.run(run_id)
            return run if run["status"] in statuses else None

        return self.wait_for(reached, f"{run_id} to be {' or '.join(statuses)}", seconds=seconds)

    def wait_for_request(self, run_id: str) -> dict[str, Any]:
        """The run, once it waits for a person."""

        def asked() -> dict[str, Any] | None:
            run = self.run(run_id)
            assert run["status"] not in {"succeeded", "failed", "canceled"}, run
            return run if "approval" in run["waiting_on"] else None

        return self.wait_for(asked, f"{run_id} to ask a person")

    # --- Behind the scenes ------------------------------------------------------------------------------------------

    def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """What the database holds, past every wall."""
        url = in_database(databases.admin_url(), self.database)
        with psycopg.connect(url, autocommit=True, row_factory=dict_row) as admin:
            return admin.execute(statement, parameters).fetchall()

    def events(self, action: str, run: str = "") -> list[dict[str, Any]]:
        """Events of one kind (of one run), oldest first: the signed body, and the erasable facts under `detail`."""
        found = self.rows(
            "SELECT event.body, detail.body AS detail FROM audit.event"
            " LEFT JOIN audit.detail ON detail.event_id = event.id WHERE event.action = %s ORDER BY event.id",
            action,
        )
        events = [{**json.loads(row["body"]), "detail": json.loads(row["detail"] or "{}")} for row in found]
        return [
            event for event in events if not run or event["context"].get("run_id") == str(parse_public_id("run", run))
        ]

    @contextmanager
    def inside(self) -> Iterator[Actor]:
        """One transaction of Django in the story's database, as web, in its workspace; yields the operator."""
        own, workspace_id = settings.DATABASES["default"]["NAME"], UUID(self.sign_ins.workspace_id)
        with self.blocker.unblock():
            databases.point_django_at(self.database)
            try:
                with enter(workspace_id):
                    yield self._actor("operator", workspace_id)
            finally:
                databases.point_django_at(own)

    def _actor(self, title: str, workspace_id: UUID) -> Actor:
        user = User.objects.get(email=self.sign_ins.person(title).email)
        roles = Membership.objects.for_workspace(workspace_id).get(user_id=user.pk).roles
        return Actor(
            kind=ActorKind.USER,
            id=str(user.pk),
            label=user.name,
            workspace_id=workspace_id,
            permissions=permissions_of(roles),
            via="session",
        )

    def example(self, name: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """A statement on an example server's own file, as a person with a SQLite shell would run it."""
        with closing(sqlite3.connect(self.home.examples / f"{name}.sqlite3", timeout=10)) as connection, connection:
            return connection.execute(statement, parameters).fetchall()

    def model_requests(self) -> list[str]:
        """The bodies that the model server received, byte for byte."""
        address = f"http://127.0.0.1:{self.installation.ports.scripted_model}/requests"
        headers = {"Authorization": f"Bearer {self.home.read_key('model-key')}"}
        answer = httpx2.get(address, headers=headers, trust_env=False).raise_for_status().json()
        return [request["body"] for request in answer["requests"]]

    def valkey(self) -> redis.Redis:
        return redis.Redis.from_url(self.home.redis_url)


@contextmanager
def installed(root: Path, database: str, blocker: Any) -> Iterator[Story]:
    """Keys, ports, processes and a filled workspace over `database`; all of it stopped at the end."""
    home = Home(root.resolve()).ensure()
    _copy_keys(home)
    home.ensure_keys()
    ports = Ports(free_ports(3))
    home.remember_ports(ports)
    story = Story(_installation(home, ports, database), database, blocker)
    valkey = EmbeddedValkey(home, durable=False)
    valkey.start()
    try:
        for role in ("examples", "scripted-model"):
            story.start(role)
        story.wait_until_ready()
        seeded = story.command("seed_demo")
        assert seeded.returncode == 0, seeded.stdout + seeded.stderr
        for role in ("worker", "sealer", "front"):
            story.start(role)
        story.wait_until_ready()
        yield story
    finally:
        for role in list(story.running):
            story.stop(role)
        valkey.stop()
        home.discard_run()
        shutil.rmtree(home.root, ignore_errors=True)


def _copy_keys(home: Home) -> None:
    """The keys of this test run: the roles of its database server have their passwords from there."""
    own = Home.locate()
    own.ensure_keys()
    for path in own.keys.iterdir():
        replace_text(home.keys / path.name, path.read_text("ascii"))


def _installation(home: Home, ports: Ports, database: str) -> Installation:
    environ = {"PATH": os.environ["PATH"], "PROVENANCE_HOME": str(home.root), "PROVENANCE_ENV": "demo"}
    for role in ("web", "gateway", "worker", "sealer"):
        replace_text(home.key_path(f"url-{RUNTIME_ROLES[role]}"), databases.role_url(role, database))
    # The host's commands read the instance's log as the migrator.
    replace_text(home.key_path("url-prov_migrate"), databases.role_url("migrate", database))
    # An external server as far as the processes are concerned: it is the one of this test run.
    return Installation(
        home=home,
        ports=ports,
        mode="demo",
        database=ExternalDatabase(databases.admin_url()),
        redis_url="",
        environ=environ,
    )


def _is_ok(address: str) -> bool:
    with suppress(httpx2.HTTPError):
        return httpx2.get(address, timeout=5, trust_env=False).status_code == 200
    return False
