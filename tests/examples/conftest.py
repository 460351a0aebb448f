import sqlite3
from contextlib import closing

import pytest

from tests.examples.processes import example_servers, scripted_model


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with example_servers(tmp_path_factory.mktemp("examples")) as running:
        yield running


@pytest.fixture(scope="module")
def erp(servers):
    return servers["erp"]


@pytest.fixture(scope="module")
def crm(servers):
    return servers["crm"]


@pytest.fixture(scope="module")
def docs(servers):
    return servers["docs"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with scripted_model(tmp_path_factory.mktemp("model")) as running:
        yield running


@pytest.fixture
def edit():
    """Change one column of one row, as a person with a SQLite shell would; the old value comes back after the test."""
    undo = []

    def run(endpoint, table, column, key, value):
        key_column = f"{table}_id"
        with closing(sqlite3.connect(endpoint.database)) as connection, connection:
            (before,) = connection.execute(f"SELECT {column} FROM {table} WHERE {key_column} = ?", (key,)).fetchone()
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key_column} = ?", (value, key))
        undo.append((endpoint, table, column, key, before))
        return before

    yield run
    for endpoint, table, column, key, before in reversed(undo):
        with closing(sqlite3.connect(endpoint.database)) as connection, connection:
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {table}_id = ?", (before, key))
