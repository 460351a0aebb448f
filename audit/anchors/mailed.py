"""Checkpoints by mail to an auditor, once a day: what stands in somebody else's mailbox, nobody here takes back."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from audit.anchors import AnchorFailed, is_of_instance, text_of
from audit.notes import Checkpoint
from provenance.mail import Mail, MailRefused, send

DAY = 86_400.0

_TEXT = """\
These are the checkpoints that the audit log published last: first that of the log of logs, which holds all others, then
those of workspaces. Keep this mail. It lets you show later that nothing logged until now was changed, taken out or set
back: save the lines of one checkpoint, from its name to its last signature, as a text file older.note, get a bundle of that
log, and run

    python -I verify.py bundle.zip --key log.pub --since older.note

"""


@dataclass(slots=True)
class AuditorMail:
    """The newest note of every log to each of these addresses, through the host's mail relay."""

    relay_url: str
    sender: str
    to: Sequence[str]
    name: str = "mail"
    every_seconds: float = DAY
    # When each of them got it last (monotonic): that one address is refused must not mail the others again.
    _reached: dict[str, float] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """To how many; the addresses of people do not belong into events and pages."""
        return f"{len(self.to)} address{'es' if len(self.to) > 1 else ''}"

    def carry(self, notes: Mapping[str, str]) -> None:
        """Mail them. Raises `AnchorFailed` when the relay does not take it for everybody."""
        first = sorted(notes.items(), key=lambda item: (not is_of_instance(item[0]), item[0]))
        if not first or not is_of_instance(first[0][0]):
            return
        checkpoint = Checkpoint.parse(text_of(first[0][1]))
        text = _TEXT + "\n\n".join(f"----- {origin}\n\n{note}" for origin, note in first)
        problems = []
        for number, address in enumerate(self.to, start=1):
            if time.monotonic() - self._reached.get(address, float("-inf")) < self.every_seconds / 2:
                continue
            mail = Mail(
                id=f"checkpoint-{checkpoint.root.hex()[:32]}-{number}",
                sender=self.sender,
                to=[address],
                subject=f"Checkpoint of {checkpoint.origin} at {checkpoint.size}",
                text=text,
            )
            try:
                send(self.relay_url, mail)
            except MailRefused as problem:
                problems.append(f"address {number} of {len(self.to)}: {problem}".removesuffix("."))
            else:
                self._reached[address] = time.monotonic()
        if problems:
            raise AnchorFailed("; ".join(problems))
