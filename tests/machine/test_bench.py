"""The machinery of `./manage.py bench`: what it makes of measurements. What it measures is never asserted."""

import json
import subprocess
import sys

from bench import figures
from bench.figures import Figure, Goal, interleaved, keep, median, ratio, table
from provenance.home import CHECKOUT


def test_rounds_alternate_and_the_middle_one_counts():
    order, values = [], iter([10.0, 1.0, 2.0, 30.0, 20.0, 3.0])

    def measured(name):
        order.append(name)
        return {"us": next(values)}

    found = interleaved({"ours": lambda: measured("ours"), "limit": lambda: measured("limit")}, rounds=3)
    assert order == ["ours", "limit", "limit", "ours", "ours", "limit"]
    assert (median(found["ours"], "us"), median(found["limit"], "us")) == (20.0, 2.0)
    assert ratio(found["ours"], found["limit"], "us") == 10.0


def test_a_figure_is_kept_with_limit_peers_and_goal(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "OUT", tmp_path)
    met = Figure(
        name="insert",
        value=9.0,
        unit="/s",
        limit=10.0,
        peers={"chain": 1.0},
        ratio=0.9,
        goal=Goal(kind="least", bound=0.9),
    )
    missed = Figure(name="wait", value=1.5, unit="s", goal=Goal(kind="most", bound=1, of_value=True))
    without = Figure(name="cost", value=3.0, unit="us")
    kept = json.loads(keep("area", [met, missed, without]).read_text())
    assert [(each["name"], each["goal"], each["met"]) for each in kept] == [
        ("insert", ">= 0.9 x", True),
        ("wait", "<= 1", False),
        ("cost", "", None),
    ]
    assert set(kept[0]) >= {"name", "value", "unit", "limit", "peers", "ratio", "goal", "met"}
    lines = table([met, missed, without]).splitlines()
    assert "met" in lines[1]
    assert "chain 1" in lines[1]
    assert "MISSED" in lines[2]


def test_a_goal_without_its_ratio_is_missed():
    assert not Goal(kind="least", bound=0).is_met(1.0, None)


def test_an_area_that_there_is_not_is_named_without_starting_anything():
    said = refused("nonsense")
    assert "invalid choice: 'nonsense'" in said
    assert "audit-tamper" in said


def test_a_count_is_refused_where_parts_have_sizes_of_their_own():
    assert "--count is for audit-alarms, audit-search, audit-tamper, audit-verify" in refused("audit", "--count", "5")


def refused(*words):
    """What `bench` says of a command that it does not take."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    return done.stderr
