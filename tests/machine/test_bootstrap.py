"""From a bare Python to a working environment. Real environments are made, from locks that need no network."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from provenance import bootstrap
from provenance.bootstrap import BASE, DEVELOPMENT, BootstrapError, Environment, choose_installer, explain_failure
from provenance.home import CHECKOUT

NO_UV = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "0"}
UNREACHABLE = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": ""}


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "requirements").mkdir()
    (tmp_path / "manage.py").touch()
    for lock in (BASE, DEVELOPMENT):
        lock.path(tmp_path).write_text("# nothing\n")
    return tmp_path


def pinned(name):
    """Package -> version and the number of its hashes, as a lock says it."""
    entries = re.split(r"\n(?=\S)", (CHECKOUT / "requirements" / f"{name}.txt").read_text())
    found = {}
    for entry in entries:
        if match := re.match(r"([a-z0-9._-]+)==([^\s;\\]+)", entry):
            found[match[1]] = (match[2], entry.count("--hash=sha256:"))
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One real environment, made by venv and pip."""
    checkout = tmp_path_factory.mktemp("checkout")
    (checkout / "requirements").mkdir()
    (checkout / "manage.py").touch()
    for lock in (BASE, DEVELOPMENT):
        lock.path(checkout).write_text(f"# nothing for {lock.name}\n")
    environment = Environment(checkout, NO_UV)
    environment.install(DEVELOPMENT)
    return environment


def test_what_was_installed_is_written_down_and_only_compared_later(made):
    assert json.loads(made.stamp.read_text()) == {
        "python": f"python3.{sys.version_info.minor}",
        "base": BASE.digest(made.checkout),
        "dev": DEVELOPMENT.digest(made.checkout),
    }
    written_at = made.stamp.stat().st_mtime_ns
    made.install(BASE)
    assert made.stamp.stat().st_mtime_ns == written_at


def test_an_unreachable_index_is_an_error_for_a_person_and_nothing_counts_as_installed(made):
    kept = BASE.path(made.checkout).read_text()
    BASE.path(made.checkout).write_text("django==5.2.19 --hash=sha256:" + "0" * 64 + "\n")
    try:
        with pytest.raises(BootstrapError, match=r"installing 1 packages failed: the package index cannot be reached"):
            Environment(made.checkout, {**NO_UV, **UNREACHABLE}).install(BASE)
        assert not made.has(BASE)
    finally:
        BASE.path(made.checkout).write_text(kept)


def test_an_environment_that_lost_its_python_is_made_anew(made):
    made.install(DEVELOPMENT)
    made.python.unlink()
    made.python.write_text("half")
    made.stamp.unlink()
    made.install(DEVELOPMENT)
    assert made.has(BASE)
    assert made.has(DEVELOPMENT)
    assert subprocess.run([made.python, "-c", "import pip"], check=False).returncode == 0


def test_a_changed_lock_is_noticed(made):
    kept = DEVELOPMENT.path(made.checkout).read_text()
    DEVELOPMENT.path(made.checkout).write_text("# something else\n")
    assert not made.has(DEVELOPMENT)
    assert made.has(BASE)
    DEVELOPMENT.path(made.checkout).write_text(kept)
    assert made.has(DEVELOPMENT)


@pytest.mark.parametrize("left_behind", [[], ["pyvenv.cfg"], ["pyvenv.cfg", "bin/python"]])
def test_half_an_environment_does_not_pass_for_a_whole_one(checkout, left_behind):
    """What Ctrl-C leaves in the middle of the first start: some files, no stamp."""
    environment = Environment(checkout, NO_UV)
    for name in left_behind:
        path = environment.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
        path.chmod(0o755)
    assert not environment.has(BASE)
    assert not environment._works()


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("error: Failed to fetch: dns error: failed to lookup address", "index cannot be reached"),
        ("error: Failed to fetch: invalid peer certificate: UnknownIssuer", "certificate is not trusted"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "not the one that was locked"),
        ("PermissionError: [Errno 13] Permission denied: '.venv'", "may not write"),
    ],
)
def test_a_failure_names_its_likely_cause_first_and_what_was_said_after(said, cause):
    explained = explain_failure("installing", f"much\ntalk\n{said}\n")
    assert cause in explained.splitlines()[0]
    assert said in explained


def test_uv_comes_first_and_never_fetches_an_interpreter(tmp_path):
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\n")
    uv.chmod(0o755)
    installer = choose_installer({"PATH": str(tmp_path), "HOME": str(tmp_path)})
    assert installer.name == "uv"
    assert "--no-cache" not in installer.install_command
    assert Environment(tmp_path, {}).variables["UV_PYTHON_DOWNLOADS"] == "never"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_uv_works_without_a_home(tmp_path):
    shutil.copy("/bin/true", tmp_path / "uv")
    assert "--no-cache" in choose_installer({"PATH": str(tmp_path), "HOME": "/nonexistent"}).install_command


@pytest.mark.parametrize(
    ("missing", "name"),
    [((), "venv and pip"), (("ensurepip",), "venv and the system's pip")],
)
def test_without_uv_the_best_of_what_python_has(monkeypatch, missing, name):
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda module: module not in missing or None)
    assert choose_installer({"PATH": "/nonexistent"}).name == name


@pytest.mark.parametrize("missing", [("venv", "ensurepip"), ("ensurepip", "pip")])
def test_with_nothing_there_is_one_line_that_says_what_to_install(monkeypatch, missing):
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda module: module not in missing or None)
    with pytest.raises(BootstrapError, match=rf"apt install python3.{sys.version_info.minor}-venv"):
        choose_installer({"PATH": "/nonexistent"})


def test_every_way_installs_by_hash_and_only_wheels(tmp_path):
    command = choose_installer({"PATH": "/nonexistent"}).install(tmp_path / "python", tmp_path / "lock.txt")
    assert "--require-hashes" in command
    assert command[command.index("--only-binary") + 1] == ":all:"


def test_the_locks_name_no_address_and_hash_everything():
    for name in ("base", "dev"):
        assert "://" not in (CHECKOUT / "requirements" / f"{name}.txt").read_text()
        assert min(hashes for _, hashes in pinned(name).values()) > 0


def test_the_locks_hold_every_dependency_of_the_project_in_the_same_versions():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    base, development = pinned("base"), pinned("dev")

    def names(lines):
        return {re.match(r"[A-Za-z0-9._-]+", line)[0].lower().replace("_", "-") for line in lines}

    assert names(project["project"]["dependencies"]) <= set(base)
    assert names(project["dependency-groups"]["dev"]) <= set(development)
    assert {name: development.get(name) for name in base} == base


def test_there_are_at_most_110_packages():
    """E4: the product stays small enough to read its list."""
    assert len(pinned("base")) <= 110


def test_everything_before_the_environment_needs_only_the_standard_library():
    script = "import provenance.cli, provenance.bootstrap; print('ok')"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); {script}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "ok\n", done.stderr


def test_a_python_that_is_too_old_is_told_so_by_every_line_of_the_entry():
    """`manage.py` itself must parse on old interpreters, or they print a syntax error instead."""
    source = (CHECKOUT / "manage.py").read_text()
    compile(source, "manage.py", "exec", dont_inherit=True)
    assert ":=" not in source
    assert not re.search(r"\bf[\"']", source)
    assert "match " not in source


def test_down_and_doctor_answer_where_nothing_is_installed(tmp_path):
    bare = tmp_path / "clone"
    (bare / "provenance").mkdir(parents=True)
    for source in (CHECKOUT / "provenance").glob("*.py"):
        shutil.copy(source, bare / "provenance")
    shutil.copy(CHECKOUT / "manage.py", bare)
    shutil.copytree(CHECKOUT / "requirements", bare / "requirements")
    base_python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"

    def run(command):
        return subprocess.run(
            [base_python, bare / "manage.py", command],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/bin:/bin"},
        )

    assert run("down").stdout == "Nothing was running.\n"
    assert "not installed yet" in run("doctor").stdout
    assert not (bare / ".venv").exists()
    assert not (bare / ".provenance").exists()


ENTRY_POINTS = (
    "provenance.asgi",
    "provenance.wsgi",
    "workflows.tasks",
    "kombu.transport.redis",
    "uvicorn.loops.uvloop",
    "granian.server",
    "examples.servers",
    "examples.scripted_model.server",
    "django.core.management.commands.migrate",
    "provenance.management.commands.seed_demo",
    "provenance.management.commands.demo",
)


IMPORT_WITHOUT = """
import importlib, importlib.abc, importlib.metadata, re, sys
kept, names = set(sys.argv[1].split()), sys.argv[2].split()

class Absent(importlib.abc.MetaPathFinder):
    absent = {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not kept & {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners}
    }

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import django
django.setup()
for name in names:
    importlib.import_module(name)
"""


def test_what_runs_imports_nothing_that_only_tests_and_lint_install():
    """A package that happens to be there for development would be missing on a person's machine."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_WITHOUT, " ".join(pinned("base")), " ".join(ENTRY_POINTS)],
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "provenance.settings"},
    )
    assert done.returncode == 0, done.stderr
