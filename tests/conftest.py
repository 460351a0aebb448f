"""What every test gets: a database behind the walls, a role, people in a workspace, and no way out to the network."""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import hypothesis
import pytest
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.core.cache import caches
from django.db import connection
from django.db.backends.signals import connection_created
from django.test import TransactionTestCase

from bench.events import make_workspace
from provenance.db import scope
from provenance.roles import RUNTIME_ROLES
from tests import databases, factories

LOOPBACK = ("127.", "::1", "localhost")

# How long an example takes says something about the machine, and nothing about the code. Each run tries the same examples,
# so that a tree that passed passes; `--hypothesis-profile searching` tries others.
hypothesis.settings.register_profile(
    "searching", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.register_profile("provenance", hypothesis.settings.get_profile("searching"), derandomize=True)
hypothesis.settings.load_profile("provenance")


# The five seconds that a client of the tests' own waits by default say the same: on a busy machine they are over soon.
for _wait in ("connect", "read", "write", "pool"):
    setattr(httpx2._config.DEFAULT_TIMEOUT_CONFIG, _wait, 60.0)


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[None]:
    """Replaces pytest-django's: a clone of the template that `migrate` made as `prov_migrate`."""
    worker = getattr(request.config, "workerinput", {}).get("workerid", "main")
    with django_db_blocker.unblock(), databases.worker_database(worker) as name:
        databases.point_django_at(name)
        databases.keep_months()
        connection_created.connect(_authorize, dispatch_uid="tests.role")
        yield
        connection_created.disconnect(dispatch_uid="tests.role")
        connection.close()


def _authorize(connection: Any, **_: Any) -> None:
    databases.authorize(connection)


# Django empties tables with TRUNCATE, which the walls refuse to everybody.
TransactionTestCase._fixture_teardown = lambda _self: (connection.close(), databases.empty_all_tables())


# Still Argon2, at a cost that suits hundreds of people made per run.
Argon2PasswordHasher.time_cost, Argon2PasswordHasher.memory_cost, Argon2PasswordHasher.parallelism = 1, 8, 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A change without its event fails the test that made it, as it would fail at COMMIT."""
    yield
    in_test_transaction = "db" in getattr(item, "fixturenames", ()) and connection.in_atomic_block
    if not in_test_transaction or connection.needs_rollback or databases.has_failed():
        return
    try:
        connection.check_constraints()
    except Exception:
        connection.set_rollback(True)
        raise


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaves the machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6} and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"A test tried to reach {address!r}; only loopback is open to tests.")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _months(request: pytest.FixtureRequest) -> None:
    """The log of a test has the months of today."""
    if "django_db_setup" in request.fixturenames:
        databases.keep_months()


@pytest.fixture(autouse=True)
def _workspaces(request: pytest.FixtureRequest) -> None:
    """`@pytest.mark.workspaces(id, …)`: workspaces that are nothing but there, committed, for events about them."""
    if marker := request.node.get_closest_marker("workspaces"):
        request.getfixturevalue("transactional_db")
        with databases.admin() as owner:
            for workspace_id in marker.args:
                make_workspace(owner, workspace_id)


@pytest.fixture
def as_role() -> Callable[[str], Any]:
    """`with as_role("worker"): …` - the same transaction, seen and signed by another kind of process."""

    @contextmanager
    def switch(name: str) -> Iterator[None]:
        role_before = databases.become(RUNTIME_ROLES[name])
        signs_before, settings.AUDIT_SIGNS_AS = settings.AUDIT_SIGNS_AS, name
        try:
            yield
        finally:
            settings.AUDIT_SIGNS_AS = signs_before
            databases.become(role_before)

    return switch


@pytest.fixture
def round_trips(tmp_path: Path) -> Callable[..., Any]:
    """`with round_trips() as sent: …` - what the driver sends inside the block, as libpq itself writes it down.

    With `is_straight=False`, unless said otherwise: as behind a pooler, where statements are sent whole and not by a name.
    """

    @contextmanager
    def watch(*, is_straight: bool = False) -> Iterator[list[str]]:
        connection.ensure_connection()
        driver = connection.connection
        was_straight, driver.is_straight = driver.is_straight, is_straight
        if not is_straight:
            driver.statements.forget()
        sent: list[str] = []
        with (tmp_path / "trace").open("w+") as file:
            driver.pgconn.trace(file.fileno())
            yield sent
            driver.pgconn.untrace()
            file.seek(0)
            sent += re.findall(r'\tF\t\d+\tQuery\t "(.*?)"\n(?=\d{4}-|\Z)', file.read(), re.DOTALL)
        driver.is_straight = was_straight

    return watch


@pytest.fixture
def events() -> Callable[..., list[Any]]:
    """`events(Event.X)` lists what the log of the workspace in scope holds, oldest first."""
    return factories.events


@pytest.fixture
def instance_events() -> Callable[..., list[Any]]:
    """`instance_events(Event.X)` lists what the instance log holds, oldest first."""
    return factories.instance_events


@pytest.fixture
def workspace(db: None) -> Iterator[Any]:
    """A workspace, in scope for the whole test."""
    made = factories.make_workspace()
    with scope(made.id):
        yield made


@pytest.fixture
def other_workspace(workspace: Any) -> Any:
    """Another tenant, not in scope."""
    return factories.make_workspace()


@pytest.fixture
def admin(workspace: Any) -> Any:
    """An administrator."""
    return factories.make_member(workspace, roles={"admin"})


@pytest.fixture
def editor(workspace: Any) -> Any:
    """An operator."""
    return factories.make_member(workspace, roles={"editor"})


@pytest.fixture
def approver(workspace: Any) -> Any:
    """Somebody who decides."""
    return factories.make_member(workspace, roles={"approver"})


@pytest.fixture
def auditor(workspace: Any) -> Any:
    """Somebody who reads the log."""
    return factories.make_member(workspace, roles={"auditor"})


@pytest.fixture
def viewer(workspace: Any) -> Any:
    """Somebody who only looks."""
    return factories.make_member(workspace, roles={"viewer"})


@pytest.fixture
def stranger(other_workspace: Any) -> Any:
    """An administrator of the other tenant."""
    return factories.make_member(other_workspace, roles={"admin"})


@pytest.fixture
def own_rate_limits(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Counters of sign-in attempts that no other test shares, though all have one Valkey. Call it to start them anew."""

    def start() -> None:
        monkeypatch.setattr(caches["default"], "key_prefix", uuid4().hex)

    start()
    return start
