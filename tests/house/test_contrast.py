"""Contrast of the tokens, both themes: 4.5 for text, 3 for the edges of controls (WCAG 2.2, 1.4.3 and 1.4.11)."""

import re
from pathlib import Path

import pytest

TOKENS = (Path(__file__).resolve().parents[2] / "static/css/tokens.css").read_text()
COLORS = {
    token: pair for token, *pair in re.findall(r"--([\w-]+):\s*light-dark\((#[0-9a-f]{6}),\s*(#[0-9a-f]{6})\)", TOKENS)
}
GROUNDS = ["canvas", "surface", "raised", "sunken", "hover", "selected"]
TONES = ["emerald", "slate", "amber", "rose"]
TEXT_PAIRS = (
    [(text, ground) for text in ("text", "text-2", "muted") for ground in GROUNDS]
    + [(text, f"{tone}-soft") for text in ("text", "text-2") for tone in TONES]
    + [("text", mark) for mark in ("add-bg", "del-bg", "add-mark", "del-mark")]
    + [("muted", "emerald-soft"), ("muted", "del-bg")]
    + [("accent", ground) for ground in ("canvas", "surface", "raised", "sunken", "selected", "accent-soft")]
    + [(tone, ground) for tone in TONES for ground in ("canvas", "surface", "selected", f"{tone}-soft")]
    + [("on-ink", "ink"), ("on-rose", "rose-solid")]
)
EDGE_PAIRS = [
    ("control-line", "surface"),
    ("control-line", "canvas"),
    *[("focus", ground) for ground in GROUNDS[:3]],
] + [(f"{tone}-solid", "surface") for tone in [*TONES, "accent"]]


def luminance(color):
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("pair", "bar"),
    [(pair, 4.5) for pair in TEXT_PAIRS] + [(pair, 3) for pair in EDGE_PAIRS],
    ids=lambda value: " on ".join(value) if isinstance(value, tuple) else None,
)
def test_pair_can_be_read(pair, bar, theme):
    front, ground = (COLORS[token][theme] for token in pair)
    assert contrast(front, ground) >= bar


def test_formula_is_that_of_wcag():
    assert round(contrast("#000000", "#ffffff"), 1) == 21.0
    assert round(contrast("#777777", "#ffffff"), 2) == 4.48
