"""Settings, read from the environment through small typed readers. Secure values are the defaults.

Secrets come from files: an environment variable `X_FILE` names one, and without it the data directory's own is read. A
process without `PROVENANCE_ROLE` (a linter, `makemigrations`) serves nobody and therefore gets no secret at all.
"""

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from provenance import keyfiles
from provenance.held_keys import LOG_FILES, Environment, Files, HeldKeys, Source, process_of
from provenance.home import Home, HomeError
from provenance.keyfiles import Hidden, KeyRefused
from provenance.logs import logging_settings
from provenance.postgres.connection import ScopedConnection

if TYPE_CHECKING:
    from provenance.vault import Vault, VaultTransit

BASE_DIR = Path(__file__).resolve().parent.parent
HOME = Home.locate()


class ImproperlySet(SystemExit):
    """A setting is missing or unsafe; the message says which and what to set."""


def text(name: str, default: str | None = None) -> str:
    """The value of `NAME`, or the content of the file that `NAME_FILE` names. Without either: the default or an exit."""
    if name in os.environ:
        return os.environ[name]
    if path := os.environ.get(f"{name}_FILE"):
        return Path(path).read_text(encoding="utf-8").strip()
    if default is None:
        raise ImproperlySet(f"{name} is not set. Set {name}, or {name}_FILE to a file that holds it.")
    return default


def choice(name: str, options: tuple[str, ...]) -> str:
    """The value of `NAME`, one of these; the first of them without it."""
    value = text(name, options[0])
    if value not in options:
        raise ImproperlySet(f"{name} is {value!r}. Set it to one of {', '.join(options)}.")
    return value


def words(name: str) -> list[str]:
    """The comma-separated values of `NAME`; an empty list without it."""
    return words_of(text(name, ""))


def words_of(value: str) -> list[str]:
    """The comma-separated parts of a value."""
    return [word.strip() for word in value.split(",") if word.strip()]


def key_text(name: str, key: str) -> str:
    """The key `NAME`, else the content of the file `NAME_FILE`, else that of the data directory; "" without any.

    Exits when a file can be read or replaced by others.
    """
    try:
        if name in os.environ:
            return os.environ[name]
        if named := os.environ.get(f"{name}_FILE"):
            return keyfiles.read(Path(named), is_named=True)
        return keyfiles.read(HOME.key_path(key)) if key else ""
    except FileNotFoundError as missing:
        if str(missing.filename) == os.environ.get(f"{name}_FILE"):
            raise ImproperlySet(f"{name}_FILE names {missing.filename}, and there is no such file.") from None
        return ""
    except KeyRefused as refused:
        raise ImproperlySet(f"{name}: {refused}") from None


def secret(name: str, key: str) -> str:
    """The secret `NAME`, else the one of the data directory. Exits when there is neither, or it could be guessed."""
    if not ROLE:
        return ""
    value = key_text(name, key)
    if len(value) < SHORTEST_SECRET:
        raise ImproperlySet(
            f"{name} is missing or shorter than {SHORTEST_SECRET} characters. Run `./manage.py up` once, which makes "
            f"{HOME.key_path(key)}, or set {name}_FILE to a file that holds a random one."
        )
    try:
        keyfiles.refuse_weak((name, line) for line in value.splitlines())
    except KeyRefused as refused:
        raise ImproperlySet(str(refused)) from None
    return Hidden(value)


def witnesses() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """`PROVENANCE_WITNESSES`: a witness of the log on each line, its submission prefix and then its verifier keys."""
    found = []
    for line in text("PROVENANCE_WITNESSES", "").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        url, *vkeys = line.split()
        if not vkeys:
            raise ImproperlySet(
                f"PROVENANCE_WITNESSES names {url} without a key. Put each witness on a line: its address, a space, and "
                "its verifier key, NAME+ID+KEY."
            )
        found.append((url, tuple(vkeys)))
    return tuple(found)


def database(url: str) -> dict[str, Any]:
    """Django's form of a Postgres URL such as `postgresql://user:password@host:5432/name?host=/socket/dir`."""
    parts = urlsplit(url)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "provenance.postgres",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": Hidden(unquote(parts.password or "")),
        "HOST": options.pop("host", parts.hostname or ""),
        "PORT": str(parts.port or options.pop("port", "")),
        "OPTIONS": options,
        # A COMMIT-time refusal surfaces after the view returned: the doors open the transaction, not Django.
        "ATOMIC_REQUESTS": False,
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }


def mail_relay() -> str:
    """`EMAIL_URL`: `smtp://user:password@host:587` (with STARTTLS) or `smtps://…`; "" when no mail is sent."""
    url = text("EMAIL_URL", "")
    try:
        parts = urlsplit(url)
        is_relay = parts.scheme in {"smtp", "smtps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_relay = False
    if url and not is_relay:
        # The value may hold a password, so it is not repeated.
        raise ImproperlySet("EMAIL_URL is not smtp://user:password@host:587 or smtps://user:password@host:465.")
    return Hidden(url)


def mac_keys() -> HeldKeys:
    """Key id -> root key of the events' MACs, from where `AUDIT_KEY_SOURCE` says.

    `AUDIT_MAC_KEYS` as `web-1:base64,gateway-1:base64`, else the files of the data directory. Ids end in a number that
    counts up; the highest of a process signs and all of them verify. Only those that this role signs or must verify with
    (`MAC_KEYS_OF`): another one in `AUDIT_MAC_KEYS` stops the start.
    """
    held = MAC_KEYS_OF.get(ROLE, ())
    source: Source = Files(HOME)
    given = words_of(key_text("AUDIT_MAC_KEYS", "")) if held else []
    chosen = choice("AUDIT_KEY_SOURCE", ("", "files", "environment", "vault")) if held else ""
    if chosen == "environment" and not given:
        raise ImproperlySet(
            "AUDIT_KEY_SOURCE is environment and AUDIT_MAC_KEYS is empty. Set it, or AUDIT_MAC_KEYS_FILE."
        )
    if chosen in {"files", "vault"} and given:
        raise ImproperlySet(f"AUDIT_KEY_SOURCE is {chosen} and AUDIT_MAC_KEYS is set. Set one of them.")
    if chosen == "vault":
        source = vault_keys()
    elif given:
        source = Environment(given)
        if others := sorted(name for name in source.names if process_of(name) not in held):
            raise ImproperlySet(
                f"AUDIT_MAC_KEYS holds {', '.join(others)}, with which a {ROLE} neither signs nor verifies anything. "
                f"Leave it out: this role gets the keys of {' and '.join(held)}."
            )
    try:
        return HeldKeys(source, held)
    except (KeyRefused, HomeError) as refused:
        raise ImproperlySet(str(refused)) from None


def vault() -> "Vault":
    """The Vault that `VAULT_ADDR` names, with this role's token."""
    from provenance.vault import Vault  # noqa: PLC0415  most installations have none, and an HTTP client is slow to load

    return Vault(text("VAULT_ADDR"), key_text("VAULT_TOKEN", ""))


def vault_keys() -> Source:
    """Root keys of events in Vault's KV."""
    from provenance.vault import VaultKv  # noqa: PLC0415  see above

    try:
        return VaultKv(vault(), text("AUDIT_VAULT_KV", "secret/provenance/mac"))
    except KeyRefused as refused:
        raise ImproperlySet(str(refused)) from None


def log_transit() -> "VaultTransit | None":
    """The log's Ed25519 key in Vault's transit engine, when `LOG_KEY_SOURCE` says so."""
    if ROLE not in {"sealer", "keys"} or choice("LOG_KEY_SOURCE", ("files", "vault")) == "files":
        return None
    from provenance.vault import VaultTransit  # noqa: PLC0415  see above

    try:
        return VaultTransit(vault(), text("LOG_VAULT_TRANSIT", "transit/provenance-log"))
    except KeyRefused as refused:
        raise ImproperlySet(str(refused)) from None


def log_seeds() -> HeldKeys:
    """The seeds of the log's keys: `LOG_ED25519_SEED` and `LOG_MLDSA44_SEED`, the current one in the first line, else files."""
    if ROLE not in {"sealer", "keys"}:
        return HeldKeys(Environment([]), ())
    source: Source = Files(HOME)
    given = {"checkpoint": key_text("LOG_ED25519_SEED", ""), "instance": key_text("LOG_MLDSA44_SEED", "")}
    if any(given.values()):
        pairs = [
            f"{name}-{number}:{line}"
            for name, lines in given.items()
            for number, line in enumerate(reversed(lines.split()), start=1)
        ]
        source = Environment(pairs, "LOG_ED25519_SEED and LOG_MLDSA44_SEED")
    try:
        found = HeldKeys(source, tuple(LOG_FILES))
    except (KeyRefused, HomeError) as refused:
        raise ImproperlySet(str(refused)) from None
    for name, file in LOG_FILES.items():
        is_elsewhere = name == "checkpoint" and LOG_TRANSIT is not None
        if ROLE == "sealer" and not is_elsewhere and not any(process_of(kid) == name for kid in found):
            raise ImproperlySet(
                f"The log's key {file} is missing. Run `./manage.py up` once, which makes {HOME.key_path(file)}, or set "
                f"{file.upper().replace('-', '_')}_SEED_FILE to a file that holds it."
            )
    return found


def refuse_shared_keys() -> None:
    """Exit when two keys of this process are the same one."""
    rings = {"SECRET_KEY": SECRET_KEY, "CALL_TOKEN": CALL_TOKEN, "BLOB_KEY": BLOB_KEY, "VAULT_KEK": VAULT_KEK}
    named = [(name, line) for name, ring in rings.items() for line in ring.splitlines()]
    named += [(f"The audit key {name}", key) for name, key in AUDIT_MAC_KEYS.items()]
    named += [(f"The log's key {name}", seed) for name, seed in LOG_SEEDS.items()]
    try:
        keyfiles.refuse_shared(named)
    except KeyRefused as refused:
        raise ImproperlySet(str(refused)) from None


SHORTEST_SECRET = 32
# Whose MAC keys a role gets. The first is its own. An HMAC key that verifies can also sign, so each further one is a
# choice: gateway and worker check that people decided (T01), the gateway also that the rows it decides by are what web and
# the host's commands signed (T06), web shows readers of the log whether any event is genuine,
# and the host's commands hand an auditor the workspace's keys. What keeps a holder from using another's key is Postgres,
# which takes an event under a key id from that process's database role alone (`audit.key`).
MAC_KEYS_OF = {
    "web": ("web", "gateway", "worker", "setup", "sealer", "retention"),
    "front": ("web", "gateway", "worker", "setup", "sealer", "retention"),
    "setup": ("setup", "web", "gateway", "worker", "sealer", "retention"),
    "gateway": ("gateway", "web", "setup"),
    "worker": ("worker", "web"),
    "sealer": ("sealer", "web", "gateway", "worker", "setup", "retention"),
    # No process: the commands on the host that replace keys, and keep copies of them.
    "keys": ("setup", "web", "gateway", "worker", "sealer", "retention"),
    # A job on the host: it tells which months left the log.
    "retention": ("retention",),
}
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
ROLE_USERS = {
    "migrate": "prov_migrate",
    "gateway": "prov_gateway",
    "worker": "prov_worker",
    "sealer": "prov_sealer",
    "keys": "prov_migrate",
    "retention": "prov_retention",
}

ROLE = text("PROVENANCE_ROLE", "")
ENVIRONMENT = text("PROVENANCE_ENV", "production")
PUBLIC_URL = text("PROVENANCE_URL", f"http://127.0.0.1:{HOME.ports().front}").rstrip("/")
GATEWAY_URL = text("PROVENANCE_GATEWAY_URL", PUBLIC_URL).rstrip("/")

_public = urlsplit(PUBLIC_URL)
_public_host = f"[{_public.hostname}]" if ":" in (_public.hostname or "") else (_public.hostname or "")
IS_LOOPBACK = _public_host in LOOPBACK_NAMES
IS_HTTPS = _public.scheme == "https"

if ENVIRONMENT not in {"demo", "test", "production"}:
    raise ImproperlySet(f"PROVENANCE_ENV is {ENVIRONMENT!r}. Set it to production or demo.")
if _public.scheme not in {"http", "https"} or not _public_host:
    raise ImproperlySet(f"PROVENANCE_URL is {PUBLIC_URL!r}. Set it to the address people open, https://….")
if not IS_HTTPS and not IS_LOOPBACK:
    raise ImproperlySet(f"PROVENANCE_URL is {PUBLIC_URL!r}: plain HTTP is for loopback only. Set it to https://….")
if ENVIRONMENT == "demo" and not IS_LOOPBACK:
    raise ImproperlySet(
        f"PROVENANCE_URL is {PUBLIC_URL!r}: a demo is for loopback only. Set PROVENANCE_ENV=production."
    )

DEBUG = False
SECRET_KEY = secret("SECRET_KEY", "secret-key")
# Encrypts stored values (`workspaces.blobs`).
BLOB_KEY = secret("BLOB_KEY", "blob-key") if ROLE in {"web", "front", "gateway", "worker", "setup"} else ""
# Wraps the data keys of secrets. Web seals new values, the gateway opens them; nobody else holds it.
VAULT_KEK = secret("VAULT_KEK", "vault-kek") if ROLE in {"web", "front", "gateway", "setup"} else ""

# --- Apps ------------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "audit",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "provenance",
    "workspaces",
    "secrets_vault",
    "approvals",
    "agents",
    "apikeys",
    "gateway",
    "workflows",
    "streams",
]

MIDDLEWARE = [
    "provenance.middleware.RequestFacts",
    "django.middleware.security.SecurityMiddleware",
    "provenance.middleware.SecurityHeaders",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    # The doors come last: what they let in runs inside their transaction, after every other check has passed.
    "apikeys.middleware.KeyDoor",
    "workspaces.middleware.SessionDoor",
]

ROOT_URLCONF = "provenance.urls"
WSGI_APPLICATION = "provenance.wsgi.application"
APPEND_SLASH = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.messages.context_processors.messages",
                "provenance.console.shell",
            ],
            "builtins": ["provenance.templatetags.console"],
        },
    }
]
FORM_RENDERER = "django.forms.renderers.DjangoTemplates"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# --- Stores ----------------------------------------------------------------------------------------------------------

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES: dict[str, dict[str, Any]] = {
    "default": database(
        text("DATABASE_URL", "")
        or (
            HOME.database_url(ROLE_USERS.get(ROLE, "prov_web"))
            if ROLE and HOME.keys.is_dir()
            else "postgresql:///provenance"
        )
    )
}
if ROLE in {"migrate", "keys"}:
    DATABASES["default"]["OPTIONS"]["assume_role"] = "prov_owner"
elif ENVIRONMENT != "test":
    # A SCRAM sign-in costs milliseconds, so connections are kept; health checks survive a restart of the server.
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"]["OPTIONS"]["pool"] = {
        "connection_class": ScopedConnection,
        "min_size": 1,
        "max_size": 20,
        "timeout": 10,
    }

# The gateway's own connection as prov_gateway; `front` and `setup` host it beside the web.
GATEWAY_DATABASE_URL = Hidden(
    text("GATEWAY_DATABASE_URL", text("DATABASE_URL", "") if ROLE == "gateway" else "")
    or (HOME.database_url("prov_gateway") if ROLE in {"gateway", "front", "setup"} and HOME.keys.is_dir() else "")
)
# What signs run tokens: workers mint, the gateway checks.
CALL_TOKEN = secret("CALL_TOKEN", "call-token") if ROLE in {"front", "gateway", "worker"} else ""

# The log: which process this is to its readers, and the keys that it may sign or verify with.
AUDIT_SIGNS_AS = {"front": "web", "keys": "setup"}.get(ROLE, ROLE)
AUDIT_MAC_KEYS = mac_keys()

# The sealer's own, and nobody else's: where it signs in, what signs checkpoints, and what the logs call themselves.
SEALER_DATABASE_URL = ""
LOG_ORIGIN = ""
# Where published checkpoints go besides the database, so that it cannot be set back unnoticed.
LOG_ANCHOR = HOME.anchor(text("PROVENANCE_ANCHOR", ""))
LOG_WITNESSES = witnesses() if ROLE == "sealer" else ()
LOG_ANCHOR_COMMAND = text("PROVENANCE_ANCHOR_COMMAND", "") if ROLE == "sealer" else ""
if ROLE == "sealer":
    SEALER_DATABASE_URL = Hidden(text("DATABASE_URL", "") or HOME.database_url("prov_sealer"))
    LOG_ORIGIN = text("LOG_ORIGIN", "") or HOME.log_origin()
LOG_TRANSIT = log_transit()
LOG_SEEDS = log_seeds()
refuse_shared_keys()

# For what looks at all workspaces on the host (`reconcile`): the migrator, who may become the owner of every table.
MIGRATOR_DATABASE_URL = Hidden(
    text("MIGRATOR_DATABASE_URL", "")
    or (HOME.database_url("prov_migrate") if ROLE == "setup" and HOME.keys.is_dir() else "")
)

# Who was erased, kept outside the database so that a restore can replay it (T28). Of a kind with the keys: where several
# hosts serve people, on storage that they share.
ERASURES_FILE = Path(text("PROVENANCE_ERASURES", str(HOME.erasures_file)))

# One address for two clients: redis-py says unix://, Celery says redis+socket://.
REDIS_URL = Hidden(text("REDIS_URL", HOME.redis_url).replace("redis+socket://", "unix://", 1))
CACHES = {
    "default": {
        "BACKEND": "provenance.cache.DegradingRedisCache",
        "LOCATION": REDIS_URL,
        "TIMEOUT": 300,
        # Django's own serializer is pickle, with which a hijacked worker would run code in web (T17).
        "OPTIONS": {"serializer": "provenance.cache.JsonCounters"},
    }
}

# --- Sign-in ---------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "workspaces.User"
# The address is unique whatever its case: a constraint of the table that the check cannot see.
SILENCED_SYSTEM_CHECKS = ["auth.W004"]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("email", "name")},
    },
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "account_login"

ACCOUNT_ADAPTER = "workspaces.accounts.InvitationOnlyAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"  # an address is proved by the invitation that reached it
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_RATE_LIMITS = {
    "login": "30/m/ip",
    "login_failed": "10/m/ip,5/5m/key",
    "change_password": "5/m/user",
    "reauthenticate": "10/m/user",
}
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
# Digests of the log: who they come from, and the relay that the gateway alone hands them to.
EMAIL_FROM = text("EMAIL_FROM", "")
EMAIL_URL = mail_relay() if ROLE in {"gateway", "front"} else ""
if EMAIL_FROM and not re.fullmatch(r"[\x21-\x3f\x41-\x7e]+@[a-zA-Z0-9.-]+", EMAIL_FROM):
    raise ImproperlySet(f"EMAIL_FROM is {EMAIL_FROM!r}. Set it to a plain address such as provenance@example.com.")
# Below it each workspace may have its log written as files; "": no stream writes files.
STREAMS_DIRECTORY = text("STREAMS_DIRECTORY", "")
if STREAMS_DIRECTORY and not Path(STREAMS_DIRECTORY).is_absolute():
    raise ImproperlySet(f"STREAMS_DIRECTORY is {STREAMS_DIRECTORY!r}. Set it to an absolute path.")

SESSION_ENGINE = "provenance.sessions"
SESSION_COOKIE_NAME = "__Host-session" if IS_HTTPS else "session"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = IS_HTTPS
CSRF_COOKIE_NAME = "__Host-csrf" if IS_HTTPS else "csrf"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SECURE = IS_HTTPS
CSRF_FAILURE_VIEW = "provenance.pages.csrf_failure"

# --- The edge --------------------------------------------------------------------------------------------------------

ALLOWED_HOSTS = [*(LOOPBACK_NAMES if IS_LOOPBACK else [_public_host]), *words("PROVENANCE_ALLOWED_HOSTS")]
if any("*" in host or host.startswith(".") for host in ALLOWED_HOSTS):
    raise ImproperlySet("PROVENANCE_ALLOWED_HOSTS holds a pattern. List each host name exactly.")
# Only these peers are believed about whom they forward for; what others send in X-Forwarded-* is dropped.
TRUSTED_PROXIES = [ip_network(proxy) for proxy in words("PROVENANCE_TRUSTED_PROXIES")]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if IS_HTTPS else 0
X_FRAME_OPTIONS = "DENY"
# The names of Django 6.0's own middleware, so that ours can go when the project moves there.
SECURE_CSP = {
    "default-src": ["'none'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "img-src": ["'self'"],
    "font-src": ["'self'"],
    "connect-src": ["'self'"],
    "manifest-src": ["'self'"],
    "form-action": ["'self'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
}

DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000
DATA_UPLOAD_MAX_NUMBER_FILES = 0

# --- Static files ----------------------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},  # nothing is uploaded
    "staticfiles": {"BACKEND": "provenance.static_files.VersionedStaticFiles"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 31_536_000  # addresses carry the content's hash
WHITENOISE_ALLOW_ALL_ORIGINS = False

# --- REST ------------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    # The door authenticates and the endpoint names its permission (`provenance.api.Endpoint`).
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "provenance.openapi.ApiSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Provenance",
    "DESCRIPTION": "Start and watch runs, read agents, approvals and the audit log, with a scoped key.",
    "VERSION": "1",
    # 3.1 is JSON Schema, so that a program can check answers against it as they are.
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVERS": [{"url": PUBLIC_URL}],
    "APPEND_COMPONENTS": {
        "securitySchemes": {"ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
    },
    "SECURITY": [{"ApiKey": []}],
    # Labels are for pages and only repeat the values.
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "AgentStatus": "agents.models.Agent.Status",
        "ApprovalStatus": "approvals.models.Status",
        "CallStatus": "workflows.states.CallStatus",
        "HaltScope": "workspaces.models.SCOPE_KINDS",
        "HoldScope": "audit.models.HOLD_KINDS",
        "RunStatus": "workflows.states.RunStatus",
        "ServerStatus": "gateway.models.McpServer.Status",
        "StepStatus": "workflows.states.StepStatus",
        "ToolStatus": "gateway.models.Tool.Status",
    },
}

# --- Language, time, logs --------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
LOGGING_CONFIG = "logging.config.dictConfig"
LOGGING = logging_settings(level=text("PROVENANCE_LOG_LEVEL", "INFO"))
