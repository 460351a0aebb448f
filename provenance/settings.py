"""Settings, read from the environment through small typed readers. Secure values are the defaults.

Secrets come from files: an environment variable `X_FILE` names one, and without it the data directory's own is read. A
process without `PROVENANCE_ROLE` (a linter, `makemigrations`) serves nobody and therefore gets no secret at all.
"""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from provenance import anchor_settings
from provenance.environment import ImproperlySet, database, mail_relay, text, words
from provenance.home import Home
from provenance.keyfiles import Hidden
from provenance.logs import logging_settings
from provenance.postgres.connection import ScopedConnection
from provenance.role_keys import RoleKeys, refuse_shared_keys

BASE_DIR = Path(__file__).resolve().parent.parent
HOME = Home.locate()
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
_keys = RoleKeys(HOME, ROLE)
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
SECRET_KEY = _keys.secret("SECRET_KEY", "secret-key")
# Encrypts stored values (`workspaces.blobs`).
BLOB_KEY = _keys.secret("BLOB_KEY", "blob-key") if ROLE in {"web", "front", "gateway", "worker", "setup"} else ""
# Wraps the data keys of secrets. Web seals new values, the gateway opens them; nobody else holds it.
VAULT_KEK = _keys.secret("VAULT_KEK", "vault-kek") if ROLE in {"web", "front", "gateway", "setup"} else ""

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
CALL_TOKEN = _keys.secret("CALL_TOKEN", "call-token") if ROLE in {"front", "gateway", "worker"} else ""

# The log: which process this is to its readers, and the keys that it may sign or verify with.
AUDIT_SIGNS_AS = {"front": "web", "keys": "setup"}.get(ROLE, ROLE)
AUDIT_MAC_KEYS = _keys.mac_keys()

# The sealer's own, and nobody else's: where it signs in, what signs checkpoints, and what the logs call themselves.
SEALER_DATABASE_URL = ""
LOG_ORIGIN = ""
# Where published checkpoints go besides the database, so that it cannot be set back unnoticed.
LOG_ANCHOR = HOME.anchor(text("PROVENANCE_ANCHOR", ""))
LOG_WITNESSES = anchor_settings.witnesses() if ROLE == "sealer" else ()
LOG_TIME_STAMPS = anchor_settings.time_stamps() if ROLE == "sealer" else None
LOG_BUCKET = anchor_settings.bucket() if ROLE == "sealer" else None
LOG_AUDITORS = anchor_settings.auditors() if ROLE == "sealer" else ()
LOG_ANCHOR_COMMAND = text("PROVENANCE_ANCHOR_COMMAND", "") if ROLE == "sealer" else ""
if ROLE == "sealer":
    SEALER_DATABASE_URL = Hidden(text("DATABASE_URL", "") or HOME.database_url("prov_sealer"))
    LOG_ORIGIN = text("LOG_ORIGIN", "") or HOME.log_origin()
LOG_TRANSIT = _keys.log_transit()
LOG_SEEDS = _keys.log_seeds(LOG_TRANSIT)
refuse_shared_keys(
    {"SECRET_KEY": SECRET_KEY, "CALL_TOKEN": CALL_TOKEN, "BLOB_KEY": BLOB_KEY, "VAULT_KEK": VAULT_KEK},
    AUDIT_MAC_KEYS,
    LOG_SEEDS,
)

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
EMAIL_URL = mail_relay() if ROLE in {"gateway", "front"} or LOG_AUDITORS else ""
if EMAIL_FROM and not re.fullmatch(anchor_settings.ADDRESS, EMAIL_FROM):
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
