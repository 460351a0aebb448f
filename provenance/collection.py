"""Python's garbage collector, put aside where it would look at millions of rows in vain."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Rows hold no cycles, and Python's collector would look at all of them again and again: a quarter to a
    third of the work.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
