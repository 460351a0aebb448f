"""A superuser, who has no key, writes what the sealer would sign: another root, a checkpoint of its own, another edge."""

import base64

import pytest

from audit.merkle import tree_root
from audit.notes import Checkpoint
from audit.sealing.standing import NotContinued
from audit.taxonomy import Event
from tests.audit import sealing
from tests.audit.sealing import ORIGIN, WORKSPACE, assert_log_is_sound
from tests.audit.telling import tell

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE)]

NAME = f"{ORIGIN}/{WORKSPACE}"
FALSE_ROOT = base64.b64encode(b"another history, 32 bytes of it.").decode()
OURS = "workspace_id = %s AND size = (SELECT max(size) FROM audit.checkpoint AS c WHERE c.workspace_id = checkpoint.workspace_id)"
WAYS = {
    "another root": f"UPDATE audit.checkpoint SET signatures = NULL, note = origin || E'\\n' || size || E'\\n{FALSE_ROOT}\\n'"
    f" FROM audit.log WHERE log.id = log_id AND checkpoint.{OURS}",
    "one more": "INSERT INTO audit.checkpoint (log_id, workspace_id, size, note, frontier) SELECT log_id, log.workspace_id, size + 1,"
    f" origin || E'\\n' || size + 1 || E'\\n{FALSE_ROOT}\\n', frontier FROM audit.checkpoint JOIN audit.log ON log.id = log_id"
    f" WHERE checkpoint.{OURS}",
}


def signed_falsely():
    """Signatures over that root."""
    return sealing.rows(
        "SELECT size FROM audit.checkpoint WHERE note LIKE %s AND signatures IS NOT NULL", f"%{FALSE_ROOT}%"
    )


@pytest.mark.parametrize("statement", WAYS.values(), ids=list(WAYS))
def test_a_working_sealer_signs_what_it_made_and_tells_of_what_was_put_there(statement):
    with sealing.sealer() as one:
        tell(count=3)
        while one.work():
            pass
        assert sealing.tamper(statement, WORKSPACE) == 1
        for _ in range(3):
            one.work()
    assert not signed_falsely()
    ((_log, facts),) = sealing.told(Event.AUDIT_VERIFICATION_FAILED)
    assert facts["problem"].endswith("was put there for a signature")


@pytest.mark.parametrize("statement", WAYS.values(), ids=list(WAYS))
def test_a_sealer_that_starts_signs_only_what_continues_what_was_signed(statement):
    tell(count=3)
    sealing.seal()
    assert sealing.tamper(statement, WORKSPACE) == 1
    late = tell()
    refused = sealing.seal()
    assert not signed_falsely()
    assert f"The stored checkpoint of {NAME} at " in refused._refusal
    assert sealing.status() == refused._refusal
    assert late[0] not in sealing.ids_in(WORKSPACE)


def test_no_sealer_grows_a_log_on_an_edge_that_is_not_the_signed_one():
    """All the past could be exchanged with it, and every later signature would be over the new one."""
    tell(count=2)
    sealing.seal()
    others = [bytes([number]) * 32 for number in range(2)]
    false = Checkpoint(NAME, 2, tree_root(others)).text
    for note in (false, None):
        sealing.tamper(
            "UPDATE audit.checkpoint SET frontier = %s, note = COALESCE(%s, note) WHERE workspace_id = %s",
            *(tree_root(others), note, WORKSPACE),
        )
        tell()
        assert f"The stored checkpoint of {NAME} at 2 is not what this sealer made" in sealing.seal()._refusal
    with sealing.sealer() as one:
        assert not one.work()


def test_a_log_that_was_exchanged_while_another_one_was_sealed_is_not_gone_on_with():
    """Logs are opened when something comes for them, which may be long after the start."""
    tell(count=2)
    sealing.seal()
    with sealing.sealer() as one:
        one.lead()
        sealing.tamper("UPDATE audit.checkpoint SET frontier = sha256('x') WHERE workspace_id = %s", WORKSPACE)
        tell()
        with pytest.raises(NotContinued, match="its edge is that of another tree"):
            one.work()
        one.work()
        assert "its edge is that of another tree" in one._refusal


def test_what_was_committed_and_not_signed_in_several_passes_is_signed_by_the_next_sealer():
    with sealing.sealer() as one:
        one.lead()
        for _ in range(3):
            tell(count=3)
            one.seal()
    assert sealing.rows(
        "SELECT count(*) FROM audit.checkpoint WHERE signatures IS NULL AND workspace_id = %s", WORKSPACE
    ) == [(3,)]
    sealing.seal()
    assert not sealing.rows("SELECT FROM audit.checkpoint WHERE signatures IS NULL")
    assert_log_is_sound(WORKSPACE)
