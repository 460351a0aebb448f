"""Events as files on the host: each batch is one file that is there whole or not at all."""

import os
from pathlib import Path
from uuid import UUID

from django.conf import settings

from streams.rendering import Batch


class NoDirectory(Exception):
    """The host names no directory for streams."""


def place(workspace_id: UUID, address: str) -> Path:
    """The directory of a receiver: below the host's own, and apart from every other workspace's."""
    root = settings.STREAMS_DIRECTORY
    if not root:
        raise NoDirectory("This installation writes no streams to files: STREAMS_DIRECTORY is not set.")
    return Path(root) / str(workspace_id) / address


def write(directory: Path, batch: Batch, text: str) -> None:
    """Write the batch under its name and return once it is on the disk. A repeat replaces the same bytes. Raises OSError."""
    path = directory / batch.name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    opened = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
