"""Conditions and templates: what they may read, and what bounds them (runs.md G16)."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.expressions import ExpressionError, compile_expression, holes, render

DATA = {"input": {"a": 1, "text": "é", "list": [1, 2, 3]}, "steps": {"one": {"output": {"b": {"c": "x"}}}}}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("input.a + 1", 2),
        ("steps.one.output.b.c == 'x'", True),
        ("has(steps.one.output.nothing)", False),
        ("input.list.exists(i, i == 3)", True),
        ("input.list.map(i, i * 2)", [2, 4, 6]),
        ("input.list.filter(i, i > 1).size()", 2),
        ("input.a == 1 ? 'yes' : 'no'", "yes"),
        ("'steps.nothing' + input.text", "steps.nothingé"),
        ("{'k': input.a}", {"k": 1}),
        ("string(timestamp('2027-01-01T00:00:00Z'))", "2027-01-01T00:00:00+00:00"),
    ],
)
def test_expressions_read_input_and_earlier_steps(source: str, value: object):
    assert compile_expression(source).evaluate(DATA) == value


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "empty"),
        ("1 +", "does not compile"),
        ("os.system", "reads `os`"),
        ("open('/etc/passwd')", "calls `open`"),
        ("steps", "must name the step"),
        ("steps['one'].output", "must name the step"),
        ("steps.one.output == steps", "must name the step"),
        ("input.list.map(x, input.list.map(y, x + y))", "inside another"),
        ("input.list.exists(x, input.list.all(y, x == y))", "inside another"),
        ("input.list.map(input, input)", "choose another"),
        ("(" * 13 + "1" + ")" * 13, "nests deeper"),
        ("1" + "+1" * 400, "more than 100 operators"),
        ("'" + "x" * 1_000 + "'", "longer than 1000"),
        ("input.a @ 1", "'@'"),
        ("'open", '"\'"'),
    ],
)
def test_what_could_be_costly_or_reach_out_is_refused_before_it_compiles(source: str, says: str):
    began = time.thread_time()
    with pytest.raises(ExpressionError) as refused:
        compile_expression(source)
    assert says in str(refused.value)
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("input.nothing", "there is no 'nothing'"),
        ("steps.two.output", "there is no 'two'"),
        ("input.a / 0", "division by zero"),
        ("9223372036854775807 + input.a", "verflow"),
        ("input.list[9]", "index"),
        ("input.a + 'x'", "could not be evaluated"),
        ("timestamp('2027-01-01T00:00:00Z')", "wrap it in string"),
    ],
)
def test_an_expression_that_fails_on_the_data_says_so(source: str, says: str):
    with pytest.raises(ExpressionError) as failed:
        compile_expression(source).evaluate(DATA)
    assert says in str(failed.value)


def test_a_list_that_is_too_long_is_not_looped_over():
    with pytest.raises(ExpressionError, match="too long"):
        compile_expression("input.list.map(x, x)").evaluate({"input": {"list": [1] * 1_001}, "steps": {}})


def test_a_template_keeps_types_and_makes_text_of_the_rest():
    template = {"n": "${input.a}", "t": "a=${input.a} b=${steps.one.output.b}", "l": ["${input.list}"], "k": 5}
    assert render(template, DATA) == {"n": 1, "t": 'a=1 b={"c":"x"}', "l": [[1, 2, 3]], "k": 5}


def test_what_an_expression_yields_is_data_and_never_a_template():
    """M079: text from a document cannot read another value by writing `${…}`."""
    data = {"input": {"evil": "${steps.secret.output}"}, "steps": {"secret": {"output": "s3cret"}}}
    assert render("${input.evil}", data) == "${steps.secret.output}"
    assert render("say: ${input.evil}", data) == "say: ${steps.secret.output}"


def test_the_steps_an_expression_reads_are_known_before_the_run():
    (found,) = holes("x ${steps.one.output + steps.two.output + input.steps.three + 'steps.four'}")
    assert found.steps == {"one", "two"}
    assert found.inputs == {"steps"}


@given(st.text(max_size=300))
def test_whatever_is_written_either_compiles_or_says_why(source: str):
    try:
        compile_expression(source)
    except ExpressionError as refused:
        assert str(refused)  # noqa: PT017  either outcome is right; a crash is not


@given(st.text("inputsteps.one()[]{}+-*/!<>=&|?:,'\" 0123456789", max_size=120))
def test_whatever_looks_like_an_expression_is_evaluated_or_refused_quickly(source: str):
    began = time.thread_time()
    with contextlib.suppress(ExpressionError):
        compile_expression(source).evaluate(DATA)
    assert time.thread_time() - began < 1
