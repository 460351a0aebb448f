"""The workspace in scope, and the base of everything that belongs to a workspace.

Doors enter a workspace once (`enter`); inside, Postgres shows rows of that workspace only, and outside of any workspace
it shows none and says so. Models name their workspace all the same: row security stands behind the code, not instead.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import wraps
from typing import Any, ClassVar, NamedTuple, ParamSpec, Self, TypeVar, cast
from uuid import UUID

from django.db import connection, connections, models, transaction
from django.db.models.expressions import Col
from django.db.models.lookups import Exact
from psycopg.pq import TransactionStatus

from provenance import rows
from provenance.actor import Actor
from provenance.errors import PermissionDenied
from provenance.ids import uuid7
from provenance.postgres.connection import WORKSPACE

P = ParamSpec("P")
Result = TypeVar("Result")


def ask(statement: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """Every row that a statement gives, over Django's own connection, in whatever scope and role it has."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def database_now() -> datetime:
    """The database's clock: the only one that deadlines, leases and decisions are held against."""
    ((now,),) = ask("SELECT clock_timestamp()")
    return now  # type: ignore[no-any-return]  # rows are untyped


@contextmanager
def scope(workspace_id: UUID) -> Iterator[None]:
    """Everything inside sees the rows of this workspace. It opens no transaction: use `enter` for both.

    A transaction that begins inside carries the workspace in its BEGIN. One that is already open (tests, a service that
    acts across workspaces) is told now, and told back at the end.
    """
    token = WORKSPACE.set(UUID(str(workspace_id)))
    _tell_open_transactions()
    try:
        yield
    finally:
        WORKSPACE.reset(token)
        _tell_open_transactions()


@contextmanager
def enter(workspace_id: UUID) -> Iterator[None]:
    """One transaction inside one workspace: what a door does before it calls a service."""
    with scope(workspace_id), whole():
        yield


def send_with_next(statement: str, parameters: Sequence[Any]) -> None:
    """Send a statement whose answer nobody needs together with the next one, at the latest with COMMIT.

    It costs no round trip of its own, and happens in the order in which it was said. What it is refused for is raised by
    what it travels with.
    """
    connection.validate_no_broken_transaction()
    driver = connection.connection
    # Only in a transaction that is open: another scope may be entered before the next one begins.
    if _is_open(driver):
        driver.send_with_next(statement, parameters)
        return
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


class Moment(NamedTuple):
    """A moment of a transaction. What was locked then stays locked while it lasts."""

    begun: object
    savepoints: tuple[str | None, ...]

    @classmethod
    def now(cls) -> Self:
        """Where the transaction is that is open."""
        return cls(connection.connection.begun, tuple(connection.savepoint_ids))

    def lasts(self) -> bool:
        """Whether that transaction is open, and in the savepoints of then: none was taken back or let go."""
        return _is_open(connection.connection) and self == (
            connection.connection.begun,
            tuple(connection.savepoint_ids[: len(self.savepoints)]),
        )


def _is_open(driver: Any) -> bool:
    return driver is not None and driver.info.transaction_status == TransactionStatus.INTRANS


# --- Whole or not at all ---------------------------------------------------------------------------------------------

_is_whole: ContextVar[bool] = ContextVar("is_whole", default=False)


class CaughtRefusal(RuntimeError):
    """A service was refused, somebody caught that and went on, and the transaction cannot: nothing was stored."""


@contextmanager
def whole() -> Iterator[None]:
    """One transaction that is kept whole or not at all, so that services inside need no savepoints of their own.

    What flies out of the block takes everything back, and what wants to go on after a refusal says so: see `service`.
    """
    token = _is_whole.set(True)
    try:
        with transaction.atomic():
            yield
            demand_whole()
    finally:
        _is_whole.reset(token)


def demand_whole() -> None:
    """Raise `CaughtRefusal` where Django would take the transaction back in silence."""
    if connection.needs_rollback:
        raise CaughtRefusal(
            "A service was refused inside this transaction, and the refusal was caught. Wrap the call that may be "
            "refused in transaction.atomic(), inside the try, so that what it began can be taken back alone."
        )


def service(write: Callable[P, Result]) -> Callable[P, Result]:
    """A write that happens whole or not at all: what every function of a `services.py` that writes is.

    Inside a door or another service it is a part of their transaction, which its refusal takes back; a savepoint for each
    would cost two round trips to protect what nobody keeps. Who catches the refusal and goes on in the same transaction
    calls the service in `transaction.atomic()`. Alone, a service opens a transaction, or a savepoint in the one it finds.
    """

    @wraps(write)
    def done(*args: P.args, **kwargs: P.kwargs) -> Result:
        with transaction.atomic(savepoint=False) if _is_whole.get() else whole():
            return write(*args, **kwargs)

    return done


def _tell_open_transactions() -> None:
    workspace = WORKSPACE.get()
    for opened in connections.all(initialized_only=True):
        driver = opened.connection
        # A failed transaction takes no statement and needs none: its rollback takes the setting back as well.
        if not _is_open(driver):
            continue
        # Past Django, which refuses statements of a block that is marked for rollback.
        driver.execute("SELECT set_config('app.workspace_id', %s, true)", [str(workspace or "")])


def workspace_of(actor: Actor) -> UUID:
    """The workspace the actor is in. Raises `PermissionDenied` for one that is in none."""
    if actor.workspace_id is None:
        raise PermissionDenied(message="This is done inside a workspace, and the actor is in none.")
    return actor.workspace_id


class TenantQuerySet(models.QuerySet[Any]):
    """Rows are read for somebody; another workspace's row is not found, never forbidden."""

    def for_workspace(self, workspace_id: UUID) -> Self:
        """The rows of this workspace."""
        return self.filter(workspace_id=workspace_id)

    def for_actor(self, actor: Actor) -> Self:
        """The rows of the actor's workspace. An actor of no workspace has none."""
        return self.filter(workspace_id=workspace_of(actor))


class TenantModel(models.Model):
    """A row that belongs to a workspace. Its guard migration adds row security with `TenantTable`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    workspace_id = models.UUIDField(editable=False)

    objects = TenantQuerySet.as_manager()

    row_key: ClassVar[tuple[str, ...]] = ("pk",)
    """What a loaded row is found by again, to be read or changed. A table in months adds the column that says in which."""

    class Meta:
        abstract = True

    def fresh(self) -> Self:
        """The same row as the database has it now."""
        row = type(self)._default_manager.get(**rows.key_of(self))
        return cast("Self", row)

    def _do_update(self, base_qs: Any, using: Any, pk_val: Any, values: Any, *rest: Any) -> Any:
        """Django's hook for the UPDATE of `save`, which is private: tests/provenance/test_rows.py pins it."""
        key = rows.key_of(self)
        done = rows.update(type(self), key, values)
        return super()._do_update(base_qs.filter(**key), using, pk_val, values, *rest) if done is None else done


class TenantForeignKey(models.ForeignKey[Any, Any]):
    """A reference to a row of the same workspace.

    Django makes no constraint for it, because a plain one looks past row security (T10). The real one is composite,
    `(workspace_id, x_id)`, and made by `audit.guard.CompositeForeignKey` in the app's guard migration.

    `within`: a column that both tables have and that is the same in both, because the other table has months by it.
    Whoever follows the reference, by a join or from a row, names it then, so that Postgres looks in one month.
    """

    def __init__(self, to: Any, on_delete: Any = models.DO_NOTHING, *, within: str = "", **kwargs: Any) -> None:
        """Like `ForeignKey`, without constraint and without cascades: a service that deletes names what it deletes."""
        kwargs["db_constraint"] = False
        self.within = within
        super().__init__(to, on_delete=on_delete, **kwargs)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        """What a migration writes down."""
        name, path, args, kwargs = super().deconstruct()
        return name, path, args, {**kwargs, **({"within": self.within} if self.within else {})}

    def get_extra_restriction(self, alias: Any, related_alias: Any) -> Any:
        """Django's hook for what a join says besides the key."""
        if not self.within:
            return None
        ours: Any = self.model._meta.get_field(self.within)
        theirs: Any = self.related_model._meta.get_field(self.within)
        # Forwards the other table is joined as `alias`; backwards Django swaps the two. The columns have one name.
        return Exact(Col(alias, theirs), Col(related_alias, ours))

    def get_extra_descriptor_filter(self, instance: models.Model) -> dict[str, Any]:
        """Django's hook for what `row.reference` says besides the key."""
        return {self.within: getattr(instance, self.within)} if self.within else {}
