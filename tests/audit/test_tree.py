"""Proofs are made of what is stored, for those who may see it (M112, audit.md 4.5, 6.14)."""

import psycopg
import pytest

from audit.envelope import storing
from audit.merkle import check_consistency, consistency_proof, root_of_inclusion
from audit.taxonomy import Event
from audit.tree import Tree, django_tree
from provenance.actor import Actor
from provenance.db import enter
from tests import databases
from tests.attacks.log import told_by
from tests.audit import sealing
from tests.audit.sealing import OTHER, WORKSPACE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE, OTHER)]


def tell(count, workspace_id=WORKSPACE):
    made = [told_by("worker", Actor.system("tests", workspace_id), Event.RUN_STARTED) for _ in range(count)]
    with databases.login("worker") as worker, worker.transaction():
        worker.execute(f"SET LOCAL app.workspace_id = '{workspace_id}'")
        worker.execute(*storing(made))
    sealing.seal()
    return [event.id for event in made]


def test_every_event_is_proved_to_be_in_the_newest_checkpoint():
    ids = tell(300) + tell(13)
    with enter(WORKSPACE):
        tree = django_tree()
        (log,) = tree.logs(WORKSPACE)
        checkpoint = tree.newest_checkpoint(log.id).checkpoint
        assert checkpoint.size == 313
        for number in (0, 1, 255, 256, 299, 300, 312):
            position = tree.position(ids[number])
            proof = tree.inclusion(log.id, position.index, checkpoint.size)
            leaf = sealing.leaf_of(ids[number])
            assert root_of_inclusion(leaf, position.index, checkpoint.size, proof) == checkpoint.root
            assert position.sealed_in.checkpoint.size == (300 if number < 300 else 313)


def test_a_grown_log_begins_with_what_it_was():
    tell(70)
    tell(300)
    with enter(WORKSPACE):
        tree = django_tree()
        (log,) = tree.logs(WORKSPACE)
        old, new = tree.checkpoint(log.id, 70).checkpoint, tree.checkpoint(log.id, 370).checkpoint
        proof = consistency_proof(tree.reader(log.id, 370), 70, 370)
    check_consistency(70, old.root, 370, new.root, proof)


def test_another_workspaces_log_is_not_there():
    (ours,), (theirs,) = tell(1), tell(1, OTHER)
    with enter(OTHER):
        ((their_log,),) = [[log.id for log in django_tree().logs(OTHER)]]
    with enter(WORKSPACE):
        tree = django_tree()
        assert tree.position(ours) is not None
        assert tree.position(theirs) is None
        assert tree.logs(OTHER) == []
        assert tree.logs(None) == []
        assert tree.leaves(their_log, 0, 1) == []
        assert tree.newest_checkpoint(their_log) is None


def test_the_log_of_the_instance_is_for_its_reader_alone():
    tell(1)
    ((instance,),) = sealing.rows("SELECT id FROM audit.log WHERE workspace_id IS NULL")
    for role, seen in (("web", []), ("worker", []), ("audit_read", [1])):
        with databases.login(role) as reader, reader.transaction():
            reader.execute(f"SET LOCAL app.workspace_id = '{WORKSPACE}'")
            tree = Tree(lambda statement, parameters, reader=reader: reader.execute(statement, parameters).fetchall())
            assert [len(tree.leaves(instance, 0, 9))][: len(seen)] == seen
            assert (tree.newest_checkpoint(instance) is None) == (not seen)


def test_without_a_workspace_in_scope_nothing_is_read():
    (told,) = tell(1)
    with databases.login("web") as reader, pytest.raises(psycopg.Error, match="no workspace in scope"):
        reader.execute("SELECT * FROM audit.positions(%s)", [[told]])
    ((log_id,),) = sealing.rows("SELECT id FROM audit.log WHERE workspace_id IS NOT NULL")
    with databases.login("web") as reader, pytest.raises(psycopg.Error, match="no workspace in scope"):
        reader.execute("SELECT * FROM audit.leaves(%s, 0, 9)", [log_id])
