"""A list costs the same number of queries with 5 rows and with 50: pages and REST, one row per thing listed (STYLE)."""

from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apikeys.services import issue_key
from gateway import services as gateway
from provenance.db import enter
from provenance.permissions import SCOPES
from streams.services import digests, sinks
from tests import factories
from tests.browsing import browser, program
from tests.fakes.mcp_server import tool
from tests.gateway.world import unguarded
from tests.workflows.samples import ADDING
from workflows import services

pytestmark = pytest.mark.django_db(transaction=True)

FEW, MANY = 5, 50

# Table -> what differs from row to row. `id_of` names a row of another table by the same number.
COPIES = {
    "gateway_mcpserver": {"slug": "'copy-' || n"},
    "gateway_tool": {"server_id": "id_of('gateway_mcpserver')"},
    "gateway_toolgrant": {"tool_id": "id_of('gateway_tool')"},
    "workflows_workflow": {"slug": "'copy-' || n"},
    "workflows_workflowversion": {"workflow_id": "id_of('workflows_workflow')"},
    "workflows_workflowalias": {
        "workflow_id": "id_of('workflows_workflow')",
        "version_id": "id_of('workflows_workflowversion')",
    },
    "workflows_run": {
        "workflow_id": "id_of('workflows_workflow')",
        "version_id": "id_of('workflows_workflowversion')",
        "root_run_id": "id_of('workflows_run')",
    },
    "streams_sink": {"name": "'copy-' || n"},
    "streams_cursor": {"sink_id": "id_of('streams_sink')"},
    "streams_digest": {"title": "'Copy ' || n"},
}

PAGES = ["runs/", "workflows/", "tools/", "streams/"]
LISTS = ["runs", "workflows", "servers", "tools", "grants", "audit/sinks", "audit/digests"]


def number_of(table):
    """The id of the n-th copy in that table."""
    return f"md5('{table}' || n)::uuid"


def multiply(first, last):
    """Copies number `first` to `last` of the one row that each table has, written by the owner."""
    with unguarded(*COPIES) as owner:
        for table, changes in COPIES.items():
            columns = [
                name
                for (name,) in owner.execute(
                    "SELECT column_name FROM information_schema.columns"
                    " WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'",
                    [table],
                ).fetchall()
            ]
            values = {name: f'kept."{name}"' for name in columns} | {"id": number_of(table)}
            for name, expression in changes.items():
                other = expression.removeprefix("id_of('").removesuffix("')")
                values[name] = number_of(other) if expression.startswith("id_of") else expression
            names = ", ".join(f'"{name}"' for name in values)
            owner.execute(
                f"INSERT INTO {table} ({names}) SELECT {', '.join(values.values())}"
                f" FROM (SELECT * FROM {table} ORDER BY id LIMIT 1) AS kept, generate_series({first}, {last}) AS n"
            )


@pytest.fixture
def workspace(db):
    """Not in scope: the doors bring it there."""
    return factories.make_workspace()


@pytest.fixture
def house(workspace, admin):
    """A workspace with one of each: server, tool, grant, workflow and run."""
    with enter(workspace.id):
        agent = factories.make_agent(admin)
        server = gateway.register_server(actor=admin, slug="erp", title="ERP", url="https://erp.example.com/mcp")
        (found,) = gateway.record_listing(actor=admin, server_id=server.pk, listing=[tool("getVendor")])
        gateway.review_tool(
            actor=admin, tool_id=found.pk, pin=found.pin, effect="read", retry_class="read", data_tier=1
        )
        gateway.grant_tool(actor=admin, agent_id=agent.pk, tool_id=found.pk, reason="It reads the terms in force.")
        services.save_draft(actor=admin, slug="adding", source=ADDING)
        services.publish_version(actor=admin, slug="adding")
        sinks.create_sink(
            actor=admin, name="siem", kind="syslog", wanted=sinks.Settings(address="tls://siem.example.com:6514")
        )
        digests.create_digest(actor=admin, contents=digests.Contents(title="Audit", readers=[UUID(admin.id)]))
        services.start_run(actor=admin, workflow_slug="adding", input={"first": 1, "second": 2})
        _key, text = issue_key(actor=admin, name="all", scopes=sorted(SCOPES), expires_in_days=1)
    return browser(admin), program(text)


def counted(client, address):
    """How many queries the answer took."""
    with CaptureQueriesContext(connection) as captured:
        response = client.get(address)
    assert response.status_code == 200, (address, response.status_code)
    return len(captured)


def test_a_list_costs_the_same_with_five_rows_and_with_fifty(workspace, house):
    person, key = house
    lists = [(person, f"/w/{workspace.slug}/{page}") for page in PAGES] + [(key, f"/api/v1/{name}") for name in LISTS]
    multiply(2, FEW)
    for client, address in lists:  # what is looked up once per process or session does not count
        client.get(address)
    few = {address: counted(client, address) for client, address in lists}
    assert all(len(client.get(address).json()["items"]) == FEW for client, address in lists if client is key)
    multiply(FEW + 1, MANY)
    many = {address: counted(client, address) for client, address in lists}
    assert many == few
