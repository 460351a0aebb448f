"""Every address of the platform, with what answers there."""

from collections.abc import Iterator

from django.urls import URLPattern, URLResolver, get_resolver


def addresses(patterns=None, prefix="") -> Iterator[tuple[str, URLPattern]]:
    """Address and pattern, from the roof down."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, f"{prefix}{pattern.pattern}")
        else:
            yield f"{prefix}{pattern.pattern}", pattern


ADDRESSES = list(addresses())
