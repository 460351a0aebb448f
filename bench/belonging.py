"""Rows of upper floors for a log that was filled by force: tools and their calls, workflows and their runs, agents.

The events name calls, approvals and runs by their ids; here each of those comes to belong to something with a name.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from bench.events import make_workspace
from bench.guards import past_the_guards


@dataclass(frozen=True, slots=True)
class Named:
    """What a search can name, the busiest first."""

    tools: list[str]
    workflows: list[str]
    agents: list[str]


def fill(owner: psycopg.Connection[Any], workspace: UUID) -> Named:
    """Make the rows. `owner`: the connection that filled the log, whose temporary table says who acts in it."""
    make_workspace(owner, workspace)
    owner.execute(_ROW_IDS)
    # Without the triggers of foreign keys, too: what nobody searches is not made.
    parameters = {"workspace": workspace, "tools": _TOOLS, "workflows": _WORKFLOWS}
    owner.execute("SET session_replication_role = replica")
    with past_the_guards(owner, *_ROWS):
        for table, rows in _ROWS.items():
            owner.execute(f"INSERT INTO {table} {rows}", parameters)
    owner.execute("RESET session_replication_role")
    owner.execute(f"VACUUM (ANALYZE) {', '.join(_ROWS)}")
    return Named(
        tools=[f"erp.tool_{number}" for number in range(_TOOLS)],
        workflows=[f"workflow-{number}" for number in range(_WORKFLOWS)],
        agents=[f"agent-{number}" for (number,) in owner.execute(_AGENT_NUMBERS)],
    )


_TOOLS, _WORKFLOWS = 60, 30
_AGENT_NUMBERS = "SELECT n FROM bench_actor WHERE kind = 'agent' ORDER BY n"
_ROW_IDS = """
CREATE FUNCTION pg_temp.row_id(kind int, number int) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN ('00000000-0000-7000-a' || lpad(kind::text, 3, '0') || '-' || lpad(to_hex(number), 12, '0'))::uuid
"""
# Skewed as calls and runs are: one tool has every ninth call, the last of 60 one of ten thousand.
_ROWS = {
    "public.gateway_mcpserver": """
(id, workspace_id, audit_rev, audit_salt, slug, title, url, origin, status, secret_name, slot, environment,
 private_network, created_at)
SELECT pg_temp.row_id(0, 0), %(workspace)s::uuid, 1, sha256('salt'), 'erp', 'The books',
  'https://erp.example/mcp', 'https://erp.example:443', 'approved', '', 'header:Authorization', 'production',
  false, now()
""",
    "public.gateway_tool": """
(id, workspace_id, audit_rev, audit_salt, server_id, name, title, description, input_schema, annotations, pin, effect,
 retry_class, verify_tool, idempotency_argument, data_tier, status, findings, discovered_at)
SELECT pg_temp.row_id(1, n), %(workspace)s::uuid, 1, sha256('salt'), pg_temp.row_id(0, 0), 'tool_' || n, '', '', '{}',
  '{}', repeat('0', 64), 'read', 'once', '', '', 2, 'approved', '[]', now()
FROM generate_series(0, %(tools)s::int - 1) AS n
""",
    "public.agents_agent": """
(id, workspace_id, audit_rev, audit_salt, slug, title, status, trust_level, current_version, suspended_reason,
 created_by, created_at)
SELECT id::uuid, %(workspace)s::uuid, 1, sha256('salt'), 'agent-' || n, 'Agent ' || n, 'active', 'low', 20, '',
  'nobody', now()
FROM bench_actor WHERE kind = 'agent'
""",
    "public.agents_agentversion": """
(id, workspace_id, audit_rev, audit_salt, agent_id, number, provider_id, model, system_prompt,
 forbidden_actions, forbidden_tools, requested_tools, max_turns, token_budget, content_hash, published_by, published_at)
SELECT md5(id || number)::uuid, %(workspace)s::uuid, 1, sha256('salt'), id::uuid, number, pg_temp.row_id(2, 0), 'model',
  '', '{}', '{}', '[]', 5, 1000, repeat('0', 64), 'nobody', now()
FROM bench_actor, generate_series(1, 20) AS number WHERE kind = 'agent'
""",
    "public.gateway_toolgrant": """
(id, workspace_id, audit_rev, audit_salt, agent_id, tool_id, reason, constraints, expires_at, granted_by, granted_at)
SELECT md5(id || tool)::uuid, %(workspace)s::uuid, 1, sha256('salt'), id::uuid, pg_temp.row_id(1, tool), '', '{}',
  now() + interval '1 year', 'nobody', now()
FROM bench_actor, generate_series(0, %(tools)s::int - 1) AS tool WHERE kind = 'agent'
""",
    "public.workflows_workflow": """
(id, workspace_id, audit_rev, audit_salt, slug, title, created_at)
SELECT pg_temp.row_id(3, n), %(workspace)s::uuid, 1, sha256('salt'), 'workflow-' || n, 'Workflow ' || n, now()
FROM generate_series(0, %(workflows)s::int - 1) AS n
""",
    "public.workflows_workflowversion": """
(id, workspace_id, audit_rev, audit_salt, workflow_id, number, content_hash, definition, schema_version,
 published_by, published_at)
SELECT md5(n || '/' || number)::uuid, %(workspace)s::uuid, 1, sha256('salt'), pg_temp.row_id(3, n), number,
  repeat('0', 64), '{}', 1, 'nobody', now()
FROM generate_series(0, %(workflows)s::int - 1) AS n, generate_series(1, 20) AS number
""",
    # An approval's id is its call's but for one digit.
    "public.gateway_toolcall": """
(id, workspace_id, call_key, run_id, agent_id, tool_id, tool_name, state, rule, reason, request_digest, digest,
 arguments_ref, result_ref, late_result_ref, fence, approval_id, edited, redactions, attempts, created_at, started_at, finished_at)
SELECT call.id, %(workspace)s::uuid, 'key', NULL, (array_agg(agent.id::uuid))[1],
  pg_temp.row_id(1, least(floor(-ln(1 - random()) * 8)::int, %(tools)s::int - 1)), 'erp.tool', 'succeeded', '', '', '',
  repeat('0', 64), '', '', '', 1, call.approval_id, false, '[]', 1, audit.uuid_time(call.id), audit.uuid_time(call.id),
  audit.uuid_time(call.id) + interval '2 seconds'
FROM (
  SELECT overlay(object_id placing '7000' from 15)::uuid AS id,
    (array_agg(object_id::uuid) FILTER (WHERE object_type = 'approval'))[1] AS approval_id
  FROM audit.event WHERE workspace_id = %(workspace)s AND object_type IN ('tool_call', 'approval') GROUP BY 1
) AS call JOIN bench_actor AS agent ON agent.kind = 'agent' AND agent.n = 5 * (hashtext(call.id::text) & 7)
GROUP BY call.id, call.approval_id
""",
    "public.workflows_run": """
(id, workspace_id, audit_rev, audit_salt, workflow_id, version_id, status, waiting_on, failure_code,
 failure_reason, environment, root_run_id, depth, replay_mode, input_ref, output_ref, manifest_hash,
 started_by_kind, started_by_id, on_behalf_of, created_at, started_at, finished_at, deadline_at, cancel_requested_by, cancel_reason)
SELECT run.id, %(workspace)s::uuid, 1, sha256('salt'), pg_temp.row_id(3, workflow), md5(workflow || '/20')::uuid,
  'succeeded', '{}', '', '', 'production', run.id, 0, '', 'blob', 'blob', repeat('0', 64), 'user', 'nobody', '', at, at,
  at + interval '1 minute', at + interval '1 day', '', ''
FROM (
  SELECT run_id AS id, audit.uuid_time(run_id) AS at,
    least(floor(-ln(1 - random()) * 4)::int, %(workflows)s::int - 1) AS workflow
  FROM (SELECT DISTINCT run_id FROM audit.event WHERE workspace_id = %(workspace)s AND run_id IS NOT NULL) AS known
) AS run
""",
}
