"""Saves as they are without us: plain, with django-auditlog, with django-pghistory. Runs in the peers' environment.

`saves.py MODE prepare` makes the tables as the administrator; `saves.py MODE serve` answers each line of standard input,
a number of saves, with one line of what they cost. The save itself is the same in all modes and in `bench/saves.py`:
lock a row, change it, save it, in one transaction.
"""

import os
import sys
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import django
from answering import answer, questions
from django.conf import settings

MODE, TASK = sys.argv[1:3]
APPS = {
    "plain": [],
    "auditlog": ["django.contrib.contenttypes", "django.contrib.auth", "auditlog"],
    "pghistory": ["django.contrib.contenttypes", "pgtrigger", "pghistory"],
}
ROWS = 50


def configure() -> None:
    """Django with this file's one model."""
    parts = urlsplit(os.environ["BENCH_URL"])
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    settings.configure(
        INSTALLED_APPS=[*APPS[MODE], "peers"],
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": parts.path.lstrip("/"),
                "USER": parts.username,
                "PASSWORD": parts.password,
                "HOST": options.pop("host"),
                "PORT": options.pop("port", ""),
                "OPTIONS": {"options": "-c synchronous_commit=off"},
            }
        },
    )
    django.setup()


def prepare() -> None:
    """Tables, triggers and rows, and the rights of the runtime role on them."""
    from django.core.management import call_command
    from django.db import connection
    from peers.models import Agent

    call_command("migrate", "--run-syncdb", verbosity=0)
    if MODE == "pghistory":
        call_command("pgtrigger", "install", verbosity=0)
    Agent.objects.bulk_create(Agent(slug=f"agent-{number}", title="Reads invoices") for number in range(ROWS))
    with connection.cursor() as cursor:
        cursor.execute("GRANT USAGE ON SCHEMA public TO prov_web")
        cursor.execute("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO prov_web")
        cursor.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO prov_web")


def serve() -> None:
    """One line of figures for each line that asks for saves."""
    from django.db import connection, transaction
    from peers.models import Agent

    ids = list(Agent.objects.values_list("pk", flat=True))

    def save(number: int) -> None:
        with transaction.atomic():
            agent = Agent.objects.select_for_update().get(pk=ids[number % len(ids)])
            agent.status = "suspended" if agent.status == "active" else "active"
            agent.suspended_reason = "Asked for too much" if agent.status == "suspended" else ""
            agent.save(update_fields=["status", "suspended_reason"])

    for (count,) in questions():
        answer(int(count), save, connection.connection.info.backend_pid)


if __name__ == "__main__":
    configure()
    {"prepare": prepare, "serve": serve}[TASK]()
