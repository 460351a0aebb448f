"""Characters and markup that a model reads and a person does not see: removed and counted.

Covers zero-width and bidirectional controls, tag characters, variation selectors, soft hyphens, control characters,
terminal escape sequences (also hyperlinks) and HTML comments. Joiners stay where scripts and emoji need them.
"""

import re

# Bounded repetitions and no nesting: linear on any text.
_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)?"  # OSC, with OSC 8 hyperlinks
    r"|[\x1b\x9b]\[?[0-9;:?]{0,64}[ -/]{0,8}[@-~]?"  # CSI and the short forms
)
_SEEN_BY_NOBODY = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_SELECTORS = re.compile("[\ufe00-\ufe0f\u200c\u200d]")
_COMMENT_START, _COMMENT_END = "<!--", "-->"
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


def strip(text: str) -> tuple[str, int]:
    """The text without what nobody sees, and how many pieces were removed."""
    if text.isascii() and text.isprintable() and _COMMENT_START not in text:
        return text, 0
    text, escapes = _ESCAPES.subn("", text)
    text, controls = _SEEN_BY_NOBODY.subn("", text)
    text, surrogates = _LONE_SURROGATES.subn("\ufffd", text)
    text, selectors = _strip_selectors(text)
    text, comments = _strip_comments(text)
    return text, escapes + controls + surrogates + selectors + comments


def _strip_selectors(text: str) -> tuple[str, int]:
    """Joiners and variation selectors stay only right after a letter or symbol beyond Latin, one at a time."""
    removed = 0

    def judge(match: re.Match[str]) -> str:
        nonlocal removed
        before = text[match.start() - 1] if match.start() else ""
        if before >= "\u0590" and not _SELECTORS.match(before):
            return match.group()
        if before == "\ufe0f" and match.group() == "\u200d":  # the joined emoji: heart, selector, joiner, fire
            return match.group()
        removed += 1
        return ""

    return _SELECTORS.sub(judge, text), removed


def _strip_comments(text: str) -> tuple[str, int]:
    """Cut HTML comments; one that never ends hides the rest, so the rest goes with it."""
    if _COMMENT_START not in text:
        return text, 0
    kept, removed, position = [], 0, 0
    while (start := text.find(_COMMENT_START, position)) >= 0:
        kept.append(text[position:start])
        removed += 1
        end = text.find(_COMMENT_END, start + len(_COMMENT_START))
        if end < 0:
            return "".join(kept), removed
        position = end + len(_COMMENT_END)
    return "".join([*kept, text[position:]]), removed
