#!/usr/bin/env python3
"""The one entry: sets itself up on a bare machine, then runs the command. Start with `./manage.py up`."""

import os
import shutil
import sys

OLDEST_PYTHON = (3, 11)
# What a shell says of a process that ended by Ctrl-C.
INTERRUPTED = 130
NEWER_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")


def main() -> None:
    """Check the interpreter before anything else: the rest of the code does not even parse on an older one."""
    if sys.version_info < OLDEST_PYTHON:
        start_again_with_newer_python()
    # Imported only now, for the same reason.
    from provenance import bootstrap  # noqa: PLC0415  see above

    bootstrap.enter(sys.argv[1:])
    from provenance import cli  # noqa: PLC0415  needs the environment that enter() provides

    sys.exit(cli.main(sys.argv[1:]))


def start_again_with_newer_python() -> None:
    """Replace this process by one with a Python that is new enough, or say which one to install."""
    for name in NEWER_PYTHONS:
        newer = shutil.which(name)
        if newer:
            os.execv(newer, [newer, *sys.argv])  # noqa: S606  no shell is wanted
    sys.exit("Provenance needs Python 3.11 or newer; this is {}.{}. Install python3.11.".format(*sys.version_info))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
