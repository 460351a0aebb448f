"""The reference of events for people, made from the taxonomy so that it cannot differ from it."""

from itertools import groupby

from audit.taxonomy import Event

_HEAD = """\
# Event reference

Every type of event, its usual risk and what it means. Written by `./manage.py event_reference` from `audit/taxonomy.py`;
do not edit by hand. What an event holds and how it is signed: `audit-format.md`.

{count} types in {domains} domains.
"""


def event_reference() -> str:
    """The page as Markdown, one table for each domain."""
    domains = [(domain, list(events)) for domain, events in groupby(Event, key=lambda event: event.domain)]
    head = _HEAD.format(count=len(Event), domains=len({domain for domain, _events in domains}))
    return head + "".join(_section(domain, events) for domain, events in domains)


def _section(domain: str, events: list[Event]) -> str:
    rows = "".join(f"| `{event.value}` | {event.risk.value} | {event.sentence} |\n" for event in events)
    return f"\n## {domain}\n\n| event | risk | meaning |\n|---|---|---|\n{rows}"
