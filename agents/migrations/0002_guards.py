"""The walls around agents: workspaces apart, versions written once, no change without its event."""

from typing import ClassVar

from django.db import migrations
from django.db.migrations.operations.base import Operation

from audit.guard import CompositeForeignKey, Grant, GuardTable, Immutable, TenantTable
from audit.taxonomy import Event


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [("agents", "0001_initial"), ("audit", "0001_initial")]
    operations: ClassVar[list[Operation]] = [
        TenantTable("agents_modelprovider"),
        TenantTable("agents_agent"),
        TenantTable("agents_agentversion"),
        CompositeForeignKey("agents_agentversion", "agent_id", "agents_agent"),
        CompositeForeignKey("agents_agentversion", "provider_id", "agents_modelprovider"),
        GuardTable(
            "agents_modelprovider",
            object_type="model_provider",
            events=[Event.PROVIDER_CREATED, Event.PROVIDER_UPDATED],
        ),
        GuardTable(
            "agents_agent",
            object_type="agent",
            events=[
                Event.AGENT_CREATED,
                Event.AGENT_UPDATED,
                Event.AGENT_MODEL_CHANGED,
                Event.AGENT_TRUST_LEVEL_RAISED,
                Event.AGENT_TRUST_LEVEL_LOWERED,
                Event.AGENT_SUSPENDED,
                Event.AGENT_RESUMED,
                Event.AGENT_RETIRED,
            ],
        ),
        GuardTable("agents_agentversion", object_type="agent_version", events=[Event.AGENT_VERSION_PUBLISHED]),
        Immutable("agents_agentversion"),
        Grant("agents_modelprovider", web="select, insert, update", gateway="select", worker="select"),
        Grant("agents_agent", web="select, insert, update", gateway="select", worker="select"),
        Grant("agents_agentversion", web="select, insert", gateway="select", worker="select"),
    ]
