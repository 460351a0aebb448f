"""Real worker processes: Celery, signed in as the worker role, with a broker of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import redis
from celery import Celery
from django.conf import settings

from provenance.home import Home
from tests import databases
from workflows import doorbell

ROOT = Path(__file__).resolve().parents[2]
BINDING = "_kombu.binding.drive"
"""Where kombu keeps that somebody listens to the queue. The broker tells nobody who its clients are."""


class Broker:
    """One logical database of the test run's Valkey, so that workers of other tests answer no bell of ours."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.url = f"{settings.REDIS_URL.partition('?')[0]}?db={number}"
        self._app = Celery(broker=self.celery_url, set_as_current=False)
        self._app.conf.task_default_queue = "drive"

    @property
    def celery_url(self) -> str:
        """The URL as Celery spells it."""
        return self.url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=")

    def ring(self, workspace_id: UUID, token_id: UUID, dispatch_no: int) -> bool:
        """Send a doorbell through this broker."""
        self._app.send_task(doorbell.TASK, args=(str(workspace_id), str(token_id), dispatch_no))
        return True

    def has_listener(self) -> bool:
        """Whether the worker started last has come to listen: it then declares its queue, which `unbind` took away."""
        with redis.Redis.from_url(self.url) as client:
            return bool(client.exists(BINDING))

    def unbind(self) -> None:
        """Forget who listens, before a worker starts."""
        with redis.Redis.from_url(self.url) as client:
            client.delete(BINDING)

    def forget(self) -> None:
        """Drop the bells that nobody answered."""
        self._app.control.purge()

    def close(self) -> None:
        """Forget everything and hang up."""
        self.forget()
        self._app.close()


@contextmanager
def worker(broker: Broker, log: Path, *, fault: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A worker process. With `fault` it kills itself at that point, as `kill -9` would."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": "provenance.settings",
        "PROVENANCE_ROLE": "worker",
        "PROVENANCE_ENV": "test",
        "PROVENANCE_HOME": str(Home.locate().root),
        "PROVENANCE_GATEWAY_URL": settings.GATEWAY_URL,
        "DATABASE_URL": databases.role_url("worker"),
        "REDIS_URL": broker.celery_url,
        "CALL_TOKEN": settings.CALL_TOKEN,
        "FAULT": fault,
    }
    broker.unbind()
    command = [sys.executable, "-m", "celery", "-A", "provenance.celery", "worker", "-P", "threads", "-c", "4"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--loglevel", "WARNING", "--without-mingle", "--without-gossip"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def hold_back(run_id: UUID) -> None:
    """Let no sweep be faster than the worker that is meant to answer this run's bell, for a minute and a half.

    What is put off for more than two minutes was put off by a clock that was wrong, and is swept at once.
    """
    with databases.admin() as owner:
        owner.execute("UPDATE workflows_token SET wake_at = now() + interval '90 seconds' WHERE run_id = %s", [run_id])


def lose_lease(run_id: UUID) -> None:
    """Let time pass for a run: its lease has run out, and its bell was left unanswered."""
    with databases.admin() as owner:
        owner.execute(
            "UPDATE workflows_token SET lease_until = now() - interval '1 second' WHERE state = 'leased' AND run_id = %s",
            [run_id],
        )
        owner.execute(
            "UPDATE workflows_token SET wake_at = now() WHERE state IN ('leased', 'ready') AND run_id = %s", [run_id]
        )


def has_leader() -> bool:
    """Whether a worker sweeps."""
    with databases.admin() as owner:
        return owner.execute("SELECT count(*) FROM workflows_leader WHERE until > now()").fetchone() == (1,)
