"""Playing steps in order, each measured, and the table that says how they went."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


class StoryFails(Exception):
    """A step did not go as the story says; the text says what was seen instead."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One step of the story: its name, and what plays it and says in a few words what was seen."""

    name: str
    play: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one step went."""

    name: str
    passed: bool
    seen: str
    milliseconds: int


def play(scenes: Sequence[Scene], said: Callable[[Outcome], None]) -> list[Outcome]:
    """Play the scenes until one fails; `said` is told each outcome as it is known."""
    outcomes = []
    for scene in scenes:
        outcome = _played(scene)
        outcomes.append(outcome)
        said(outcome)
        if not outcome.passed:
            break
    return outcomes


def _played(scene: Scene) -> Outcome:
    started = time.monotonic()
    try:
        seen, passed = scene.play(), True
    except StoryFails as failure:
        seen, passed = str(failure), False
    except Exception as error:  # noqa: BLE001  whatever goes wrong in a scene is that scene's outcome, not a traceback
        seen, passed = f"{type(error).__name__}: {error}", False
    return Outcome(scene.name, passed, seen, round((time.monotonic() - started) * 1000))


def line(outcome: Outcome, *, width: int) -> str:
    """One row of the table."""
    mark = "ok  " if outcome.passed else "FAIL"
    return f"{mark}  {outcome.name:<{width}}  {outcome.milliseconds:>6} ms  {outcome.seen}"


def demand(condition: object, sentence: str) -> None:
    """Raise `StoryFails` with the sentence unless the condition holds."""
    if not condition:
        raise StoryFails(sentence)
