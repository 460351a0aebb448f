"""How a process that saves is asked, ours and the peers' alike: a line of standard input, and a line of what it cost."""

import json
import sys
import time
from collections.abc import Callable, Iterator


def questions() -> Iterator[list[str]]:
    """The words of each line, until standard input ends."""
    for line in sys.stdin:
        yield line.split()


def answer(count: int, work: Callable[[int], None], server: int) -> None:
    """Do it `count` times and tell the rate and the processor time of both sides; `server` is the backend's process."""
    begun, client, cpu = time.monotonic(), time.process_time(), cpu_seconds(server)
    for number in range(count):
        work(number)
    told = {
        "rate": count / (time.monotonic() - begun),
        "client_us": (time.process_time() - client) / count * 1e6,
        "server_us": (cpu_seconds(server) - cpu) / count * 1e6,
    }
    print(json.dumps(told), flush=True)


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processor, on Linux to the nanosecond: the clock that the kernel keeps for it."""
    return time.clock_gettime((~pid << 3) | 2)
