"""Governed rows: Postgres counts their revisions, and commits no change of one without a signed event about it.

A model becomes governed by inheriting `Governed` (or `GovernedInstance`, for rows of no workspace) and by `GuardTable` in
its guard migration. The instance remembers what it loaded, so that `record()` can say which columns changed.
"""

import datetime as dt
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Self

import orjson
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models

from audit.envelope import ObjectFacts, Op, timestamp
from provenance import rows
from provenance.actor import Actor
from provenance.canonical import canonical_json
from provenance.db import Moment, TenantModel, send_with_next, workspace_of
from provenance.ids import uuid7

SALT_BYTES = 32
GUARD_COLUMNS = frozenset({"audit_rev", "audit_salt"})


class NotRecorded(RuntimeError):
    """A governed row was changed twice and the first change was never recorded. Call `record()` after each."""


def new_salt() -> bytes:
    """The salt of a row's state commitment. It stays with the row, unlike the salt of erasable detail (T06)."""
    return secrets.token_bytes(SALT_BYTES)


@dataclass(frozen=True, slots=True)
class Former:
    """A row as it was loaded, before a change of it, and what the newest event about it told then.

    `state` is None where columns were not loaded. `told` is the event's signature in hex and its body.
    """

    rev: int
    state: str | None
    told: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """That a row was locked, and what the newest event about it told then."""

    key: Mapping[str, Any]
    rev: int
    told: str | None
    since: Moment

    def holds(self, key: Mapping[str, Any]) -> bool:
        """Whether the row with this key is still locked."""
        return key == self.key and self.since.lasts()


class _Tracked(models.Model):
    """What a governed row remembers: the columns as loaded, and its change that waits for its event."""

    # Set by a trigger and never by us: each change counts one up. Sent along with every save, so that Postgres refuses
    # an instance that was loaded before somebody else's change.
    audit_rev = models.BigIntegerField(default=0, editable=False)
    audit_salt = models.BinaryField(default=new_salt, editable=False)

    audit_type: ClassVar[str] = ""
    told_by: ClassVar[str] = "told_of_row"
    """The function of Postgres that finds the newest event about a row that is changed."""
    row_key: ClassVar[tuple[str, ...]] = ("pk",)

    class Meta:
        abstract = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._loaded: dict[str, Any] = {}
        self._unrecorded: ObjectFacts | None = None
        self._former: Former | None = None
        # What the UPDATE found to be told of the row.
        self._told: list[str | None] = []
        # The revision that this very instance made: nobody can have changed it on its way here.
        self._made_rev: int | None = None
        self._held: Held | None = None

    def save(
        self,
        *,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Write the row; `record()` must follow before the next save and before COMMIT.

        Raises `StaleRevision` when somebody else changed the row since it was loaded.
        """
        self._refuse_second_change()
        op: Op = "insert" if self._state.adding else "update"
        names = None if update_fields is None else {*update_fields, "audit_rev"}
        super().save(force_insert=force_insert, force_update=force_update, using=using, update_fields=names)
        self._note(op, names)

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        """Remove the row; `record()` must follow."""
        self._refuse_second_change()
        facts = self._facts("delete", self.audit_rev + 1, ())
        columns = None if self.get_deferred_fields() else self._plain_columns()
        former = Former(self.audit_rev, self._former_state(columns, self._changed_fields()), self._told_now())
        deleted = super().delete(using=using, keep_parents=keep_parents)
        self._unrecorded, self._former = facts, former
        return deleted

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        """Django's constructor for loaded rows; remembers what was loaded."""
        instance = super().from_db(*args, **kwargs)
        instance._remember()  # noqa: SLF001  our own
        return instance

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """Load the row again and forget what was loaded before."""
        super().refresh_from_db(*args, **kwargs)
        self._made_rev = None
        self._remember()

    @classmethod
    def object_type(cls) -> str:
        """The type of object in events, for example `agent_version`; `audit_type` names another one."""
        return cls.audit_type or _snake_case(cls.__name__)

    @property
    def audit_label(self) -> str:
        """What people call this object; goes into erasable detail only."""
        for name in ("title", "name", "slug", "email"):
            if isinstance(label := getattr(self, name, None), str) and label:
                return label
        return ""

    def note_created(self) -> None:
        """This new row was stored by `bulk_create`, past `save`. For `audit.services.create_rows`."""
        self._refuse_second_change()
        self.audit_rev = 0
        self._note("insert")

    def note_changed(self, values: Mapping[str, Any], told: str | None) -> None:
        """These fields of the row were stored by a bulk update, past `save`. For `audit.services.change_rows`.

        `told`: as `Former` has it.
        """
        self._refuse_second_change()
        for name, value in values.items():
            setattr(self, name, value)
        self._told = [told]
        self._note("update", values)

    def note_locked(self, told: str | None) -> None:
        """This row was locked as it was loaded. For `Governed.locked`; `told`: as `Former` has it."""
        self._held = Held(rows.key_of(self), self.audit_rev, told, Moment.now())

    def take_change(self) -> tuple[ObjectFacts, Former | None]:
        """The change that waits for its event, or a mere reading of the object. For `record()`, which calls it once.

        Beside it what the row was before, unless this instance had made it that.
        """
        change, former = self._unrecorded, self._former
        self._unrecorded = self._former = None
        return change or self._facts("read", self.audit_rev, ()), former

    def note_altered(self) -> None:
        """The row was not as signed before the change: what this instance makes of it is looked at again."""
        self._made_rev = None

    def state(self) -> str | None:
        """The salted commitment to the row as this instance has it; None when columns were not loaded."""
        if self.get_deferred_fields():
            return None
        return _committed(bytes(self.audit_salt), self.audit_rev, self._plain_columns())

    def _plain_columns(self) -> dict[str, Any]:
        return {
            _column(field): _plain(field.to_python(self.__dict__[field.attname]))
            for field in self._meta.concrete_fields
            if field.attname not in GUARD_COLUMNS
        }

    def _do_update(self, base_qs: Any, using: Any, pk_val: Any, values: Any, *rest: Any) -> Any:
        """Django's hook for the UPDATE of `save`, which brings along the newest event about the row, in one statement.

        The event of this change will sign the row as this instance has it, and would make genuine what somebody wrote into
        it past the platform. So `record()` holds what was loaded against the log, however it was loaded (T06).
        """
        key, held = rows.key_of(self), self._held
        is_own = self._made_rev == self.audit_rev
        if held is not None and held.holds(key) and (is_own or held.rev == self.audit_rev):
            # It is there, and what was told of it is known: nobody need wait for the answer.
            statement = rows.update_statement(type(self), key, values)
            if statement is not None:
                send_with_next(*statement)
                self._told = [] if is_own else [held.told]
                return True
        if is_own:
            return super()._do_update(base_qs, using, pk_val, values, *rest)
        look = f"audit.{self.told_by}('{self.object_type()}', id::text, audit_rev - 1)"
        told = rows.update_returning(type(self), key, values, look)
        if told is not None:
            self._told = told
            return bool(told)
        done = super()._do_update(base_qs, using, pk_val, values, *rest)
        self._told = [self._told_now()] if done else []
        return done

    def _told_now(self) -> str | None:
        """What the newest event tells of the row, in a statement of its own."""
        with connection.cursor() as cursor:
            look = f"SELECT audit.{self.told_by}(%s, %s, %s)"
            cursor.execute(look, [self.object_type(), str(self.pk), self.audit_rev])
            (told,) = cursor.fetchone()
        return told  # type: ignore[no-any-return]  # a cursor's rows are untyped

    def _note(self, op: Op, names: Collection[str] | None = None) -> None:
        """The row was written: keep the change for its event, and the row before it."""
        fields = self._changed_fields() if op == "update" else []
        # Most columns are the same before and after, and are made plain once.
        columns = None if self.get_deferred_fields() else self._plain_columns()
        for told in self._told:
            self._former = Former(self.audit_rev, self._former_state(columns, fields), told)
        self._told = []
        self.audit_rev += 1
        self._made_rev = self.audit_rev
        changed = [_column(field) for field in fields if _is_among(field, names)]
        state = None if columns is None else _committed(bytes(self.audit_salt), self.audit_rev, columns)
        self._unrecorded = self._facts(op, self.audit_rev, changed, state)
        self._remember(names)

    def _former_state(
        self, columns: Mapping[str, Any] | None, changed: "Iterable[models.Field[Any, Any]]"
    ) -> str | None:
        if columns is None or any(field.attname not in self._loaded for field in changed):
            return None
        before = {_column(field): _plain(_thawed(field, self._loaded[field.attname])) for field in changed}
        return _committed(bytes(self.audit_salt), self.audit_rev, {**columns, **before})

    def _facts(self, op: Op, rev: int, changed: Iterable[str], state: str | None = None) -> ObjectFacts:
        return ObjectFacts(
            type=self.object_type(),
            id=str(self.pk),
            rev=rev,
            op=op,
            changed=tuple(changed),
            state=state,
            label=self.audit_label,
        )

    def _changed_fields(self) -> "list[models.Field[Any, Any]]":
        return [
            field
            for field in self._meta.concrete_fields
            if field.attname not in GUARD_COLUMNS
            and field.attname in self.__dict__
            and (
                field.attname not in self._loaded
                or _frozen(self.__dict__[field.attname]) != self._loaded[field.attname]
            )
        ]

    def _remember(self, names: Collection[str] | None = None) -> None:
        """Keep what the database now has: all that is loaded, or only the fields that were just written."""
        for field in self._meta.concrete_fields:
            if _is_among(field, names) and field.attname in self.__dict__:
                self._loaded[field.attname] = _frozen(self.__dict__[field.attname])

    def _refuse_second_change(self) -> None:
        if self._unrecorded is not None:
            raise NotRecorded(
                f"{self._meta.db_table} {self._unrecorded.id} has an unrecorded {self._unrecorded.op} "
                f"(revision {self._unrecorded.rev}). Call record(target=…) after each save and before the next one."
            )


class Governed(_Tracked, TenantModel):
    """A governed row of a workspace."""

    class Meta:
        abstract = True

    @classmethod
    def locked(cls, actor: Actor, **key: Any) -> Self | None:
        """The row of the actor's workspace with this key (`pk=…`, `name=…`), locked until the transaction ends.

        None when there is none. This is how the change of a row begins. With it comes what the newest event told of the
        row, which nobody changes either.
        """
        look = f"audit.{cls.told_by}('{cls.object_type()}', id::text, audit_rev)"
        found: tuple[Self, str | None] | None = rows.lock(cls, {"workspace_id": workspace_of(actor), **key}, look)
        if found is None:
            return None
        row, told = found
        row.note_locked(told)
        return row


class GovernedInstance(_Tracked):
    """A governed row of no workspace (users, their authenticators): its events go to the instance log."""

    told_by = "told_of_account"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    class Meta:
        abstract = True


def state_commitment(salt: bytes, rev: int, values: Mapping[str, Any]) -> str:
    """HMAC-SHA256 over every column of a governed row that has a value, and its revision, in hex.

    `values` maps column names to Python values as Django or psycopg loads them. The same row gives the same commitment
    whoever computes it: the service that wrote it, the gateway from its SQL, or a reconciliation years later. Rows
    that grant power are compared with it whenever they are loaded (`audit.attestation`). What is NULL is left out, so
    that a column which a later version adds, NULL in all rows there were, changes no commitment (docs/decisions/0018).
    """
    return _committed(salt, rev, {name: _plain(value) for name, value in values.items()})


def _committed(salt: bytes, rev: int, plain: Mapping[str, Any]) -> str:
    row = {"audit_rev": rev, "columns": {name: value for name, value in plain.items() if value is not None}}
    return hmac.digest(salt, _canonical(row), hashlib.sha256).hex()


def _canonical(row: dict[str, Any]) -> bytes:
    """`canonical_json` of a row of texts, alone or in lists, and booleans: without walking through what cannot differ.

    A reconciliation computes millions. Whatever might lie outside of the profile takes the long way, which says so.
    """
    try:
        text = orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return canonical_json(row)
    return canonical_json(row) if b"\\u0000" in text or not "".join(row["columns"]).isascii() else text


def _plain(value: Any) -> Any:  # noqa: PLR0911  a table of cases
    """A value in canonical form. JSON becomes text, because its keys and numbers may lie outside the profile."""
    match value:
        case None | bool():
            return value
        case str() | int() | uuid.UUID():
            return str(value)
        case Decimal():
            return format(value.normalize(), "f")
        case dt.datetime():
            return timestamp(value)
        case dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return str(value // dt.timedelta(microseconds=1))
        case bytes() | bytearray() | memoryview():
            return bytes(value).hex()
        case dict() | list() | tuple() | float():
            # In a list, which no text is: who owns the database could put this very text there, as a JSON string.
            return [orjson.dumps(_numbers(value), option=orjson.OPT_SORT_KEYS, default=_plain).decode()]
        case _:
            raise TypeError(f"{type(value).__name__} cannot be part of a state commitment")


def _numbers(value: Any) -> Any:
    """JSON with its numbers as text, since jsonb writes 1e2 as 100 and libraries differ in what they read."""
    match value:
        case bool():
            return value
        case int() | float():
            return f"n{_digits(value)}"
        case str():
            return f"s{value}"
        case dict():
            return {str(name): _numbers(item) for name, item in value.items()}
        case list() | tuple():
            return [_numbers(item) for item in value]
        case _:
            return value


def _digits(value: float) -> str:
    """A number in full, as Postgres writes it: what was a float is loaded as an integer where it is a large one."""
    if isinstance(value, int):
        return str(value)
    return str(int(value)) if abs(value) < 2**53 and value == int(value) else f"{Decimal(repr(value)):f}"


def _frozen(value: Any) -> Any:
    """A value that later changes in place cannot reach."""
    if isinstance(value, dict | list):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    return bytes(value) if isinstance(value, memoryview) else value


def _thawed(field: "models.Field[Any, Any]", frozen: Any) -> Any:
    """The value that was frozen, as the field loads it."""
    if not isinstance(frozen, bytes) or isinstance(field, models.BinaryField):
        return frozen
    value = orjson.loads(frozen)
    return [field.base_field.to_python(item) for item in value] if isinstance(field, ArrayField) else value


def _is_among(field: "models.Field[Any, Any]", names: Collection[str] | None) -> bool:
    return names is None or field.name in names or field.attname in names


def _column(item: "models.Field[Any, Any]") -> str:
    return str(item.column)


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
