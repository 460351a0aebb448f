"""Django's own checks find nothing: the processes of `up` start without them, because they load every page."""

from django.core.checks import WARNING, run_checks


def test_django_finds_nothing_to_complain_about():
    found = [message for message in run_checks() if message.level >= WARNING and not message.is_silenced()]
    assert found == []
