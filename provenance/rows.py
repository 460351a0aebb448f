"""The two statements that a change of one row consists of, SELECT … FOR UPDATE and UPDATE, each made once for a model.

The ORM makes them anew for every call, and takes longer over it than Postgres over finding and changing the row. What is
said here is what the ORM says; whatever is not plain (an expression for a value) is left to it.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection, models, transaction

Load = Callable[..., Any]


def key_of(row: Any) -> dict[str, Any]:
    """What a loaded row is found by again: the columns that its model calls its `row_key`."""
    return {name: getattr(row, name) for name in row.row_key}


def lock(model: type[models.Model], key: dict[str, Any], beside: str = "NULL") -> tuple[Any, Any] | None:
    """The row with this key (columns by their names in Python), locked until the transaction ends; None without one.

    With it what `beside` says of it, in SQL.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("A row is locked inside a transaction, or not at all.")
    statement, names, loads = _selecting(model, tuple(key), beside)
    with connection.cursor() as cursor:
        cursor.execute(connection.connection.ready(statement), [_plain(value) for value in key.values()])
        found = cursor.fetchone()
    if found is None:
        return None
    *values, answer = found
    for place, load in loads:
        values[place] = load(values[place], None, connection)
    return model.from_db(connection.alias, names, values), answer


def update(model: type[models.Model], key: dict[str, Any], values: Iterable[tuple[Any, Any, Any]]) -> bool | None:
    """Write the fields of the row with this key: whether there was one. None, and nothing written, if it takes the ORM.

    `values` are as Django hands them to the hook `Model._do_update`: the field, a model, and the value.
    """
    found = update_returning(model, key, values)
    return None if found is None else bool(found)


def update_returning(
    model: type[models.Model], key: dict[str, Any], values: Iterable[tuple[Any, Any, Any]], returning: str = "NULL"
) -> list[Any] | None:
    """Like `update`, with one answer for the row that was written: what `returning` says of it, in SQL."""
    made = update_statement(model, key, values, f" RETURNING {returning}")
    if made is None:
        return None
    with connection.cursor() as cursor:
        statement, parameters = made
        cursor.execute(connection.connection.ready(statement), parameters)
        return [answer for (answer,) in cursor.fetchall()]


def update_statement(
    model: type[models.Model], key: dict[str, Any], values: Iterable[tuple[Any, Any, Any]], returning: str = ""
) -> tuple[str, list[Any]] | None:
    """The statement of `update` and its parameters; None if it takes the ORM."""
    prepared = [(field, field.get_db_prep_save(value, connection)) for field, _model, value in values]
    if not prepared or any(hasattr(value, "as_sql") for _field, value in prepared):
        return None
    statement = _updating(model, tuple(field.attname for field, _value in prepared), tuple(key), returning)
    return statement, [_plain(value) for value in (*(value for _field, value in prepared), *key.values())]


@cache
def _selecting(
    model: type[models.Model], key: tuple[str, ...], beside: str
) -> tuple[str, list[str], list[tuple[int, Load]]]:
    """The statement, the fields that its answer has, and what Django wants to make of which of them."""
    fields = model._meta.concrete_fields
    columns = ", ".join(_quoted(field.column) for field in fields)
    table, where = _quoted(model._meta.db_table), " AND ".join(_equations(model, key))
    statement = f"SELECT {columns}, {beside} FROM {table} WHERE {where} FOR UPDATE"  # noqa: S608  our names
    loads = [(place, field.from_db_value) for place, field in enumerate(fields) if hasattr(field, "from_db_value")]
    return statement, [field.attname for field in fields], loads


@cache
def _updating(model: type[models.Model], names: tuple[str, ...], key: tuple[str, ...], returning: str) -> str:
    table, assignments, where = _quoted(model._meta.db_table), _equations(model, names), _equations(model, key)
    return f"UPDATE {table} SET {', '.join(assignments)} WHERE {' AND '.join(where)}{returning}"  # noqa: S608  our names


def _equations(model: type[models.Model], names: tuple[str, ...]) -> list[str]:
    return [f"{_quoted(_field(model, name).column)} = %s" for name in names]


def _field(model: type[models.Model], name: str) -> Any:
    return model._meta.pk if name == "pk" else model._meta.get_field(name)


def _quoted(name: Any) -> str:
    return connection.ops.quote_name(name)


def _plain(value: Any) -> Any:
    """An id as text: Postgres takes it for what the column is, and need not fold a cast of a constant first."""
    return str(value) if isinstance(value, UUID) else value
