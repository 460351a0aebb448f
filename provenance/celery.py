"""Celery: the hands of the engine. Postgres is the ledger and Valkey only a doorbell (runs.md 3.8).

Each setting has a reason; together they mean that a message may be lost, doubled or late without harm.
"""

import os
import warnings

from celery import Celery
from celery.exceptions import SecurityWarning
from celery.signals import celeryd_after_setup, worker_init, worker_shutting_down
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "provenance.settings")

from django.conf import settings

THREADS = 64

# As root on a bare machine `up` works on purpose. What Celery fears there is pickle, and this worker reads JSON only.
warnings.filterwarnings("ignore", "You're running the worker with superuser privileges", SecurityWarning)

# By the scheme of the URL, because one for a socket takes no other way to name a transport.
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "provenance.bells:Transport"))

app = Celery("provenance")
app.conf.update(
    broker_url=settings.REDIS_URL.replace("unix://", "redis+socket://", 1),
    # Acknowledged before it runs: a claim in Postgres is what survives a crash, and late acknowledgement makes Redis
    # deliver long tasks a second time.
    task_acks_late=False,
    task_reject_on_worker_lost=False,
    # Nobody hoards doorbells that another worker could answer.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    # Nothing reads results; state in Redis would be a second truth.
    task_ignore_result=True,
    result_backend=None,
    # Remote control would let whoever reaches Redis steer workers (T17).
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    task_send_sent_event=False,
    accept_content=["json"],
    task_serializer="json",
    worker_pool="threads",
    worker_concurrency=THREADS,
    # Waits for steps to reach a boundary; the engine yields there on SIGTERM.
    worker_soft_shutdown_timeout=60,
    worker_enable_soft_shutdown_on_idle=False,
    # A broker that is away must not hold a request: the sweeper finds what was not rung for.
    broker_connection_timeout=2,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A queue that somebody made something else of is a broker that is away, and not the end of the worker.
    broker_channel_error_retry=True,
    broker_transport_options={
        "visibility_timeout": 3600,
        "health_check_interval": 25,
        "socket_timeout": 10,
        "socket_connect_timeout": 2,
        "max_retries": 1,
    },
    task_create_missing_queues=True,
    task_default_queue="drive",
    imports=["workflows.tasks", "streams.tasks", "audit.tasks"],
    worker_hijack_root_logger=False,
    timezone="UTC",
    enable_utc=True,
)


def refuse_behind_broken_walls(**_: object) -> None:
    """However this worker was started: where a wall is down it drives nothing, and says which one it is."""
    import django  # noqa: PLC0415  only a worker needs its apps here, not everyone who rings a doorbell

    django.setup()
    from provenance import readiness  # noqa: PLC0415  needs Django's apps

    if found := readiness.problems():
        raise SystemExit("\n".join(found))


def _begin_sweeping(**_: object) -> None:
    from workflows import sweep  # noqa: PLC0415  needs Django's apps, which Celery loads after this module

    # Not when it is ready, which is when the broker answers: without one everything hangs on the sweeps.
    sweep.start()


def _yield_at_the_next_boundary(**_: object) -> None:
    from workflows import engine, sweep  # noqa: PLC0415  as above

    engine.stopping.set()
    sweep.stop()


worker_init.connect(refuse_behind_broken_walls)
celeryd_after_setup.connect(_begin_sweeping)
worker_shutting_down.connect(_yield_at_the_next_boundary)
