"""Root starts Postgres without its rights: by a user namespace, else by another user id."""

import os
import stat

import psycopg
import pytest

from provenance import embedded
from provenance.binaries import EmbeddedError
from provenance.embedded import EmbeddedPostgres

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")


@pytest.fixture
def no_namespaces(tmp_path, monkeypatch):
    """A machine that forbids user namespaces, as many containers do."""
    (tmp_path / "bin").mkdir()
    refusing = tmp_path / "bin" / "unshare"
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{refusing.parent}:{os.environ['PATH']}")
    embedded.unprivileged_prefix.cache_clear()
    yield refusing.parent
    embedded.unprivileged_prefix.cache_clear()


def answers(server):
    server.start()
    try:
        with psycopg.connect(server.admin_url()) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()


def test_without_namespaces_it_runs_as_another_user_and_a_closed_parent_stays_closed(no_namespaces, home):
    home.root.parent.chmod(0o700)
    assert embedded.unprivileged_prefix()[0].endswith("setpriv")
    assert answers(EmbeddedPostgres(home, durable=False))
    assert stat.S_IMODE(home.root.parent.stat().st_mode) == 0o700
    assert home.root.stat().st_uid == 0


def test_a_cluster_made_one_way_runs_the_other_way_and_back(no_namespaces, home, monkeypatch):
    server = EmbeddedPostgres(home, durable=False)
    assert answers(server)
    assert home.postgres.stat().st_uid != 0
    (no_namespaces / "unshare").unlink()
    embedded.unprivileged_prefix.cache_clear()
    if not embedded.unprivileged_prefix()[0].endswith("unshare"):
        pytest.skip("this machine itself forbids user namespaces")
    assert answers(server)
    assert home.postgres.stat().st_uid == 0


def test_where_neither_is_allowed_one_line_says_what_to_do(no_namespaces, home):
    (no_namespaces / "setpriv").write_text("#!/bin/sh\nexit 1\n")
    (no_namespaces / "setpriv").chmod(0o755)
    with pytest.raises(EmbeddedError, match="start as an ordinary user, or set PROVENANCE_ADMIN_DATABASE_URL"):
        EmbeddedPostgres(home).start()
