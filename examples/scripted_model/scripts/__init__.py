"""The scripts, and which of them a task is for."""

from collections.abc import Callable
from dataclasses import dataclass

from examples.scripted_model.scripts import account_research, obeys, vendor_terms
from examples.scripted_model.transcript import Answer, Transcript, Turn


@dataclass(frozen=True)
class Script:
    """One behaviour. `words` of a task speak for it."""

    name: str
    words: tuple[str, ...]
    next_turn: Callable[[Transcript], Turn]


SCRIPTS = (
    Script("vendor terms review", vendor_terms.WORDS, vendor_terms.next_turn),
    Script("account research", account_research.WORDS, account_research.next_turn),
)


def next_turn(transcript: Transcript, *, obedient: bool) -> Turn:
    """What the scripted model does now. An obedient one first does what any text it was shown tells it to do."""
    if obedient and (orders := obeys.orders(transcript)):
        return orders
    script = choose(transcript)
    if script is None:
        names = " and ".join(script.name for script in SCRIPTS)
        text = f"This is a scripted model. It knows {names}, and this task is neither."
        return Answer({"rationale": text, "confidence": "0.00"}, text)
    return script.next_turn(transcript)


def choose(transcript: Transcript) -> Script | None:
    """The script most of whose words stand in instructions and task; None when no word does."""
    said = f"{transcript.instructions}\n{transcript.task}".lower()
    best = max(SCRIPTS, key=lambda script: sum(word in said for word in script.words))
    return best if any(word in said for word in best.words) else None
