"""`new_recovery_key`, `backup_keys`, `restore_keys` as a person calls them (T28)."""

import shutil
import subprocess
import sys

import pytest

from provenance.home import CHECKOUT, KEYS, Home, replace_text


def ask(*arguments, home, **variables):
    """Call it; whatever it says, it says no key."""
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "manage.py"), *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", "PROVENANCE_HOME": str(home.root), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    held = [path.read_text().strip() for path in home.keys.glob("*")]
    assert not [key for key in held if key in done.stdout + done.stderr]
    return done


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """An installation and a copy of its keys."""
    place = tmp_path_factory.mktemp("original")
    home = Home((place / "home").resolve()).ensure()
    home.ensure_keys()
    assert ask("new_recovery_key", place / "recovery", home=home).returncode == 0
    done = ask("backup_keys", place / "copy", "--to", place / "recovery.pub", home=home)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def copied(original, tmp_path, home_at):
    """The same, to do with what a test wants."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return home_at((tmp_path / "home").resolve())


def held(home):
    return {name: home.read_key(name) for name in KEYS}


def test_every_key_comes_back_on_another_machine(copied, tmp_path, home_at):
    other = home_at(tmp_path / "other")
    done = ask("restore_keys", tmp_path / "copy", "--key", tmp_path / "recovery", home=other)
    assert done.returncode == 0, done.stderr
    assert held(other) == held(copied)
    assert other.log_origin() == copied.log_origin()
    assert {path.stat().st_mode & 0o777 for path in other.keys.iterdir()} == {0o600}
    assert "not in the log" in done.stdout


def test_the_files_are_for_one_person_and_hold_no_key_in_the_open(copied, tmp_path):
    for name in ("recovery", "recovery.pub", "copy"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    text = (tmp_path / "copy").read_text()
    assert not [name for name, key in held(copied).items() if key in text]


def test_neither_is_written_over_another_file_or_into_the_data_directory(copied, tmp_path):
    again = ask("backup_keys", tmp_path / "copy", "--to", tmp_path / "recovery.pub", home=copied)
    assert (again.returncode, "exists; name a new file" in again.stderr) == (1, True)
    for command in (("new_recovery_key",), ("backup_keys", "--to", tmp_path / "recovery.pub")):
        inside = ask(command[0], copied.root / "here", *command[1:], home=copied)
        assert (inside.returncode, "is in the data directory" in inside.stderr) == (1, True)


def test_a_file_that_is_not_there_is_named_with_what_makes_it(copied, tmp_path):
    nowhere = tmp_path / "missing" / "file"
    for arguments, said in (
        (
            ("backup_keys", tmp_path / "new", "--to", nowhere),
            f"public part of the recovery key, {nowhere}, cannot be read",
        ),
        (("backup_keys", nowhere, "--to", tmp_path / "recovery.pub"), f"No file can be made in {nowhere.parent}"),
        (("new_recovery_key", nowhere), f"No file can be made in {nowhere.parent}"),
        (("restore_keys", nowhere, "--key", tmp_path / "recovery"), f"The copy, {nowhere}, cannot be read"),
        (("restore_keys", tmp_path / "copy", "--key", nowhere), str(nowhere)),
    ):
        done = ask(*arguments, home=copied)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Errno" not in done.stderr
    assert not (tmp_path / "new").exists()


def test_keys_that_differ_stay_unless_one_says_so_and_then_they_are_put_aside(copied, tmp_path):
    old = held(copied)
    other = "b" + old["mac-web"][1:] if old["mac-web"][0] != "b" else "c" + old["mac-web"][1:]
    replace_text(copied.key_path("mac-web"), other)
    copied.key_path("vault-kek").unlink()
    arguments = ("restore_keys", tmp_path / "copy", "--key", tmp_path / "recovery")
    refused = ask(*arguments, home=copied)
    assert refused.returncode == 1
    assert "differ from the copy: mac-web." in refused.stderr
    assert not copied.key_path("vault-kek").exists()
    done = ask(*arguments, "--replace", home=copied)
    assert done.returncode == 0, done.stderr
    assert held(copied) == old
    (aside,) = copied.root.glob("keys-replaced-*")
    assert [(path.name, path.read_text()) for path in aside.iterdir()] == [("mac-web", other)]
    assert aside.stat().st_mode & 0o777 == 0o700


def test_a_second_time_changes_nothing(copied, tmp_path):
    before = held(copied)
    done = ask("restore_keys", tmp_path / "copy", "--key", tmp_path / "recovery", home=copied)
    assert (done.returncode, held(copied)) == (0, before)
    assert f"0 keys were put back, 0 replaced, {len(KEYS)} were there already" in done.stdout


def test_a_recovery_key_that_others_can_read_is_not_used(copied, tmp_path):
    (tmp_path / "recovery").chmod(0o644)
    done = ask("restore_keys", tmp_path / "copy", "--key", tmp_path / "recovery", home=copied)
    assert (done.returncode, "mode 0644" in done.stderr) == (1, True)


def test_an_installation_without_keys_has_nothing_to_copy(tmp_path, home_at):
    bare = home_at(tmp_path / "bare")
    done = ask("backup_keys", tmp_path / "copy", "--to", tmp_path / "none.pub", home=bare)
    assert (done.returncode, "There are no keys" in done.stderr) == (1, True)
    assert not (tmp_path / "copy").exists()


@pytest.mark.django_db(transaction=True)
def test_where_a_database_answers_it_is_in_the_log(tmp_path):
    """Under setup's key, as the migrator: no process that runs can say it."""
    from tests import databases
    from tests.audit.sealing import rows

    home = Home.locate()
    at = {"DATABASE_URL": databases.role_url("migrate")}
    assert ask("new_recovery_key", tmp_path / "recovery", home=home).returncode == 0
    saved = ask("backup_keys", tmp_path / "copy", "--to", tmp_path / "recovery.pub", home=home, **at)
    assert "It is in the log (audit.keys_backed_up)." in saved.stdout, saved.stderr
    back = ask("restore_keys", tmp_path / "copy", "--key", tmp_path / "recovery", home=home, **at)
    assert "It is in the log (audit.keys_restored)." in back.stdout, back.stderr
    told = rows(
        "SELECT action, kid, risk, convert_from(audit.detail.body, 'UTF8') FROM audit.event"
        " JOIN audit.detail ON event_id = id WHERE action LIKE 'audit.keys%%' ORDER BY id"
    )
    assert [row[:3] for row in told] == [
        ("audit.keys_backed_up", "setup-1", "critical"),
        ("audit.keys_restored", "setup-1", "critical"),
    ]
    assert '"mac-web"' in told[0][3]
    assert not [name for name in KEYS if home.read_key(name) in told[0][3]]


@pytest.mark.django_db(transaction=True)
def test_where_the_database_does_not_take_it_no_copy_is_made(tmp_path):
    from tests import databases

    home = Home.locate()
    ask("new_recovery_key", tmp_path / "recovery", home=home)
    copy = ("backup_keys", tmp_path / "copy", "--to", tmp_path / "recovery.pub")
    refused = ask(*copy, home=home, DATABASE_URL=databases.role_url("worker"))
    assert refused.returncode == 1
    assert "The database did not take the event" in refused.stderr or "is not a member" in refused.stderr, (
        refused.stderr
    )
    assert not (tmp_path / "copy").exists()
