"""Replacing the log's own keys: both sign for a while, and only the old one says which follows (4.3, T30)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from audit import bundles
from audit.notes import BadNote, Checkpoint, LogKey, LogSigner, opened, parse_vkey, signed_note
from audit.succession import HEADER, Succession, followed
from audit.taxonomy import Event
from audit.tree import Tree
from tests import databases
from tests.audit import sealing
from tests.audit.keys import forget_rotations
from tests.audit.sealing import ORIGIN, rows, sealer
from tests.audit.telling import in_a_new_workspace

ED1, ED2, ED3 = (LogKey.ed25519(letter * 32, number) for number, letter in enumerate((b"e", b"f", b"g"), start=1))
ML1, ML2 = LogKey.mldsa(b"m" * 32, 1), LogKey.mldsa(b"n" * 32, 2)
UNTIL = datetime(2027, 1, 1, tzinfo=UTC)
CHECKPOINT = Checkpoint(f"{ORIGIN}/instance", 3, bytes(32))


def said(old, new, installation=ORIGIN):
    return Succession.signed_by(old, new, installation, UNTIL)


class TestTheRotation:
    @pytest.mark.parametrize(("old", "new"), [(ED1, ED2), (ML1, ML2)], ids=["Ed25519", "ML-DSA-44"])
    def test_is_read_as_it_was_written(self, old, new):
        rotation = said(old, new)
        assert Succession.parse(rotation.text) == rotation
        assert rotation.holds()
        assert rotation.text.count("\n") == 6

    def test_is_these_bytes(self):
        """docs/audit-format.md: another verifier was written to them."""
        lines = said(ED1, ED2).text.split("\n")
        assert lines[:2] == ["provenance-rotation-v1", "log.test"]
        assert lines[2:4] == [key.verifier("x").vkey.split("+", 2)[2] for key in (ED1, ED2)]
        assert lines[4] == "2027-01-01T00:00:00.000000Z"

    @pytest.mark.parametrize("field", ["installation", "old", "new", "until", "signature"])
    def test_holds_for_nothing_else(self, field):
        other = {
            "installation": "log.tesu",
            "old": b"\x01" + ED3.public,
            "new": b"\x01" + ED3.public,
            "until": UNTIL + timedelta(microseconds=1),
            "signature": bytes(64),
        }[field]
        assert not replace(said(ED1, ED2), **{field: other}).holds()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "provenance-rotation-v2\n",
            said(ED1, ED2).text + "\n",
            said(ED1, ED2).text.replace("\n", "\r\n"),
            said(ED1, ED2).text.replace("2027-01-01T00:00:00.000000Z", "2027-01-01T00:00:00Z"),
            said(ED1, ED2).text[:-2] + "\n",
            said(ED1, ML2).text,
            said(ML1, ED2).text,
        ],
        ids=[
            "nothing",
            "another version",
            "a line more",
            "other line ends",
            "another time",
            "cut",
            "weaker",
            "stronger",
        ],
    )
    def test_in_any_other_form_is_none(self, text):
        with pytest.raises(BadNote):
            Succession.parse(text)


class TestFollowing:
    trusted = ED1.verifier(f"{ORIGIN}/instance")

    def test_a_chain_is_followed_and_the_old_key_stays(self):
        found = followed([self.trusted], [said(ED1, ED2), said(ED2, ED3)])
        assert found == [key.verifier(self.trusted.name) for key in (ED1, ED2, ED3)]

    def test_one_that_the_old_key_did_not_sign_is_refused(self):
        """T30: somebody puts their own key into a bundle and says that it follows."""
        forged = replace(said(ED3, ED2), old=b"\x01" + ED1.public)
        with pytest.raises(BadNote, match="is not"):
            followed([self.trusted], [forged])

    def test_one_signed_by_the_new_key_itself_is_refused(self):
        forged = replace(said(ED1, ED3), signature=ED3.sign(said(ED1, ED3).signed.encode()))
        with pytest.raises(BadNote):
            followed([self.trusted], [forged])

    def test_one_from_a_key_that_nobody_trusts_leads_nowhere(self):
        assert followed([self.trusted], [said(ED3, ED2)]) == [self.trusted]

    def test_one_of_another_installation_leads_nowhere(self):
        for installation in ("elsewhere.test", f"{ORIGIN}/inst", "log.tes"):
            assert followed([self.trusted], [said(ED1, ED2, installation)]) == [self.trusted]

    def test_a_later_one_is_not_followed_backwards(self):
        newest = ED3.verifier(self.trusted.name)
        assert followed([newest], [said(ED1, ED2), said(ED2, ED3)]) == [newest]


class TestSigning:
    def test_both_sign_until_the_old_ones_time_is_over(self):
        signer = LogSigner.of([ED2, ML1, ED1, ML2]).ending({ED1.kid: UNTIL, ML1.kid: UNTIL})
        before = signer.sign(CHECKPOINT, is_instance=True, now=UNTIL - timedelta(seconds=1))
        after = signer.sign(CHECKPOINT, is_instance=True, now=UNTIL)
        assert (before.count("\n"), after.count("\n")) == (4, 2)
        for key in (ED1, ED2, ML1, ML2):
            opened(signed_note(CHECKPOINT, before), [key.verifier(CHECKPOINT.origin)])
        for key in (ED1, ML1):
            with pytest.raises(BadNote):
                opened(signed_note(CHECKPOINT, after), [key.verifier(CHECKPOINT.origin)])

    def test_whoever_is_handed_keys_gets_also_those_that_sign_no_more(self):
        signer = LogSigner.of([ED1, ED2, ML1]).ending({ED1.kid: UNTIL})
        named = [parse_vkey(text) for text in signer.vkeys("log.test/a", is_instance=False)]
        assert named == [ED2.verifier("log.test/a"), ED1.verifier("log.test/a")]
        assert len(signer.vkeys("log.test/a", is_instance=True)) == 3


@pytest.mark.django_db(transaction=True)
class TestTheSealer:
    @pytest.fixture(autouse=True)
    def _afterwards(self):
        yield
        forget_rotations()

    @staticmethod
    def seal(*keys, **changes):
        with sealer(signer=LogSigner.of(keys), **changes) as one:
            while one.work():
                pass
            return one

    @staticmethod
    def newest_note(workspace_id):
        ((note, signatures),) = rows(
            "SELECT note, signatures FROM audit.checkpoint WHERE workspace_id = %s ORDER BY size DESC LIMIT 1",
            workspace_id,
        )
        return signed_note(Checkpoint.parse(note), signatures)

    def test_lets_the_old_key_say_which_follows_and_signs_with_both(self):
        self.seal(ED1, ML1)
        workspace = in_a_new_workspace()
        self.seal(ED1, ED2, ML1, ML2)
        note = self.newest_note(workspace)
        origin = f"{ORIGIN}/{workspace}"
        for key in (ED1, ED2):
            opened(note, [key.verifier(origin)])
        with databases.login("audit_read") as reader:
            text = bundles.rotations(Tree(lambda *asked: reader.execute(*asked).fetchall()))
        rotations = [Succession.parse(HEADER + lines) for lines in text.split(HEADER)[1:]]
        assert followed([ED1.verifier(origin)], rotations)[-1] == ED2.verifier(origin)
        assert followed([ML1.verifier(f"{ORIGIN}/instance")], rotations)[-1] == ML2.verifier(f"{ORIGIN}/instance")
        told = rows("SELECT kid FROM audit.event WHERE action = %s", Event.AUDIT_KEY_ROTATED)
        assert told == [("sealer-1",)] * 2

    def test_goes_on_with_the_new_one_alone_when_the_time_is_over(self):
        self.seal(ED1, ML1)
        one = self.seal(ED1, ED2, ML1)
        ends = {key.kid: key.ends_at for key in one.log_keys.signer.keys}
        assert timedelta(days=29) < ends["checkpoint-1"] - datetime.now(UTC) < timedelta(days=31)
        # The next start reads it from the table, whatever the time is then.
        again = self.seal(ED1, ED2, ML1)
        assert {key.kid: key.ends_at for key in again.log_keys.signer.keys} == ends

    def test_takes_up_new_keys_while_it_runs(self):
        made: list[LogSigner] = [LogSigner.of([ED1, ML1])]
        with sealer(signer=made[0], reread=lambda: made[-1]) as one:
            one.work()
            made.append(LogSigner.of([ED1, ED2, ML1]))
            one.log_keys._reread_at = 0.0
            workspace = in_a_new_workspace()
            while one.work():
                pass
        opened(self.newest_note(workspace), [ED2.verifier(f"{ORIGIN}/{workspace}")])

    @pytest.mark.parametrize(
        ("keys", "says"),
        [
            ((LogKey.ed25519(b"x" * 32), ML1), "checkpoint-1 is not the one that signed until now"),
            ((ED2, ML1), "checkpoint-2 follows one that is not here"),
        ],
        ids=["another under the same number", "a follower that nobody vouches for"],
    )
    def test_signs_nothing_with_a_key_that_nobody_vouches_for(self, keys, says):
        self.seal(ED1, ML1)
        workspace = in_a_new_workspace()
        self.seal(*keys)
        assert not rows("SELECT 1 FROM audit.checkpoint WHERE workspace_id = %s", workspace)
        assert any(says in problem for (problem,) in rows("SELECT problem FROM audit.status"))
        assert sealing.SIGNER.keys[0].kid == "checkpoint-1"
