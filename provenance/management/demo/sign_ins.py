"""`demo.json`: how the demo people sign in and the keys of its programs. Of mode 0600, and the only place that has them."""

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from provenance.home import replace_text

PASSWORD_BYTES = 15


class NoSignIns(Exception):
    """There is no file with sign-ins yet."""


@dataclass(frozen=True, slots=True)
class Person:
    """One of the demo people. `title` is their part in the story, `roles` what they may do in the workspace."""

    title: str
    email: str
    password: str = field(repr=False)
    # A file of before they were noted has neither.
    name: str = ""
    roles: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SignIns:
    """Everything that is needed to act as the demo's people, its integration and its auditors' programs."""

    workspace: str
    workspace_id: str
    people: list[Person]
    api_key: str = field(repr=False)
    # A file of before there was one has none.
    audit_key: str = field(default="", repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote. Raises `NoSignIns`."""
        try:
            facts = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise NoSignIns(f"{path} is missing. Run `./manage.py up` first: it fills the demo workspace.") from None
        return cls(**{**facts, "people": [Person(**person) for person in facts["people"]]})

    def write(self, path: Path) -> None:
        """Put the file in place, readable for this user alone."""
        replace_text(path, json.dumps(asdict(self), indent=2) + "\n")

    def person(self, title: str) -> Person:
        """The person with this part in the story. Raises KeyError."""
        for person in self.people:
            if person.title == title:
                return person
        raise KeyError(title)


def new_password() -> str:
    """A random password that survives being read from a screen and typed: 120 bits."""
    return secrets.token_urlsafe(PASSWORD_BYTES)
