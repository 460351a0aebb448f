"""Where the names of fields stand in text, however they are spelled. Every search is linear in the text.

A field is meant by its letters and digits: `billing_address` also covers `billingAddress`, `Billing-Address`, the plural,
names that hold it (`customer.billing_address`, `billingAddressLine1`) and letters that only look like Latin ones.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from provenance.dlp.readings import spelled_out

# Letters of other scripts that a reader takes for Latin ones; accents, widths and styles are folded by Unicode itself.
_LIKE_LATIN = dict(
    zip(
        "авеэзіјкмнорсԁѕтухһԛԝԍьуАВЕНІЈКМОРЅСТХУҮαβγεικνορτυχηωΑΒΕΖΗΙΚΜΝΟΡΤΥΧıɑɡɩʋℓ",
        "abeezijkmhopcdstyxhqwgbyABEHIJKMOPSCTXYYabyeikvoptuxnwABEZHIKMNOPTYXiagivl",
        strict=True,
    )
)
_STYLED = [*range(0x80, 0x2000), *range(0x2100, 0x2200), *range(0xFF01, 0xFF5F), *range(0x1D400, 0x1D800)]
# Words of a name may stand this far apart, letters of a word one separator.
_BETWEEN_WORDS, _BETWEEN_LETTERS = r"[\W_]{0,3}", r"[\s_.-]?"
_STARTS = r"(?:(?<![^\W\d_])|(?-i:(?<=[a-z])(?=[A-Z])))"
_ENDS = r"(?:e?s)?(?:(?![^\W\d_])|(?-i:(?<=[a-z])(?=[A-Z])))"
_IS_KEY = r"[\"'*`_\\]{0,6}[^\S\r\n]{0,16}(?:[:=]>?|->)"
_LINE_END = re.compile(r"\\[bfnrtv]")


class Names:
    """The names that one policy withholds."""

    def __init__(self, fields: Iterable[str]) -> None:
        self._fields = [field for field in fields if any(c.isalnum() for c in field)]
        any_name = "|".join(f"(?P<f{i}>{_spellings(field)})" for i, field in enumerate(self._fields)) or "(?!)"
        in_words = "|".join(" ".join(map(re.escape, _words(field))) for field in self._fields) or "(?!)"
        self._name = re.compile(f"{_STARTS}(?:{any_name}){_ENDS}", re.IGNORECASE)
        self._key = re.compile(f"{_STARTS}(?:{any_name}){_ENDS}{_IS_KEY}", re.IGNORECASE)
        self._in_sentence = re.compile(rf"(?<=[a-z,;] )(?:{in_words})(?:e?s)?(?= [a-z]|[.,;!?](?:\s|$))", re.IGNORECASE)

    def __bool__(self) -> bool:
        return bool(self._fields)

    def found(self, text: str) -> str | None:
        """The first field whose name stands anywhere in the text, escaped or not."""
        match = self._name.search(fold(text)) or (_may_hide(text) and self._name.search(_spelled_out(text)))
        return self._field(match) if match else None

    def keys(self, folded: str) -> Iterator[tuple[int, int, str]]:
        """Each name that is used as a key: quoted or not, then a colon, an equals sign or an arrow.

        Start of the name, start of what follows, and the field. The text must be folded.
        """
        return ((match.start(), match.end(), self._field(match)) for match in self._key.finditer(folded))

    def without_sentences(self, text: str) -> str:
        """The folded text without the names that are words of a sentence: "asked for the billing address of"."""
        return self._in_sentence.sub("", fold(text))

    def _field(self, match: re.Match[str]) -> str:
        return self._fields[int((match.lastgroup or "f0")[1:])]


def fold(text: str) -> str:
    """The text in plain Latin letters where it looks like them, character by character: places stay the same."""
    return text if text.isascii() else text.translate(_FOLDED)


def _spellings(field: str) -> str:
    return _BETWEEN_WORDS.join(_BETWEEN_LETTERS.join(map(re.escape, word)) for word in _words(field))


def _words(field: str) -> list[str]:
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", _plain(field))
    return re.findall(r"[^\W_]+", parted)


def _plain(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text)
    return fold("".join(c for c in parts if not unicodedata.combining(c)))


def _may_hide(text: str) -> bool:
    return not text.isascii() or any(sign in text for sign in "\\%&")


def _spelled_out(text: str) -> str:
    return _plain(_LINE_END.sub("\n", spelled_out(text)).replace("\\", ""))


def _folded() -> dict[int, str]:
    table = {}
    for point in _STYLED:
        letter = "".join(c for c in unicodedata.normalize("NFKD", chr(point)) if not unicodedata.combining(c))
        if len(letter) == 1:
            table[point] = letter
    return table | {ord(letter): latin for letter, latin in _LIKE_LATIN.items()}


_FOLDED = _folded()
