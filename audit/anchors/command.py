"""A place that a command of the operator's stands for: a Git repository, a witness of their own, a printer."""

import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from audit.anchors import AnchorFailed, is_of_instance

COMMAND_SECONDS = 30


@dataclass(slots=True)
class CommandAnchor:
    """A command of the operator's that gets the newest note of the instance log on its standard input, once a minute.

    That one holds the newest checkpoint of every workspace. What the command keeps cannot be read again.
    """

    command: str
    name: str = "command"
    every_seconds: float = 60.0

    @property
    def where(self) -> str:
        """The program, without its arguments."""
        return shlex.split(self.command)[0]

    def carry(self, notes: Mapping[str, str]) -> None:
        """Run the command, if there is a note of the instance log."""
        for note in (note for origin, note in notes.items() if is_of_instance(origin)):
            try:
                done = subprocess.run(
                    shlex.split(self.command),
                    input=note.encode(),
                    capture_output=True,
                    timeout=COMMAND_SECONDS,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as problem:
                raise AnchorFailed(f"{self.where} cannot be run: {problem}") from problem
            if done.returncode:
                said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
                raise AnchorFailed(f"{self.where} ended with {done.returncode}: {said[0][:200]}")
