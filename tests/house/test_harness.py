"""The tests' own promises: a change without its event fails the test that made it, and no file of tests needs another."""

import re

import pytest
from django.db import connection

from provenance.postgres.refusals import UnauditedChange
from tests.databases import CHECKOUT
from workspaces.models import Environment, Workspace


@pytest.mark.xfail(raises=UnauditedChange, strict=True, reason="the harness must fail it")
def test_an_unaudited_write_fails_its_test(workspace):
    Workspace.objects.filter(pk=workspace.pk).update(name="quiet")


def test_tests_run_as_the_web_role(db):
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_user, current_user, rolsuper FROM pg_roles WHERE rolname = session_user")
        assert cursor.fetchone() == ("prov_web", "prov_web", False)


def test_another_role_sees_the_same_transaction(workspace, as_role):
    with as_role("worker"):
        assert Environment.objects.count() == 3
        with connection.cursor() as cursor:
            cursor.execute("SELECT session_user")
            assert cursor.fetchone() == ("prov_worker",)


def test_the_network_is_out_of_reach():
    import socket

    with pytest.raises(AssertionError, match="only loopback"), socket.socket() as outside:
        outside.connect(("192.0.2.1", 80))


def test_no_file_of_tests_imports_another():
    """What several need lies in a module that is no test, so that each file can be moved, split and run by itself."""
    imports = re.compile(
        r"^\s*(?:from tests\.(?:\w+\.)*test_\w+ import|from tests[\w.]* import test_|import tests\.(?:\w+\.)*test_)",
        re.MULTILINE,
    )
    found = [path.name for path in (CHECKOUT / "tests").rglob("*.py") if imports.search(path.read_text("utf-8"))]
    assert found == []
