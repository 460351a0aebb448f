"""Many clients at once: processes with a few connections each, so that Python's lock is not what is measured."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from bench.ground import cpu_seconds

PROCESSES = 4
READY_SECONDS = 60

Statement = tuple[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Client:
    """One connection's work: each entry is a transaction, sent in one round trip.

    The first `warm` of them are not measured: connections of processes live long, and what a new one looks up and
    compiles would be most of a short round. `before`: a statement for the session.
    """

    url: str
    transactions: list[list[Statement]]
    options: str = ""
    before: str = ""
    warm: int = 20
    send: Callable[[psycopg.Connection[Any], Sequence[Statement]], None] | None = None

    @property
    def measured(self) -> int:
        """How many transactions count."""
        return len(self.transactions) - self.warm


def run(clients: Sequence[Client]) -> dict[str, float]:
    """Let all of them work at the same time; transactions a second, and the servers' processor time for each."""
    context = multiprocessing.get_context("fork")
    groups = [list(clients[number::PROCESSES]) for number in range(min(PROCESSES, len(clients)))]
    barrier = context.Barrier(len(clients) + 1)
    answers = context.Queue()
    workers = [context.Process(target=_work, args=(group, barrier, answers)) for group in groups]
    for worker in workers:
        worker.start()
    barrier.wait(READY_SECONDS)
    found = [answers.get(timeout=600) for _ in clients]
    for worker in workers:
        worker.join()
    if failures := [failure for _begun, _ended, _cpu, failure in found if failure]:
        raise RuntimeError(failures[0])
    count = sum(client.measured for client in clients)
    seconds = max(ended for _, ended, _, _ in found) - min(begun for begun, _, _, _ in found)
    return {"rate": count / seconds, "server_us": sum(cpu for _, _, cpu, _ in found) / count * 1e6}


def _work(clients: Sequence[Client], barrier: Any, answers: Any) -> None:
    threads = [threading.Thread(target=_client, args=(client, barrier, answers)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _client(client: Client, barrier: Any, answers: Any) -> None:
    try:
        with psycopg.connect(client.url, autocommit=True, options=client.options) as connection:
            if client.before:
                connection.execute(client.before)
            send = client.send or in_one_round_trip
            for statements in client.transactions[: client.warm]:
                send(connection, statements)
            barrier.wait(READY_SECONDS)
            server = connection.info.backend_pid
            before, begun = cpu_seconds(server), time.monotonic()
            for statements in client.transactions[client.warm :]:
                send(connection, statements)
            answers.put((begun, time.monotonic(), cpu_seconds(server) - before, ""))
    except (psycopg.Error, threading.BrokenBarrierError) as failure:
        barrier.abort()
        answers.put((0.0, 0.0, 0.0, f"{type(failure).__name__}: {failure}"))


def in_one_round_trip(connection: psycopg.Connection[Any], statements: Sequence[Statement]) -> None:
    """A transaction without waiting in between, as the fold of BEGIN and scope does it in the application."""
    if len(statements) == 1:
        connection.execute(*statements[0], prepare=True)
        return
    with connection.pipeline(), connection.transaction():
        for statement, parameters in statements:
            connection.execute(statement, parameters, prepare=True)
