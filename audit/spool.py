"""What is handed out is whole, on this host, before its first byte leaves: a failure in the middle is an error, not half a file."""

import tempfile
from collections.abc import Callable
from typing import IO, cast

IN_MEMORY_BYTES = 8 * 1024 * 1024


def spooled(write: Callable[[IO[bytes]], object]) -> IO[bytes]:
    """A file without a name that holds what `write` wrote, ready to be read. Whoever sends it closes it."""
    file = cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES))  # noqa: SIM115  the response's
    try:
        write(file)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file
