"""Words that are not what they look like are found, and ordinary text of every script is left alone (T05, T08, U20)."""

# ruff: noqa: RUF001  letters that look alike are what is tested

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.lookalikes import Oddity, counts, pieces

ORDINARY = {
    "Latin with accents": "Señor Łukasz Müller reçoit 1ª y Nº 5, 10 µg, naïve co\u0301digo",
    "Russian": "Изменить условия оплаты: 30 дней, ГОСТ-2015, IT-компания, USB 3.0",
    "Ukrainian": "п'ять об’єктів, пʼять Їжаків",
    "Greek": "Αλλαγή όρων πληρωμής, 2026-12-01",
    "Arabic": "تغيير شروط الدفع ١٢٣٬٤٥٦",
    "Persian with joiners": "می\u200cخواهم ۱۲۳ صفحه۱",
    "Hebrew": "שינוי תנאי תשלום עם Google ו-PayPal",
    "Hindi with joiners": "हिन्दी क्\u200dष, 2026",
    "Bengali digits": "৪ ডিসেম্বর, ৪২৩ টাকা",
    "Tamil": "கட்டண விதிமுறைகள்",
    "Thai with a name inside": "จ่ายด้วยPayPalทันที",
    "Japanese with Latin": "Tシャツ、AIモデル、第１章、ＡＢＣ株式会社、β版",
    "Chinese": "付款条件改为60天，A股",
    "Korean": "PayPal은 결제 조건을 변경합니다",
    "Georgian": "გადახდის პირობები",
    "Armenian": "Վճարման պայմաններ",
    "Emoji": "❤️ 👩\u200d💻 👍🏽 1️⃣ 🏳️\u200d🌈",
    "code": "payment_terms=NET60; user.имя → x²",
    "lines": "one\n\ttwo",
}
MARKED = {
    "Cyrillic a in paypal": ("p\u0430ypal", "U+0430"),
    "Latin letter in a Russian word": ("М\u0061сква", "U+0061"),
    "Greek omicron": ("micr\u03bfsoft.com", "U+03BF"),
    "name of a field": ("billing_\u0430ddress", "U+0430"),
    "one letter of a name": ("vat_\u0456", "U+0456"),
    "as many of both": ("\u0430p", "U+0430"),
    "Cherokee": ("\u13a2BAN", "U+13A2"),
    "Kelvin sign": ("\u212aPI", "U+212A"),
    "Roman numeral for l": ("emai\u217c", "U+217C"),
    "mathematical letter": ("\U0001d5c9aypal", "U+1D5C9"),
    "mathematical word": ("\U0001d5c9\U0001d5ba", "U+1D5C9 U+1D5BA"),
    "full width inside": ("pay\uff50al", "U+FF50"),
    "beside Chinese": ("付款p\u0430ypal账户", "U+0430"),
    "Bengali four that looks like 8": ("\u09ea00", "U+09EA"),
    "with a comma": ("\u09ea,000.00", "U+09EA"),
    "with a space": ("\u09ea 000", "U+09EA"),
    "digit in a word": ("acc\u0be6unt", "U+0BE6"),
    "split by an invisible character": ("p\u200b\u0430ypal", "U+200B U+0430"),
    "turned around": ("a\u202egpj.exe\u202c", "U+202E U+202C"),
    "isolates": ("\u2066a\u2069", "U+2066 U+2069"),
    "joiner between Latin letters": ("pay\u200dpal", "U+200D"),
    "soft hyphen": ("pay\u00adpal", "U+00AD"),
    "tags": ("ok\U000e0041", "U+E0041"),
    "variation selectors as a secret": ("a\ufe0f\U000e0100", "U+FE0F U+E0100"),
    "Hangul filler": ("a\u3164b", "U+3164"),
    "Braille blank": ("a\u2800b", "U+2800"),
    "control characters": ("a\x00\x1b\r", "U+0000 U+001B U+000D"),
    "lone surrogate": ("a\ud800", "U+D800"),
}


def marks(text):
    return " ".join(f"U+{ord(piece.text):04X}" for piece in pieces(text) if piece.oddity)


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_text_is_not_marked(text):
    assert marks(text) == ""
    assert counts(text) == {}


@pytest.mark.parametrize(("text", "expected"), MARKED.values(), ids=MARKED)
def test_what_is_not_what_it_looks_like_is_marked(text, expected):
    assert marks(text) == expected


def test_the_two_kinds_are_counted_apart():
    assert counts("p\u0430yp\u0430l\u200b") == {Oddity.FOREIGN: 2, Oddity.HIDDEN: 1}


@given(st.text())
def test_nothing_of_a_text_is_lost(text):
    assert "".join(piece.text for piece in pieces(text)) == text


@given(st.text())
def test_no_direction_is_changed_unseen(text):
    unmarked = "".join(piece.text for piece in pieces(text) if not piece.oddity)
    assert not [c for c in unmarked if unicodedata.bidirectional(c) in {"LRE", "RLE", "LRO", "RLO", "PDF"}]
    assert not [c for c in unmarked if unicodedata.bidirectional(c) in {"LRI", "RLI", "FSI", "PDI"}]
