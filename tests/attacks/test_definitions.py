"""A workflow author whose definition is made to cost: the answer is an error, and it comes at once (runs.md, T30).

The process that reads definitions also serves everyone's pages and calls, and a regular expression holds its one lock.
"""

import time

import pytest

from provenance.errors import Invalid
from workflows import documents, expressions

AT_ONCE_SECONDS = 5.0


@pytest.mark.parametrize(
    "text",
    ['{"' + '\\"' * 60_000, "[" * 100_000, '{"a": ' * 20_000, "a: &a [1]\nb: *a", "? " * 60_000],
    ids=["string never closed", "brackets", "objects", "alias", "keys"],
)
def test_a_text_made_to_cost_is_refused_at_once(text):
    began = time.thread_time()
    with pytest.raises(Invalid):
        documents.read(text)
    assert time.thread_time() - began < AT_ONCE_SECONDS


@pytest.mark.parametrize("unit", ["${'\\'", '${"\\"', "${", "${'", "${{}"])
def test_expressions_hidden_in_quotes_are_refused_at_once(unit):
    began = time.thread_time()
    with pytest.raises(expressions.ExpressionError):
        expressions.holes(unit * 20_000)
    with pytest.raises(expressions.ExpressionError):
        # As many as may stand in one string, each with as far to look as a definition is long.
        expressions.holes(unit * 50 + "'\\'" * 40_000 + "${")
    assert time.thread_time() - began < AT_ONCE_SECONDS


def test_quotes_and_escapes_in_an_honest_template_mean_what_they_did():
    template = "${input.a + '}' + \"${\"} and ${'it\\'s'}"
    assert expressions.render(template, {"input": {"a": "x"}, "steps": {}}) == "x}${ and it's"


def test_a_string_with_brackets_and_escapes_is_not_counted_as_nesting():
    assert documents.read('{"a": "' + "[" * 100 + '\\"' + "{" * 100 + '"}') == {"a": "[" * 100 + '"' + "{" * 100}
