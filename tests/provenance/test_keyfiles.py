"""A key that others could read, replace or guess, or that two purposes share, is refused with a sentence (T15)."""

import os
import secrets

import pytest

from provenance import keyfiles
from provenance.home import KEYS, Home, HomeError, replace_text, write_once
from provenance.keyfiles import KeyRefused
from tests.provenance.environments import key, load_several

WEAK = {
    "zeros": key(bytes(32)),
    "one byte": key(b"k" * 32),
    "a repeated half": key(secrets.token_bytes(16) * 2),
    "counting": key(bytes(range(32))),
    "counting in steps": key(bytes(range(3, 3 + 32 * 7, 7))),
    "a passphrase": key(b"correct horse battery staple 001"),
    "letters": "k" * 48,
    "a sample": "django-insecure-abcdefghijklmnopqrstuvwxyz0123456789",
}


@pytest.mark.parametrize("text", WEAK.values(), ids=list(WEAK))
def test_what_somebody_could_guess_is_refused_without_being_said(text):
    with pytest.raises(KeyRefused, match="The key is refused: it is") as refused:
        keyfiles.refuse_weak([("The key", text)])
    assert text not in str(refused.value)


def test_no_random_key_is_refused():
    for make in KEYS.values():
        keyfiles.refuse_weak(("", make()) for _ in range(300))


def test_two_spellings_of_one_key_are_one_key():
    raw = secrets.token_bytes(32)
    with pytest.raises(KeyRefused, match="web and worker are the same key") as refused:
        keyfiles.refuse_shared([("web", key(raw)), ("gateway", key()), ("worker", key(raw))])
    assert key(raw) not in str(refused.value)


@pytest.fixture
def home(tmp_path):
    made = Home((tmp_path / "home").resolve()).ensure()
    made.ensure_keys()
    return made


def test_a_key_that_others_can_read_is_refused(home):
    path = home.key_path("mac-web")
    for mode in (0o640, 0o604, 0o620, 0o602, 0o777):
        path.chmod(mode)
        with pytest.raises(HomeError, match=f"mac-web has mode {mode:04o}"):
            home.read_key("mac-web")
    path.chmod(0o400)
    assert home.read_key("mac-web")


def test_a_link_out_of_the_directory_is_refused_and_one_inside_is_not(home, tmp_path):
    path = home.key_path("mac-web")
    path.rename(home.keys / "kept")
    path.symlink_to("kept")
    assert home.read_key("mac-web")
    (home.keys / "kept").rename(tmp_path / "elsewhere")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HomeError, match="outside of its directory"):
        home.read_key("mac-web")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_key_of_somebody_else_is_refused(home):
    os.chown(home.key_path("mac-web"), 12345, -1)
    with pytest.raises(HomeError, match="belongs to user 12345"):
        home.read_key("mac-web")


def test_a_directory_that_others_write_to_is_refused(home):
    home.keys.chmod(0o770)
    with pytest.raises(HomeError, match="Others may put files into"):
        home.read_key("mac-web")


def test_what_is_no_file_is_refused_and_not_waited_for(home):
    path = home.key_path("mac-web")
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(HomeError, match="is not a file"):
        home.read_key("mac-web")


def test_a_named_file_may_be_a_link_of_an_orchestrator(tmp_path):
    """Mounted secrets are links, and readable for a group."""
    write_once(tmp_path / "real", key())
    (tmp_path / "real").chmod(0o440)
    (tmp_path / "named").symlink_to("real")
    assert keyfiles.read(tmp_path / "named", is_named=True)
    for mode in (0o444, 0o460):
        (tmp_path / "real").chmod(mode)
        with pytest.raises(KeyRefused, match=f"mode {mode:04o}"):
            keyfiles.read(tmp_path / "named", is_named=True)


def test_all_keys_of_an_installation_are_held_against_each_other(home):
    """No process holds them all; `up` does."""
    assert set(home.all_keys()) == set(KEYS)
    replace_text(home.key_path("log-ed25519"), home.read_key("mac-worker"))
    with pytest.raises(HomeError, match=r"log-ed25519 and .*mac-worker are the same key"):
        home.all_keys()
    replace_text(home.key_path("log-ed25519"), key(bytes(32)))
    with pytest.raises(HomeError, match="log-ed25519 is refused: it is all zeros"):
        home.all_keys()


STOPPED = {
    "open to others": (lambda home: home.key_path("mac-web").chmod(0o644), "mac-web has mode 0644"),
    "zeros": (lambda home: replace_text(home.key_path("mac-web"), WEAK["zeros"]), "web-1 (files in"),
    "short": (lambda home: replace_text(home.key_path("mac-web"), key(b"short")), "must be 32 random bytes in base64"),
    "the neighbor's": (
        lambda home: replace_text(home.key_path("mac-web"), home.read_key("mac-worker")),
        "The audit key web-1 and The audit key worker-1 are the same key",
    ),
    "that of blobs": (
        lambda home: replace_text(home.key_path("mac-web"), home.read_key("blob-key")),
        "BLOB_KEY and The audit key web-1 are the same key",
    ),
    "that of sessions": (
        lambda home: replace_text(home.key_path("secret-key"), home.read_key("mac-web")),
        "SECRET_KEY and The audit key web-1 are the same key",
    ),
    "letters": (lambda home: replace_text(home.key_path("secret-key"), "k" * 64), "SECRET_KEY is refused"),
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """What each spoiled installation says when web is started."""
    environs = []
    for name, (spoil, _says) in STOPPED.items():
        home = Home((tmp_path_factory.mktemp("home") / name.replace(" ", "-")).resolve()).ensure()
        home.ensure_keys()
        spoil(home)
        environs.append({"PROVENANCE_HOME": str(home.root), "PROVENANCE_ROLE": "web"})
    said = [answer["stopped"] for answer in load_several(*environs)]
    return {name: (Home.locate(environ), text) for name, environ, text in zip(STOPPED, environs, said, strict=True)}


@pytest.mark.parametrize("name", STOPPED)
def test_a_process_does_not_start_with_it(stopped, name):
    home, said = stopped[name]
    assert STOPPED[name][1] in said
    assert not [key for key in KEYS if home.key_path(key).read_text() in said]


ROLES = ("web", "front", "gateway", "worker", "sealer", "setup", "keys", "retention")


def test_no_dump_of_settings_shows_a_key(home):
    """`diffsettings`, a traceback's locals, a repr in a log: they all print settings."""
    dumps = load_several(*({"PROVENANCE_HOME": str(home.root), "PROVENANCE_ROLE": role} for role in ROLES))
    for role, dump in zip(ROLES, dumps, strict=True):
        assert "AUDIT_MAC_KEYS" in dump["settings"], dump["stopped"]
        assert (role, [name for name in KEYS if home.read_key(name) in dump["settings"]]) == (role, [])
