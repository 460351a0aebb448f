"""The cache holds counters of rate limits and nothing else; losing it loses nothing (T17).

What stands in it is read as data from a stranger: whoever reaches the broker can write there.
"""

import json
from typing import Any

import structlog
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)


class JsonCounters:
    """Numbers, flags and lists of them, as JSON. Never pickle: that would run what somebody else wrote (T17)."""

    def dumps(self, value: Any) -> str:
        """What is stored."""
        return json.dumps(value, allow_nan=False)

    def loads(self, stored: bytes | str) -> Any:
        """What was stored. Raises ValueError for anything that is no counter."""
        try:
            value = json.loads(stored)
        except RecursionError as error:
            raise ValueError("nested too deep for a counter") from error
        if not (_is_number(value) or (isinstance(value, list) and all(map(_is_number, value)))):
            raise ValueError("what the cache holds is no counter")
        return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


class DegradingRedisCache(RedisCache):
    """Redis, and this process's own memory while Redis does not answer: people must be able to sign in and stop agents."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._memory = LocMemCache("rate-limits", params)

    def add(self, *args: Any, **kwargs: Any) -> Any:
        """As Django's."""
        return self._ask("add", *args, **kwargs)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """As Django's; what is no counter, or another kind than the default, counts as absent."""
        try:
            found = self._ask("get", key, default, version)
        except ValueError as error:
            log.warning("cache.stranger", error=str(error))
            return default
        return found if default is None or isinstance(found, type(default)) else default

    def set(self, *args: Any, **kwargs: Any) -> Any:
        """As Django's."""
        return self._ask("set", *args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """As Django's."""
        return self._ask("delete", *args, **kwargs)

    def _ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(super(), operation)(*args, **kwargs)
        except RedisError as error:
            log.warning("cache.degraded", error=str(error))
            return getattr(self._memory, operation)(*args, **kwargs)
