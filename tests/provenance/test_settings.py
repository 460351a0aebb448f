"""Settings refuse what is unsafe, with a sentence that says what to set."""

from pathlib import Path

import pytest

from provenance.home import Home, write_once
from tests.provenance.environments import load

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = "a text of many letters, XYZ 0123456789, that nobody uses"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    made = Home(tmp_path_factory.mktemp("home").resolve()).ensure()
    made.ensure_keys()
    return made.root


def test_a_role_finds_its_secrets_in_the_data_directory(home):
    done = load(home, "settings.DATABASES['default']['USER'], len(settings.SECRET_KEY) >= 32", PROVENANCE_ROLE="web")
    assert done.stdout.strip() == "('prov_web', True)", done.stderr


def test_a_process_without_a_role_gets_no_secret(home):
    done = load(home, "settings.SECRET_KEY + settings.BLOB_KEY + settings.VAULT_KEK + str(settings.AUDIT_MAC_KEYS)")
    assert done.stdout.strip() == "{}", done.stderr


@pytest.mark.parametrize(("role", "holds"), [("web", True), ("gateway", True), ("worker", False), ("migrate", False)])
def test_only_who_needs_the_vaults_key_gets_it(home, role, holds):
    done = load(home, "bool(settings.VAULT_KEK)", PROVENANCE_ROLE=role)
    assert done.stdout.strip() == str(holds), done.stderr


def test_a_missing_secret_stops_the_start_and_says_what_to_do(tmp_path):
    done = load(tmp_path, PROVENANCE_ROLE="web")
    assert done.returncode != 0
    assert "SECRET_KEY" in done.stderr
    assert "./manage.py up" in done.stderr


def test_a_secret_can_stand_in_a_named_file(home, tmp_path):
    write_once(tmp_path / "key", TEXT + "\n")
    done = load(home, "str(settings.SECRET_KEY)", PROVENANCE_ROLE="web", SECRET_KEY_FILE=str(tmp_path / "key"))
    assert done.stdout.strip() == TEXT, done.stderr


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"PROVENANCE_ENV": "staging"}, "PROVENANCE_ENV"),
        ({"PROVENANCE_URL": "http://console.example.com"}, "plain HTTP is for loopback only"),
        ({"PROVENANCE_URL": "ftp://console.example.com"}, "PROVENANCE_URL"),
        ({"PROVENANCE_URL": "https://console.example.com", "PROVENANCE_ENV": "demo"}, "a demo is for loopback only"),
        ({"PROVENANCE_ALLOWED_HOSTS": ".example.com"}, "List each host name exactly"),
        ({"PROVENANCE_ALLOWED_HOSTS": "*"}, "List each host name exactly"),
    ],
)
def test_an_unsafe_setting_stops_the_start(home, environ, said):
    """T20."""
    done = load(home, PROVENANCE_ROLE="web", **environ)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_over_https_cookies_are_secure_and_bound_to_the_host(home):
    expression = (
        "settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE, settings.SESSION_COOKIE_NAME, "
        "settings.SECURE_HSTS_SECONDS > 0, settings.ALLOWED_HOSTS"
    )
    done = load(home, expression, PROVENANCE_ROLE="web", PROVENANCE_URL="https://console.example.com")
    assert done.stdout.strip() == "(True, True, '__Host-session', True, ['console.example.com'])", done.stderr


def test_celerys_address_of_the_broker_serves_django_as_well(home):
    done = load(home, "settings.REDIS_URL", PROVENANCE_ROLE="web", REDIS_URL="redis+socket:///run/valkey.sock")
    assert done.stdout.strip() == "unix:///run/valkey.sock", done.stderr


def test_a_database_address_keeps_what_it_says(home):
    url = "postgresql://me:p%40ss@db.example:5433/name?sslmode=verify-full"
    expression = "{k: settings.DATABASES['default'][k] for k in ('USER', 'HOST', 'PORT', 'NAME')}, str(settings.DATABASES['default']['PASSWORD']), settings.DATABASES['default']['OPTIONS']['sslmode']"
    done = load(home, expression, PROVENANCE_ROLE="web", DATABASE_URL=url)
    wanted = {"USER": "me", "HOST": "db.example", "PORT": "5433", "NAME": "name"}
    assert done.stdout.strip() == str((wanted, "p@ss", "verify-full")), done.stderr
