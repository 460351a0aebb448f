"""Who started a run, in words: a person, or the key of an integration and the person who answers for it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

from apikeys.models import ApiKey
from provenance.actor import Actor, ActorKind
from provenance.permissions import Permission
from workflows.models import Run
from workspaces.selectors import user_names


@dataclass(frozen=True, slots=True)
class Starter:
    """`label` names who started it, `note` what that is; "" where the label says it all."""

    label: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.label} ({self.note})" if self.note else self.label


def starters(actor: Actor, runs: Collection[Run]) -> dict[UUID, Starter]:
    """Who started each of these runs, by the run's id. Two queries, whatever their number.

    Whoever may see a run may see this: the run's own events name the same.
    """
    actor.require(Permission.RUNS_READ)
    keys = dict(
        ApiKey.objects.for_actor(actor)
        .filter(pk__in=_ids(run.started_by_id for run in runs if run.started_by_kind == ActorKind.INTEGRATION))
        .values_list("pk", "name")
    )
    people = user_names(
        _ids(
            person
            for run in runs
            for person in (run.on_behalf_of, run.started_by_id if run.started_by_kind == ActorKind.USER else "")
        )
    )
    return {run.pk: _starter(run, keys, people) for run in runs}


def _starter(run: Run, keys: dict[UUID, str], people: dict[UUID, str]) -> Starter:
    person, by = _named(people, run.on_behalf_of), run.started_by_id
    match run.started_by_kind:
        case ActorKind.USER:
            return Starter(_named(people, by) or "a person who is not known here")
        case ActorKind.INTEGRATION:
            owner = f"key of {person}" if person else "a key"
            return Starter(_named(keys, by) or "an integration", owner)
        case kind:
            # The system signs with its name; an agent's is its slug in the log, and its person answers for it.
            return Starter(by, f"{kind}, for {person}" if person else str(kind))


def _named(names: dict[UUID, str], text: str) -> str:
    found = _id(text)
    return names.get(found, "") if found else ""


def _ids(texts: Iterable[str]) -> list[UUID]:
    return [found for text in texts if (found := _id(text))]


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
