"""Database and broker before our processes start: do they answer, and has the database its roles?"""

from __future__ import annotations

from urllib.parse import urlsplit

import psycopg

from provenance import roles
from provenance.home import DATABASE_ROLES
from provenance.postgres.session import BehindPooler
from provenance.processes import Installation, StartError

BROKER_SECONDS = 5.0


def ensure_roles(installation: Installation, admin_url: str) -> None:
    """Make roles and database what they should be. Raises StartError when the server is away or does not allow it."""
    passwords = {role: installation.home.read_key(f"db-{role}") for role in DATABASE_ROLES}
    try:
        roles.ensure_roles(admin_url, passwords)
    except roles.RolesMissing as problem:
        raise StartError(
            f"{problem}\n\nAs the password of each of these logins give what stands in the file of its name, "
            f"{installation.home.key_path('db-prov_web')} for prov_web. Then start again."
        ) from problem
    except BehindPooler as problem:
        raise StartError(f"{problem} It stands in PROVENANCE_ADMIN_DATABASE_URL or DATABASE_URL.") from problem
    except psycopg.OperationalError as problem:
        where = installation.database.address if installation.database else "the embedded server"
        raise StartError(
            f"the database at {where} does not answer ({str(problem).strip().splitlines()[0]}). "
            "Start it, or correct PROVENANCE_ADMIN_DATABASE_URL or DATABASE_URL, whichever you set."
        ) from problem


def refuse_silent_broker(url: str) -> None:
    """Raise StartError when an external broker does not answer. Later losses are survived; a wrong address is not."""
    import redis  # noqa: PLC0415  its weight is for those who have a broker elsewhere

    # Celery's word for a socket is not redis-py's.
    address = url.replace("redis+socket://", "unix://", 1)
    try:
        with redis.Redis.from_url(
            address, socket_connect_timeout=BROKER_SECONDS, socket_timeout=BROKER_SECONDS
        ) as asked:
            asked.ping()
    except (redis.RedisError, ValueError) as problem:
        parts = urlsplit(address)
        where = parts.netloc.rpartition("@")[2] or parts.path
        raise StartError(
            f"the broker at {where} does not answer ({str(problem).strip().splitlines()[0]}). "
            "Start it, or correct REDIS_URL."
        ) from problem
