"""A database of another version is told as such, and not by processes that end again and again behind its walls."""

import pytest
from django.core.management import CommandError, call_command
from django.core.management.commands import migrate
from django.db import ProgrammingError

from provenance import catalog
from provenance.roles import OWNER
from tests import databases

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _as_owner(transactional_db):
    """As who may change the shape of the database."""
    before = databases.become(OWNER)
    yield
    databases.become(before)


def test_a_database_of_this_version_is_migrated_without_a_word(capsys):
    call_command("migrate", verbosity=0)
    assert capsys.readouterr() == ("", "")


def test_walls_of_another_version_are_said_with_what_to_do(monkeypatch):
    lines = (*catalog._file(), "column whole_new of public.gateway_tool: text")
    monkeypatch.setattr(catalog, "_file", lambda: lines)
    with pytest.raises(CommandError, match="made by another version of Provenance") as refused:
        call_command("migrate", verbosity=0)
    assert "1 of its walls differs. The database lacks: column whole_new of public.gateway_tool" in str(refused.value)
    assert "PROVENANCE_HOME=/another/place ./manage.py up" in str(refused.value)


def test_a_part_of_the_migrations_says_nothing_of_the_whole(monkeypatch):
    monkeypatch.setattr(catalog, "_file", tuple)
    call_command("migrate", "gateway", verbosity=0)


def test_a_migration_that_finds_another_database_says_that_it_is_one(monkeypatch):
    def fails(*_args, **_options):
        raise ProgrammingError('column "reconciled_at" does not exist\nLINE 1: …')

    monkeypatch.setattr(migrate.Command, "handle", fails)
    with pytest.raises(
        CommandError, match=r'made by another version .*: column "reconciled_at" does not exist\. Go back'
    ):
        call_command("migrate", verbosity=0)


def test_who_may_not_migrate_is_told_that(as_role):
    with as_role("web"), pytest.raises(ProgrammingError, match="permission denied"):
        call_command("migrate", verbosity=0)
