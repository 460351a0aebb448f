"""Every outcome that an event may have is said in words on a page."""

from audit.envelope import OUTCOMES
from provenance.templatetags import console


def test_every_outcome_has_its_chip():
    assert set(console.OUTCOMES) == set(OUTCOMES)
