"""Risk classes are ordered by severity, whichever way they are compared."""

from itertools import combinations

import pytest

from provenance.risk import Risk


@pytest.mark.parametrize(("lower", "higher"), list(combinations([Risk.LOW, Risk.MEDIUM, Risk.HIGH, Risk.CRITICAL], 2)))
def test_risks_are_ordered_by_severity_and_not_by_letter(lower, higher):
    assert lower < higher
    assert lower <= higher
    assert higher > lower
    assert higher >= lower
    assert not lower > higher
    assert not lower >= higher
    assert max(lower, higher) is higher


def test_a_risk_is_not_compared_with_other_text():
    with pytest.raises(TypeError):
        _ = Risk.HIGH > 3
