"""What has no label in the log is named by the rows that the reader may see, and by nothing else."""

import pytest

from audit import labels, selectors
from audit.selectors import EventFilters
from audit.services import EventContext, Target, record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.api import Paging
from provenance.permissions import Permission
from tests import factories
from workflows import services as workflows
from workspaces import erasure
from workspaces import services as workspaces

ADDING = """
name: adding
title: Adding
environment: production
input: {type: object}
steps:
  - {name: sum, kind: transform, value: "${1 + 2}"}
output: {sum: "${steps.sum.output}"}
"""


def newest(actor, action):
    """The newest event of a type, as the page of the log shows it."""
    rows, _ = selectors.search(actor=actor, filters=EventFilters(actions=[action]), paging=Paging(limit=1))
    return labels.with_names(actor, rows)[0]


def without_label(admin, event, target, **more):
    """An event as it is once its detail was erased."""
    record(actor=Actor.system("", admin.workspace_id), event=event, target=Target(*target), **more)


def test_rows_without_a_name_are_named_by_what_they_belong_to(admin, workspace):
    agent = factories.make_agent(admin)
    version = newest(admin, "agent.version_published")
    assert version.object_name == f"{agent.slug} v1"
    workflows.save_draft(actor=admin, slug="adding", source=ADDING)
    assert newest(admin, "workflow.draft_saved").object_name == "adding, draft"


def test_a_member_is_named_until_they_are_erased(admin, workspace):
    person = factories.make_member(workspace, roles={"editor"}, name="Wilhelmina")
    without_label(admin, Event.USER_UPDATED, ("user", person.id))
    assert newest(admin, "member.added").object_name == "Wilhelmina"
    assert newest(admin, "user.updated").object_name == "Wilhelmina"
    workspaces.remove_member(actor=admin, user_id=person.id, reason="Left.")
    assert newest(admin, "member.added").object_name == "Wilhelmina"
    erasure.erase_member(actor=admin, user_id=person.id, reason="Asked for it.")
    assert newest(admin, "member.added").object_name.startswith("M-")
    assert newest(admin, "user.updated").object_name.startswith("U-")


def test_a_call_whose_label_is_gone_is_named_by_its_tool(admin, echo_tool):
    without_label(admin, Event.MCP_TOOL_CALLED, ("tool_call", "1"), context=EventContext(tool=echo_tool.pk))
    assert newest(admin, "mcp.tool_called").object_name == "up.echo"


def test_nothing_is_named_to_who_may_not_see_its_row(admin, workspace, stranger, other_workspace):
    factories.make_agent(admin)
    blind = Actor.system("tests", workspace.id, {Permission.AUDIT_READ})
    assert newest(blind, "agent.version_published").object_name.startswith("A-")


def test_a_label_in_the_log_stands_whatever_the_row_says_today(admin):
    agent = factories.make_agent(admin)
    without_label(admin, Event.AGENT_SUSPENDED, ("agent", str(agent.pk), "As it was called then"))
    assert newest(admin, "agent.suspended").object_name == "As it was called then"


@pytest.fixture
def echo_tool(admin, workspace):
    """A tool of a server, as rows alone."""
    from gateway.models import McpServer, Tool

    server = McpServer(workspace_id=workspace.id, slug="up", title="Up", url="https://up.example.com/", origin="x")
    server.save()
    record(actor=admin, event=Event.MCP_SERVER_REGISTERED, target=server)
    tool = Tool(workspace_id=workspace.id, server=server, name="echo")
    tool.save()
    record(actor=admin, event=Event.MCP_TOOL_DISCOVERED, target=tool)
    return tool
