"""Logs: one JSON object a line on stderr, through one point that takes secrets out."""

import logging
import re
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

REDACTED = "[redacted]"

_SECRET_NAME = re.compile(
    r"pass(word|wd)|secret|token|authorization|cookie|api[-_]?key|credential|private", re.IGNORECASE
)
_SECRET_TEXT = (
    # Our own keys: prefix, secret, checksum.
    re.compile(r"prov_[0-9A-Za-z]{8}_[0-9A-Za-z]{8,}(_[0-9A-Za-z]{1,6})?"),
    re.compile(r"(?i)\b(bearer|basic)\s+[0-9A-Za-z._~+/=-]{8,}"),
    # The password of a URL, as drivers like to print it.
    re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"),
    # One-time addresses: whoever reads the log must not be able to use them.
    re.compile(r"(?<=/invitations/)[0-9A-Za-z_-]{16,}|(?<=/setup/)[0-9A-Za-z_-]{16,}"),
)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank values under names that hold secrets, and secrets recognized inside any text, however deep."""
    return {name: _clean(name, value) for name, value in event.items()}


def redact_text(text: str) -> str:
    """The text without anything that looks like a credential of ours."""
    for pattern in _SECRET_TEXT:
        text = pattern.sub(REDACTED, text)
    return text


def _clean(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name):
        return REDACTED
    match value:
        case str():
            return redact_text(value)
        case dict():
            return {key: _clean(str(key), item) for key, item in value.items()}
        case list() | tuple():
            return [_clean("", item) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return redact_text(str(value))


def _own_fields_off(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop the bookkeeping that structlog puts between its two halves."""
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(None, "", event)


def logging_settings(level: str) -> dict[str, Any]:
    """The value of Django's LOGGING. Also points structlog to it, so that both ways to log end in the same place."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [*shared, structlog.stdlib.ExtraAdder(allow={"status_code"})],
                # The traceback is text before the redaction sees it: an exception's message can hold a secret.
                "processors": [
                    _own_fields_off,
                    structlog.processors.format_exc_info,
                    redact,
                    structlog.processors.JSONRenderer(),
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": logging.getLevelName(level.upper())},
        "loggers": {
            # Django would log each refusal of a door once more, with the address and without the actor.
            "django.request": {"level": "ERROR"},
            "django.server": {"level": "WARNING"},
            "httpx2": {"level": "WARNING"},
        },
    }
