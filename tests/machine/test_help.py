"""What a newcomer is told who asks `./manage.py` for help or mistypes; also where nothing is installed yet."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from provenance import help as answers
from provenance.cli import COMMANDS, READER_GONE
from provenance.home import CHECKOUT


def ask(home, *arguments, stdout=subprocess.PIPE, **variables):
    return subprocess.run(
        [sys.executable, str(CHECKOUT / "manage.py"), *arguments],
        env={"PATH": "/usr/bin:/bin", "PROVENANCE_HOME": str(home.root), **variables},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [(), ("help",), ("--help",), ("-h",)])
def test_our_commands_are_listed_and_not_djangos(home, arguments):
    told = ask(home, *arguments)
    assert told.returncode == 0
    assert all(f"  {name} " in told.stdout for name in answers.SUMMARIES)
    assert "collectstatic" not in told.stdout


def test_djangos_list_is_behind_all(home):
    told = ask(home, "help", "--all")
    assert told.returncode == 0
    assert "collectstatic" in told.stdout


def test_help_for_one_command_is_that_commands_own(home):
    home.ensure_keys()
    assert "--detach" in ask(home, "help", "up").stdout
    assert "--fake" in ask(home, "help", "migrate").stdout


@pytest.mark.parametrize(
    "name", sorted({path.stem for path in CHECKOUT.glob("*/management/commands/[a-z]*.py")} - {"migrate"})
)
def test_help_for_a_command_of_ours_tells_of_it_and_not_of_django(home, name):
    home.ensure_keys()
    told = ask(home, name, "--help")
    assert told.returncode == 0
    generic = {"--settings", "--pythonpath", "--traceback", "--no-color", "--verbosity", "--skip-checks"}
    assert not {word for word in generic if word in told.stdout}


@pytest.mark.parametrize("arguments", [(), ("help", "--all"), ("status",)])
def test_who_stops_reading_is_not_told_of_a_fault(home, arguments):
    """As `./manage.py status | head -1` does."""
    home.ensure_keys()
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as gone:
        told = ask(home, *arguments, stdout=gone)
    assert (told.returncode, told.stderr) == (READER_GONE, "")


def test_a_mistyped_command_gets_the_nearest_one_and_our_list(home):
    for variables in ({}, {"PROVENANCE_ENV": "production"}):
        told = ask(home, "statsu", **variables)
        assert told.returncode == 2
        assert told.stderr.startswith("manage.py: there is no command 'statsu'. Did you mean status?\n")
        assert "  audit_keys " in told.stderr


def test_help_for_a_command_that_does_not_exist_is_no_success(home):
    told = ask(home, "help", "statsu")
    assert (told.returncode, "Did you mean status?" in told.stderr) == (2, True)


def test_a_command_of_an_installed_package_still_runs(home):
    home.ensure_keys()
    told = ask(home, "collectstatic", "--help")
    assert (told.returncode, "--noinput" in told.stdout) == (0, True)


def test_the_list_names_every_command_of_ours_and_the_readme_names_the_list():
    in_apps = {path.stem for path in CHECKOUT.glob("*/management/commands/*.py")} - {"__init__", "seed_demo", "migrate"}
    assert {name.replace("-", "_") for name in answers.SUMMARIES} == set(COMMANDS) | in_apps
    readme = (CHECKOUT / "README.md").read_text()
    assert [name for name in answers.SUMMARIES if f"`{name}" not in readme and f"manage.py {name}" not in readme] == []


@pytest.mark.parametrize(
    ("arguments", "code"), [((), 0), (("help",), 0), (("--help",), 0), (("statsu",), 2), (("../up",), 2)]
)
def test_nothing_is_installed_to_answer(tmp_path, arguments, code):
    bare = tmp_path / "clone"
    (bare / "provenance").mkdir(parents=True)
    for source in (CHECKOUT / "provenance").glob("*.py"):
        shutil.copy(source, bare / "provenance")
    shutil.copy(CHECKOUT / "manage.py", bare)
    shutil.copytree(CHECKOUT / "requirements", bare / "requirements")
    base_python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    told = subprocess.run(
        [base_python, bare / "manage.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert told.returncode == code, told.stderr
    assert "  audit_keys " in told.stdout + told.stderr
    assert not (bare / ".venv").exists()
