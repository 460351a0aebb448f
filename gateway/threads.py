"""Work on what strangers sent, away from the event loop: however long it takes, the other calls go on."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Not the loop's own threads: those resolve names and open connections, and a heavy answer must not take them all.
_READERS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="gateway-reader")


async def off_loop(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of pure work on plain values. The work may not touch a database: it has no workspace entered."""
    return await asyncio.get_running_loop().run_in_executor(_READERS, lambda: work(*args, **kwargs))
