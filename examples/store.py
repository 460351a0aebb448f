"""A SQLite file that is seeded once, read through a connection that cannot write, and written in one transaction."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

BUSY_SECONDS = 10


@dataclass(frozen=True)
class Store:
    """One database file. A connection per use: the file may be edited by hand between two calls."""

    path: Path

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A read-only connection: SQLite itself refuses a write, whatever the tool's code says."""
        with closing(connect(f"{self.path.absolute().as_uri()}?mode=ro")) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that holds the write lock from its start, so check and change cannot be raced."""
        with closing(connect(f"{self.path.absolute().as_uri()}?mode=rw")) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def open_store(path: Path, *, schema: str, seed: Callable[[sqlite3.Connection], None]) -> Store:
    """The store at `path`; a missing file is created and seeded, an existing one is left as it is."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(path, schema, seed)
    return Store(path)


def _create(path: Path, schema: str, seed: Callable[[sqlite3.Connection], None]) -> None:
    # Seeded beside and renamed into place: a start that was interrupted never leaves half a database behind.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    with closing(connect(unfinished.absolute().as_uri())) as connection:
        connection.executescript(schema)
        connection.execute("BEGIN")
        seed(connection)
        connection.execute("COMMIT")
    unfinished.replace(path)


def connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    return connection
