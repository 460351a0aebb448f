"""Who listens on our ports: nobody yet, another program, or a server of ours that answers.

Standard library only: `doctor`, `status` and `run` ask before anything is installed or started.
"""

from __future__ import annotations

import errno
import http.client
import json
import socket
from urllib.parse import urlsplit

from provenance.loopback import LOOPBACK
from provenance.processes import Installation, StartError

LARGEST_PROBE_BYTES = 65_536


def refuse_taken_ports(installation: Installation) -> None:
    """Raise StartError when somebody else listens where we are to listen."""
    named = installation.ports.named()
    wanted = named if installation.is_demo else {"front": named["front"]}
    for name, port in wanted.items():
        if is_taken(LOOPBACK, port):
            raise StartError(
                f"port {port} ({name}) is taken by another program. Stop that one, or choose three free "
                f"neighboring ports, for example: ./manage.py up --port {installation.ports.front + 100}"
            )


def is_taken(address: str, port: int) -> bool:
    """Does somebody listen there already?"""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        # As servers do it: connections of the last run that the kernel still remembers do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as problem:
            # An address that this machine has not is for the server to complain about.
            return problem.errno == errno.EADDRINUSE
    return False


def not_ready(installation: Installation) -> str | None:
    """Why the front cannot serve; None when it can."""
    host = urlsplit(installation.url).netloc
    return _unhealthy(installation.ports.front, "/readyz", host)


def warnings(installation: Installation) -> list[str]:
    """What a front that serves says is wrong all the same."""
    _problem, said = _asked(installation.ports.front, "/readyz", urlsplit(installation.url).netloc)
    found = said.get("warnings", [])
    return [str(warning) for warning in found] if isinstance(found, list) else []


def examples_not_ready(installation: Installation) -> str | None:
    """Why the demo cannot be filled; None when its servers answer."""
    ports = (installation.ports.examples, installation.ports.scripted_model)
    return next((problem for port in ports if (problem := _unhealthy(port, "/healthz"))), None)


def _unhealthy(port: int, path: str, host: str = "") -> str | None:
    return _asked(port, path, host)[0]


def _asked(port: int, path: str, host: str = "") -> tuple[str | None, dict[str, object]]:
    """What is wrong there, and what was answered."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        said = answer.read(LARGEST_PROBE_BYTES).decode("utf-8", errors="replace").strip()
    except (OSError, http.client.HTTPException) as problem:
        return f"port {port} does not answer ({problem})", {}
    finally:
        connection.close()
    found = _ours(said)
    if found is None:
        return f"port {port} belongs to another program", {}
    return (None if answer.status == http.client.OK else f"{path} says {answer.status}: {said}"), found


def _ours(said: str) -> dict[str, object] | None:
    """Our probes, and our refusals of one, are JSON objects with a status."""
    try:
        found = json.loads(said)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "status" in found else None
