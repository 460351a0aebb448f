"""A governed table of the tests' own, so that the guard is tested by itself and not through some app; and a bundle of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import models

from audit.anchors.directory import DirectoryAnchor
from audit.governed import Governed
from audit.guard import Grant, GuardTable, TenantTable
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import enter
from tests import databases
from tests.audit import sealing
from tests.audit.bundles import exported, mac_keys, public_keys
from tests.audit.old_months import drop_months

__all__ = ["drop_months"]

_CREATE = """
CREATE TABLE probe (id uuid PRIMARY KEY, workspace_id uuid NOT NULL, audit_rev bigint NOT NULL, audit_salt bytea NOT NULL,
                    name text NOT NULL, size bigint NOT NULL, facts jsonb NOT NULL, parent_id uuid REFERENCES probe ON DELETE CASCADE);
ALTER TABLE probe OWNER TO prov_owner;
"""
_WALLS = (
    TenantTable("probe"),
    GuardTable("probe", object_type="probe", events=[Event.AGENT_CREATED, Event.AGENT_UPDATED, Event.AGENT_RETIRED]),
    Grant("probe", web="select, insert, update, delete", worker="select, insert, update"),
)


class Probe(Governed):
    """A governed row with a text, a number and JSON."""

    name = models.TextField()
    size = models.BigIntegerField(default=0)
    facts = models.JSONField(default=dict)
    parent_id = models.UUIDField(null=True)

    class Meta:
        app_label = "probe"
        db_table = "probe"


@pytest.fixture(scope="module")
def _probe_table(django_db_setup: None) -> Iterator[None]:
    """The table exists while the tests of one file run; house tests never see it."""
    with databases.admin() as owner:
        owner.execute(_CREATE)
        for wall in _WALLS:
            owner.execute(wall.up())
    yield
    with databases.admin() as owner:
        databases.drop_governed(owner, "probe")


@pytest.fixture
def probe(_probe_table: None) -> type[Probe]:
    """The model of the governed table."""
    return Probe


@pytest.fixture
def row(probe: type[Probe]) -> Probe:
    """A row of the governed table, committed with its event. For `@pytest.mark.workspaces(WORKSPACE)`."""
    with enter(sealing.WORKSPACE):
        made = probe(workspace_id=sealing.WORKSPACE, name="one")
        made.save()
        record(actor=Actor.system("tests", sealing.WORKSPACE), event=Event.AGENT_CREATED, target=made)
    return made


@pytest.fixture
def anchor(tmp_path: Path) -> DirectoryAnchor:
    """A directory outside of the database that keeps checkpoints."""
    return DirectoryAnchor(tmp_path / "anchor")


@pytest.fixture
def history(probe, workspace, admin):
    """A row that was created, changed and removed, and something that only was read; sealed."""
    with enter(workspace.id):
        row = probe(workspace_id=workspace.id, name="one")
        row.save()
        record(actor=admin, event=Event.AGENT_CREATED, target=row, detail={"name": 'ö "one"\n\x07', "share": 0.5})
        row.name = "two"
        row.save()
        record(actor=admin, event=Event.AGENT_UPDATED, target=row, detail={"before": {"name": "one"}})
        row.delete()
        record(actor=admin, event=Event.AGENT_RETIRED, target=row)
        record(actor=admin, event=Event.SECRET_ACCESSED, target=Target("secret", 'x"\\ö\x07'), reason="because")
    sealing.seal()
    return row


@pytest.fixture
def bundle(history, auditor, tmp_path):
    """Everything that is sealed."""
    sealing.seal()
    with enter(auditor.workspace_id):
        return exported(auditor, tmp_path)


@pytest.fixture
def key(bundle, workspace, tmp_path):
    """The log's public key."""
    return public_keys(workspace.id, tmp_path)


@pytest.fixture
def macs(bundle, workspace, tmp_path):
    """The workspace's MAC keys."""
    with enter(workspace.id):
        return mac_keys(workspace.id, tmp_path)
