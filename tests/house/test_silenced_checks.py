"""A check that is silenced says why on its line, so that the next reader can tell whether it still holds."""

import re
import subprocess

from provenance.home import CHECKOUT

# Composed, so that this file is not what it looks for.
SILENCED = re.compile(r"# (?:no" r"qa|type: " r"ignore)\b(.*)")
REASONED = re.compile(r": [A-Z0-9]+(?:, [A-Z0-9]+)*  \S|\[[a-z-]+(?:, ?[a-z-]+)*\]  # \S")


def test_every_silenced_check_names_its_rule_and_its_reason():
    sources = subprocess.run(["git", "ls-files", "*.py"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    lines = [
        (f"{name}:{number}", line)
        for name in sources.stdout.split()
        if (CHECKOUT / name).exists()
        for number, line in enumerate((CHECKOUT / name).read_text("utf-8").splitlines(), start=1)
    ]
    silenced = [(place, found[1]) for place, line in lines if (found := SILENCED.search(line))]
    assert len(silenced) > 10
    assert [place for place, rest in silenced if not REASONED.match(rest)] == []
