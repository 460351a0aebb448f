"""Statements that are said often are planned once for a connection: prepared by SQL, then said by their names (decision 0016)."""

import hashlib

from psycopg import pq

_MOST = 200
"""So many statements does a connection keep. Each takes some ten kilobytes of the server."""
_LONGEST = 1_000
"""So long is one of them at most. What stores many rows is another statement for each number of them, and takes megabytes."""
_OUTDATED = ("0A", "22", "26", "42")
"""Classes of what Postgres says to a statement that it knows no longer (26), whose answer would have other columns than
then (0A), or whose parameters have another type now (22, 42). Whatever else is of these classes is planned once more."""


class Ready:
    """What the server's process keeps for one connection. For statements with `%s` and no other percent sign."""

    def __init__(self) -> None:
        # The name under which the server knows each statement; empty while it does not.
        self._names: dict[str, str] = {}
        self._met_again: set[str] = set()

    def said(self, statement: str) -> str:
        """How to say it, with the same parameters. From its second time on it waits for `prepare`."""
        name = self._names.get(statement)
        if name:
            places = ", ".join(["%s"] * statement.count("%s"))
            return f"EXECUTE {name}({places})" if places else f"EXECUTE {name}"
        if name is not None:
            self._met_again.add(statement)
        elif len(statement) <= _LONGEST and self._is_room():
            self._names[statement] = ""
        return statement

    @property
    def is_due(self) -> bool:
        """Whether `prepare` has anything to do."""
        return bool(self._met_again)

    def prepare(self, server: pq.abc.PGconn) -> None:
        """Have the server remember what was met again. For outside of transactions, where a refusal takes nothing along."""
        if not any(self._names.values()):
            # What it still keeps was forgotten here.
            server.exec_(b"DEALLOCATE ALL")
        for statement in self._met_again:
            # A name that only this text has: nowhere is it another statement's.
            name = f"ready_{hashlib.sha256(statement.encode()).hexdigest()[:32]}"
            first, *others = statement.split("%s")
            text = "".join([first, *(f"${place}{other}" for place, other in enumerate(others, start=1))])
            answer = server.exec_(f"PREPARE {name} AS {text}".encode())
            # One that is refused goes on as it is, and says itself why.
            if answer.status == pq.ExecStatus.COMMAND_OK:
                self._names[statement] = name
        self._met_again.clear()

    def note_refusal(self, sqlstate: str) -> None:
        """Something was refused: forget everything where that may be the reason, so that it happens once."""
        if sqlstate.startswith(_OUTDATED):
            self.forget()

    def forget(self) -> None:
        """Plan everything anew."""
        self._names.clear()
        self._met_again.clear()

    def _is_room(self) -> bool:
        if len(self._names) >= _MOST:
            # What was said once makes room for what may be said again.
            self._names = {statement: name for statement, name in self._names.items() if name}
        return len(self._names) < _MOST
