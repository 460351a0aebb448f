"""Every process of an installation: its command and what it may know.

A command line and an environment can be read by other processes of the same machine, so neither ever holds a secret:
they name files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from provenance.home import CHECKOUT, DATABASE, Home, Ports, replace_text
from provenance.loopback import LOOPBACK

# What a process may inherit from the person who starts it. The rest, tokens of other products included, stays out.
INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
# Choices of the operator that reach every process of ours.
OPERATOR_CHOICES = (
    *("PROVENANCE_LOG_LEVEL", "PROVENANCE_ALLOWED_HOSTS", "PROVENANCE_TRUSTED_PROXIES", "PROVENANCE_ERASURES"),
    *("PROVENANCE_ANCHOR", "PROVENANCE_ANCHOR_COMMAND", "PROVENANCE_WITNESSES", "PROVENANCE_WITNESSES_FILE"),
    *("PROVENANCE_ANCHOR_TSA", "PROVENANCE_ANCHOR_TSA_CA_FILE", "PROVENANCE_ANCHOR_TSA_SECONDS"),
    *("PROVENANCE_ANCHOR_BUCKET", "PROVENANCE_ANCHOR_BUCKET_REGION", "PROVENANCE_ANCHOR_BUCKET_SECONDS"),
    *("PROVENANCE_ANCHOR_MAIL", "EMAIL_FROM", "STREAMS_DIRECTORY"),
)
STOP_SECONDS = 10


class StartError(Exception):
    """The installation cannot start; the text is what is wrong and what to do."""


@dataclass(frozen=True)
class Program:
    """A command and its environment, ready to be started."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class ExternalDatabase:
    """A Postgres server somewhere else, by the URL of a role that may create roles."""

    admin_url: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> ExternalDatabase | None:
        """The server that the operator named, in a variable or in the file that a variable names."""
        for name in ("PROVENANCE_ADMIN_DATABASE_URL", "DATABASE_URL"):
            if url := _value(environ, name):
                return cls(url)
        return None

    @property
    def address(self) -> str:
        """Host and port, for messages: never the password."""
        parts = urlsplit(self.admin_url)
        return f"{parts.hostname or 'the local socket'}:{parts.port or 5432}"

    def url(self, user: str, password: str = "") -> str:
        """The same server as another role, in our database."""
        parts = urlsplit(self.admin_url)
        host = parts.netloc.rpartition("@")[2]
        netloc = f"{_login(user, password)}@{host}"
        return urlunsplit(SplitResult(parts.scheme, netloc, f"/{DATABASE}", parts.query, ""))


@dataclass(frozen=True)
class Installation:
    """What `up` starts: where it keeps its data, where it listens, which servers it uses."""

    home: Home
    ports: Ports
    mode: str
    database: ExternalDatabase | None
    redis_url: str
    environ: Mapping[str, str]

    @classmethod
    def of(
        cls, environ: Mapping[str, str], *, port: int | None = None, mode_of_a_new_one: str = "demo"
    ) -> Installation:
        """The installation that this environment describes; on a bare machine a demo with embedded servers."""
        home = Home.locate(environ)
        wanted = int(environ["PROVENANCE_PORT"]) if port is None and environ.get("PROVENANCE_PORT") else port
        return cls(
            home=home,
            ports=home.ports(wanted),
            mode=environ.get("PROVENANCE_ENV") or home.mode() or mode_of_a_new_one,
            database=ExternalDatabase.of(environ),
            redis_url=_value(environ, "REDIS_URL"),
            environ=environ,
        )

    @property
    def anchor(self) -> Path:
        """Where published checkpoints of the log are kept. Raises HomeError for a place inside the database's own."""
        return self.home.anchor(self.environ.get("PROVENANCE_ANCHOR", ""))

    @property
    def is_demo(self) -> bool:
        """Does it run the example servers, the scripted model and the demo people?"""
        return self.mode == "demo"

    @property
    def url(self) -> str:
        """The address people open."""
        return self.environ.get("PROVENANCE_URL") or f"http://{LOOPBACK}:{self.ports.front}"

    def program(self, role: str) -> Program:
        """The process of that role. Raises KeyError for a role that does not exist."""
        return Program(role, tuple(COMMANDS[role](self)), self.environment(role))

    def command(self, role: str, *arguments: str) -> Program:
        """One of Django's commands, run as that role."""
        command = (sys.executable, str(CHECKOUT / "manage.py"), *arguments)
        return Program(arguments[0], command, self.environment(role))

    def environment(self, role: str) -> dict[str, str]:
        """What a process of that role gets to know. Secrets are named by file, and only those of its own role."""
        known = {name: self.environ[name] for name in (*INHERITED, *OPERATOR_CHOICES) if name in self.environ}
        known |= {
            "PYTHONUNBUFFERED": "1",
            "PROVENANCE_ROLE": role,
            "PROVENANCE_HOME": str(self.home.root),
            "PROVENANCE_ENV": self.mode,
            "PROVENANCE_PORT": str(self.ports.front),
            "PROVENANCE_URL": self.url,
            "PROVENANCE_GATEWAY_URL": f"http://{LOOPBACK}:{self.ports.front}",
            "DJANGO_SETTINGS_MODULE": "provenance.settings",
        }
        if self.database and role in DATABASE_USERS:
            known["DATABASE_URL_FILE"] = str(self.home.key_path(f"url-{DATABASE_USERS[role]}"))
        if self.database and role in {"front", "setup"}:
            known["GATEWAY_DATABASE_URL_FILE"] = str(self.home.key_path("url-prov_gateway"))
        if self.database and role == "setup":
            known["MIGRATOR_DATABASE_URL_FILE"] = str(self.home.key_path("url-prov_migrate"))
        if role == "worker":
            # Celery would run Django's checks, which load every page: a second and 40 MB for what a test looks at.
            known["CELERY_SKIP_CHECKS"] = "true"
        if role == "sealer" and "PROVENANCE_ANCHOR_BUCKET_KEY_FILE" in self.environ:
            known["PROVENANCE_ANCHOR_BUCKET_KEY_FILE"] = self.environ["PROVENANCE_ANCHOR_BUCKET_KEY_FILE"]
        senders = {"front", "gateway", "sealer"} if self.environ.get("PROVENANCE_ANCHOR_MAIL") else {"front", "gateway"}
        if role in senders and "EMAIL_URL_FILE" in self.environ:
            # The relay's password: by file, and for a process that sends mail.
            known["EMAIL_URL_FILE"] = self.environ["EMAIL_URL_FILE"]
        if self.redis_url:
            known["REDIS_URL_FILE"] = str(self.home.key_path("url-redis"))
        return known

    def write_urls(self) -> None:
        """Put the addresses of external servers, which hold passwords, into files that only this user reads."""
        if self.database:
            for user in set(DATABASE_USERS.values()):
                url = self.database.url(user, self.home.read_key(f"db-{user}"))
                replace_text(self.home.key_path(f"url-{user}"), url)
        if self.redis_url:
            replace_text(self.home.key_path("url-redis"), self.redis_url)


# Which Postgres role a process signs in as.
DATABASE_USERS = {
    "web": "prov_web",
    "front": "prov_web",
    "setup": "prov_web",
    "gateway": "prov_gateway",
    "worker": "prov_worker",
    "sealer": "prov_sealer",
    "retention": "prov_retention",
    "migrate": "prov_migrate",
    "keys": "prov_migrate",
}


def _asgi(application: str) -> Callable[[Installation], Sequence[str]]:
    return lambda installation: (
        *(sys.executable, "-m", "uvicorn", application),
        *("--host", bind_address(installation), "--port", str(installation.ports.front)),
        # Who is believed about a forwarded address is decided in one place, by PROVENANCE_TRUSTED_PROXIES.
        *("--no-proxy-headers", "--no-server-header", "--no-access-log", "--no-use-colors"),
        *("--timeout-graceful-shutdown", "5", "--log-level", "warning"),
    )


def _web(installation: Installation) -> Sequence[str]:
    return (
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "provenance.wsgi:application"),
        *("--host", bind_address(installation), "--port", str(installation.ports.front)),
        *("--workers", "1", "--blocking-threads", "8", "--no-ws", "--log-level", "warning"),
    )


def _worker(_installation: Installation) -> Sequence[str]:
    return (
        *(sys.executable, "-m", "celery", "-A", "provenance.celery", "worker"),
        # Named here too: Celery patches itself for its pool before it reads the settings.
        *("-P", "threads", "--loglevel", "WARNING"),
        # Workers need not know of each other: who drives what is settled in Postgres.
        *("--without-mingle", "--without-gossip"),
    )


def _sealer(_installation: Installation) -> Sequence[str]:
    return (sys.executable, "-m", "audit.sealer")


def _examples(installation: Installation) -> Sequence[str]:
    return (
        *(sys.executable, "-m", "examples.servers"),
        *("--port", str(installation.ports.examples), "--home", str(installation.home.root)),
    )


def _scripted_model(installation: Installation) -> Sequence[str]:
    return (
        *(sys.executable, "-m", "examples.scripted_model"),
        *("--port", str(installation.ports.scripted_model)),
        *("--key-file", str(installation.home.key_path("model-key"))),
    )


# The processes that listen on the port of people.
LISTENERS = frozenset({"front", "gateway", "web"})

COMMANDS: Mapping[str, Callable[[Installation], Sequence[str]]] = {
    "front": _asgi("provenance.asgi:front"),
    "gateway": _asgi("gateway.server:application"),
    "web": _web,
    "worker": _worker,
    "sealer": _sealer,
    "examples": _examples,
    "scripted-model": _scripted_model,
}


def bind_address(installation: Installation) -> str:
    """Where the listeners listen: the loopback interface unless the operator says otherwise."""
    return installation.environ.get("PROVENANCE_BIND", LOOPBACK)


def _login(user: str, password: str) -> str:
    return f"{quote(user, safe='')}:{quote(password, safe='')}" if password else quote(user, safe="")


def _value(environ: Mapping[str, str], name: str) -> str:
    """`NAME`, or the content of the file that `NAME_FILE` names; empty without either."""
    if name in environ:
        return environ[name]
    file = environ.get(f"{name}_FILE")
    return Path(file).read_text("utf-8").strip() if file else ""
