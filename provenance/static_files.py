"""Static files straight from the checkout, under addresses that change with their content. Nothing to collect."""

import hashlib
from functools import cache
from pathlib import Path

from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage


class VersionedStaticFiles(StaticFilesStorage):
    """`{% static "css/app.css" %}` becomes `/static/css/app.css?v=<hash>`, so a browser may keep it for a year."""

    def url(self, name: str | None) -> str:
        """The address with the version of the content; without one for a file that does not exist."""
        plain = super().url(name)
        version = _version(name or "")
        return f"{plain}?v={version}" if version else plain


@cache
def _version(name: str) -> str:
    path = finders.find(name)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12] if path else ""
