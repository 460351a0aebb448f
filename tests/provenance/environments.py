"""Settings as a process of its own reads them from an environment, and keys to put into one."""

import json
import secrets
import subprocess
import sys
from base64 import b64encode

from provenance.home import CHECKOUT


def load(home, expression="'loaded'", **environ):
    """What a process with this environment says of its settings, or what stopped it."""
    code = f"from provenance import settings; print(({expression}))"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=CHECKOUT,
        env={"PATH": "/usr/bin:/bin", "PROVENANCE_HOME": str(home), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


_SEVERAL = """
import json, os, runpy, sys
for environ in json.load(sys.stdin):
    os.environ.update(environ)
    errors = ""
    try:
        said = repr(runpy.run_module("provenance.settings"))
    except SystemExit as stopped:
        said, errors = "", str(stopped)
    for name in environ:
        del os.environ[name]
    print(json.dumps({"settings": said, "stopped": errors}))
"""


def load_several(*environs):
    """The same for many environments in one process: what settings say of themselves, or what stopped the start."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SEVERAL],
        cwd=CHECKOUT,
        env={"PATH": "/usr/bin:/bin"},
        input=json.dumps(environs),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def key(raw=None):
    """A key as the environment and files have it: these bytes, or random ones."""
    return b64encode(raw or secrets.token_bytes(32)).decode()
