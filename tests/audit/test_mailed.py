"""Auditors get the newest checkpoints by mail, so that something is kept where nobody here writes (audit.md 4.5)."""

from email import message_from_string, policy

import pytest

from audit import verify
from audit.anchors import AnchorFailed
from audit.anchors.mailed import DAY, AuditorMail
from tests.audit import sealing
from tests.audit.published import ORIGIN, note
from tests.audit.sealing import WORKSPACE, status
from tests.audit.telling import tell
from tests.fakes.receivers import relay

OTHER = "log.test/0190c1d2-0000-7000-8000-000000000000"


@pytest.fixture
def server():
    with relay() as made:
        yield made


def place_of(server, *to):
    return AuditorMail(server.url, "provenance@example.com", to)


def text_of(mail):
    """As a reader saves it: the line ends of a mail are not those of a note."""
    return mail.get_content().replace("\r\n", "\n")


def mails(server):
    return [(to, message_from_string(text, policy=policy.default)) for to, text in server.mails]


def test_a_mail_holds_the_notes_whole_and_says_how_to_use_them(server):
    place_of(server, "auditor@example.com").carry({OTHER: note(5, OTHER), ORIGIN: note(12)})
    ((to, mail),) = mails(server)
    assert to == ["auditor@example.com"]
    assert mail["Subject"] == "Checkpoint of log.test/instance at 12"
    assert mail.get_content_type() == "text/plain"
    text = text_of(mail)
    assert note(12) in text
    assert note(5, OTHER) in text
    assert text.index(ORIGIN) < text.index(OTHER)
    assert "--since older.note" in text


def test_the_lines_that_it_tells_to_save_are_what_the_verifier_takes(server):
    place_of(server, "auditor@example.com").carry({ORIGIN: note(12)})
    ((_to, mail),) = mails(server)
    saved = text_of(mail).partition(f"----- {ORIGIN}\n\n")[2]
    old = verify.Checkpoint.parse(saved.rpartition("\n\n")[0] + "\n")
    assert (old.origin, old.size) == (ORIGIN, 12)


def test_nobody_sees_the_others_and_one_who_is_refused_costs_the_others_no_second_mail(server):
    place = place_of(server, "refused@example.com", "auditor@example.com")
    for size in (1, 2):
        with pytest.raises(AnchorFailed, match="address 1 of 2: The mail relay") as refusal:
            place.carry({ORIGIN: note(size)})
        assert "@" not in str(refusal.value)
    ((to, mail),) = mails(server)
    assert to == ["auditor@example.com"]
    assert "refused@example.com" not in str(mail)


def test_the_next_day_everybody_gets_one_again(server):
    place = place_of(server, "auditor@example.com")
    place.carry({ORIGIN: note(1)})
    place._reached = {address: at - DAY for address, at in place._reached.items()}
    place.carry({ORIGIN: note(2)})
    assert [mail["Subject"].rpartition(" ")[2] for _to, mail in mails(server)] == ["1", "2"]
    assert len({mail["Message-ID"] for _to, mail in mails(server)}) == 2


def test_without_the_log_of_logs_there_is_no_mail(server):
    place_of(server, "auditor@example.com").carry({OTHER: note(5, OTHER)})
    assert not server.mails


@pytest.mark.django_db(transaction=True)
@pytest.mark.workspaces(WORKSPACE)
def test_a_relay_that_is_away_holds_nobody_up_and_shows():
    place = AuditorMail("smtp://127.0.0.1:9", "provenance@example.com", ["auditor@example.com"])
    tell(WORKSPACE)
    with sealing.sealer(places=[place]) as one:
        one.work()
        assert not one.couriers[0].deliver()
    assert "The mail relay did not take it" in status("mail")
    assert len(sealing.leaves(WORKSPACE)) == 1
