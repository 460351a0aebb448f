"""The data directory keeps secrets for one user."""

import stat
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest

from provenance.home import DEFAULT_PORT, KEYS, Home, HomeError, Ports, write_once


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_every_secret_is_made_for_its_owner_alone(home):
    home.ensure_keys()
    assert {path.name for path in home.keys.iterdir()} == set(KEYS)
    assert {mode(path) for path in home.keys.iterdir()} == {0o600}
    assert {mode(path) for path in (home.root, home.keys, home.run, home.logs)} == {0o700}


def test_secrets_are_random_long_and_kept(home, tmp_path, home_at):
    home.ensure_keys()
    first = {name: home.read_key(name) for name in KEYS}
    home.ensure_keys()
    other = home_at(tmp_path / "other")
    other.ensure_keys()
    assert {name: home.read_key(name) for name in KEYS} == first
    assert len(set(first.values())) == len(KEYS)
    assert not set(first.values()) & {other.read_key(name) for name in KEYS}
    assert min(len(text) for text in first.values()) >= 43


def test_a_key_that_was_never_made_is_an_error_that_says_what_to_run(home):
    with pytest.raises(HomeError, match=r"secret-key is missing. Run `./manage.py up`"):
        home.read_key("secret-key")


def test_two_that_make_the_same_secret_at_once_agree_on_one(tmp_path):
    path = tmp_path / "key"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write_once(path, f"secret {number}"), range(32)))
    assert path.read_text().startswith("secret ")
    assert [found.name for found in tmp_path.iterdir()] == ["key"]


def test_a_directory_that_others_could_read_is_closed(tmp_path, home_at):
    root = tmp_path / "home"
    root.mkdir(mode=0o755)
    home_at(root).ensure()
    assert mode(root) == 0o700


def test_a_link_in_place_of_the_keys_is_refused(tmp_path, home_at):
    (tmp_path / "elsewhere").mkdir()
    home = home_at(tmp_path / "home").ensure()
    home.keys.rmdir()
    home.keys.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HomeError, match="not a directory of yours"):
        home.ensure_keys()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_nothing_but_the_data_directory_changes_its_mode(tmp_path, home_at):
    tmp_path.chmod(0o711)
    home_at(tmp_path / "home").ensure().ensure_keys()
    assert mode(tmp_path) == 0o711


def test_a_long_path_gets_a_short_socket_directory_that_is_removed_again(tmp_path, home_at):
    home = home_at(tmp_path / ("long" * 25)).ensure()
    assert home.run != home.pids
    assert len(str(home.run / ".s.PGSQL.5432")) <= 100
    assert mode(home.run) == 0o700
    home.discard_run()
    assert not home.run.exists()


def test_a_short_socket_directory_planted_by_somebody_else_is_refused(tmp_path, home_at):
    home = home_at(tmp_path / ("long" * 25))
    home.run.symlink_to(tmp_path)
    try:
        with pytest.raises(HomeError, match="not a directory of yours"):
            home.ensure()
    finally:
        home.run.unlink()


def test_ports_are_those_asked_for_then_those_of_the_last_start_then_the_default(home):
    assert home.ports() == Ports(DEFAULT_PORT)
    home.remember_ports(Ports(9000))
    assert home.ports() == Ports(9000)
    assert home.ports(9100).named() == {"front": 9100, "examples": 9101, "scripted-model": 9102}


def test_a_filled_demo_does_not_move_to_other_ports(home):
    home.remember_ports(Ports(18420))
    home.seeded_file.write_text("")
    assert home.ports(18420) == Ports(18420)
    with pytest.raises(HomeError, match="lives at port 18420"):
        home.ports(19000)


def test_a_damaged_ports_file_means_the_default(home):
    home.ports_file.write_text("{")
    assert home.ports() == Ports(DEFAULT_PORT)


def test_the_database_url_survives_paths_with_spaces_and_passwords_with_slashes(tmp_path, home_at):
    home = home_at(tmp_path / "my data, here").ensure()
    url = urlsplit(home.database_url("prov_web", password="a/b@c:d"))
    assert (url.username, url.password, url.path) == ("prov_web", "a%2Fb%40c%3Ad", "/provenance")
    assert parse_qs(url.query) == {"host": [str(home.run)]}


def test_the_data_directory_is_the_one_that_was_named(tmp_path):
    assert Home.locate({"PROVENANCE_HOME": str(tmp_path / "x")}).root == tmp_path / "x"
    assert Home.locate({}).root.name == ".provenance"


def test_published_checkpoints_are_kept_beside_the_database_and_never_inside_it(home, tmp_path):
    assert home.anchor() == home.root / "anchor"
    assert home.anchor(str(tmp_path / "elsewhere")) == tmp_path / "elsewhere"
    for inside in (home.postgres, home.postgres / "base", home.root / "anchor" / ".." / "postgres"):
        with pytest.raises(HomeError, match="inside the database's own directory"):
            home.anchor(str(inside))
