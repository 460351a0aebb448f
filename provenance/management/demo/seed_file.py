"""`examples/demo.yaml` and the files it names: everything that the demo knows by name stands there and nowhere else."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provenance.home import CHECKOUT
from workflows import documents

EXAMPLES = CHECKOUT / "examples"


@dataclass(frozen=True, slots=True)
class Seed:
    """The seed file, with the definitions of agents and the texts of workflows that it names."""

    facts: dict[str, Any]
    agents: dict[str, dict[str, Any]]
    workflows: dict[str, str]

    def __getitem__(self, name: str) -> Any:
        """One section of the file."""
        return self.facts[name]


def load(path: Path = EXAMPLES / "demo.yaml") -> Seed:
    """Read the seed file and what it names, all of it beside it."""
    facts = documents.read(path.read_text("utf-8"))
    return Seed(
        facts=facts,
        agents={agent["file"]: read_agent(path.parent / agent["file"]) for agent in facts["agents"]},
        workflows={name: (path.parent / name).read_text("utf-8") for name in facts["workflows"]},
    )


def read_agent(path: Path) -> dict[str, Any]:
    """An agent's definition."""
    definition: dict[str, Any] = documents.read(path.read_text("utf-8"))
    return definition
