"""Characters by which a text reads as what it is not: invisible ones, and letters of one script in a word of another.

The idea is that of Unicode TR39: a word of one script is fine, whichever script it is, and `paypal` with one Cyrillic
letter is not. Not found is what only a dictionary could tell: a whole word of look-alikes in one other script, and Latin
letters that resemble other Latin letters. Pure.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple


class Oddity(StrEnum):
    """What is odd about a character, as people call it."""

    NONE = ""
    HIDDEN = "hidden character"
    FOREIGN = "letter of another script"


class Piece(NamedTuple):
    """A part of a text: a stretch of ordinary characters, or one odd one."""

    text: str
    oddity: Oddity


_ORDINARY = re.compile(r"[\n\t\x20-\x7e]*")
_INVISIBLE = {"Cf", "Cc", "Co", "Cs", "Zl", "Zp"}
# Shown as nothing, or as a blank, though Unicode counts them as letters, marks, symbols or not at all.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U0001d159\U000e0000-\U000e0fff]"
)
_JOINERS = "\u200c\u200d"
# Where joiners are spelling: Persian and most scripts of South Asia cannot be written without them.
_JOINING = {"ARABIC", "SYRIAC", "BENGALI", "DEVANAGARI", "GUJARATI", "GURMUKHI", "KANNADA", "MALAYALAM", "MONGOLIAN"}
_JOINING |= {"ORIYA", "SINHALA", "TAMIL", "TELUGU"}
# Written without spaces, and so with words of other scripts inside: they neither make a word nor mix with one.
_UNSPACED = {"CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "HALFWIDTH", "HANGUL", "BOPOMOFO"}
_UNSPACED |= {"THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"}
_SIGNS = {"MICRO", "FEMININE", "MASCULINE"}  # the letters of µg, 1ª and Nº
# Latin and Greek over again in other styles: a whole word of them reads as the plain one.
_STYLED = {"MATHEMATICAL"}
_LATIN, _ASCII_ZERO = "LATIN", ord("0")
# `4,000` and `4 000` are one number: separators part its digits, and a space does before three of them.
_NUMBER = re.compile(r"\d+(?:(?:[.,:/'\u2019\u066b\u066c-]|[ \u00a0\u202f](?=\d{3}(?!\d)))\d+)*")


def pieces(text: str) -> Iterator[Piece]:
    """The whole text in order, each odd character as a piece of its own."""
    start = 0
    for place, oddity in sorted(_odd_places(text).items()):
        if start < place:
            yield Piece(text[start:place], Oddity.NONE)
        yield Piece(text[place], oddity)
        start = place + 1
    if start < len(text):
        yield Piece(text[start:], Oddity.NONE)


def counts(text: str) -> dict[Oddity, int]:
    """How many characters of each kind are odd; empty for a text that is what it looks like."""
    return dict(Counter(_odd_places(text).values()))


def _odd_places(text: str) -> dict[int, Oddity]:
    if _ORDINARY.fullmatch(text):
        return {}
    hidden = {place for place in range(len(text)) if _is_hidden(text, place)}
    foreign = {place for word in _words(text, hidden) for place in _foreign(text, word)} | _foreign_digits(text)
    return dict.fromkeys(foreign - hidden, Oddity.FOREIGN) | dict.fromkeys(hidden, Oddity.HIDDEN)


def _is_hidden(text: str, place: int) -> bool:
    character = text[place]
    if _ORDINARY.fullmatch(character):
        return False
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    if character in _JOINERS:
        return not (_joins(before, after) or _is_emoji(before, after))
    if character in "\ufe0e\ufe0f":  # as text or as emoji: ❤️
        return not (unicodedata.category(before or " ") == "So" or after == "\u20e3")
    return unicodedata.category(character) in _INVISIBLE or bool(_BLANK.match(character))


def _joins(before: str, after: str) -> bool:
    return bool(before and after) and _name(before) == _name(after) and _name(before) in _JOINING


def _is_emoji(before: str, after: str) -> bool:
    """Whether a joiner between these makes one picture of several."""
    return (
        unicodedata.category(after or " ") == "So"
        and unicodedata.category(before or " ") in {"So", "Sk", "Mn"}
        and not before.isalpha()
    )


def _words(text: str, hidden: set[int]) -> Iterator[list[int]]:
    """The places of each word. A hidden character parts nothing: the eye does not see it."""

    def in_word(place: int) -> bool:
        return place in hidden or text[place] == "_" or unicodedata.category(text[place])[0] in "LMN"

    return (list(places) for is_word, places in groupby(range(len(text)), in_word) if is_word)


def _foreign(text: str, word: list[int]) -> Iterator[int]:
    """The places of a word whose script is not that of most of its letters; Latin when there are as many of both."""
    scripts = {place: script for place in word if (script := _script(text[place]))}
    counted = Counter(scripts.values())
    if not counted.keys() - {_LATIN}:
        return
    main = max(counted, key=lambda script: (script not in _STYLED, counted[script], script == _LATIN))
    yield from (place for place, script in scripts.items() if script != main or script in _STYLED)


def _foreign_digits(text: str) -> set[int]:
    """The places of digits in a number that also has digits of another system, ASCII before all. Bengali 4 looks like 8."""
    foreign: set[int] = set()
    for number in _NUMBER.finditer(text):
        zeros = {place: _zero(text[place]) for place in range(*number.span()) if text[place].isdecimal()}
        if len(systems := Counter(zeros.values())) > 1:
            main = max(systems, key=lambda zero: (zero == _ASCII_ZERO, systems[zero]))
            foreign |= {place for place, zero in zeros.items() if zero != main}
    return foreign


def _zero(digit: str) -> int:
    return ord(digit) - unicodedata.decimal(digit)


@lru_cache(maxsize=8192)
def _script(character: str) -> str:
    """The script of a letter or digit; "" for what belongs to all of them and so mixes with none."""
    if character.isascii():
        return _LATIN if character.isalpha() else ""
    if unicodedata.category(character) not in {"Lu", "Ll", "Lt", "Lo", "Nl", "Nd"}:
        return ""
    name = _name(character)
    return "" if name in _UNSPACED | _SIGNS else name


def _name(character: str) -> str:
    """The first word of a character's name, which is its script: `CYRILLIC SMALL LETTER A`."""
    first = re.split("[ -]", unicodedata.name(character, ""), maxsplit=1)[0]
    return "ARABIC" if first == "EXTENDED" else first  # EXTENDED ARABIC-INDIC DIGIT: those of Persian
