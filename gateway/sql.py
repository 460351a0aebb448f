"""Every statement of the gateway's request path. They run as `prov_gateway` inside one workspace; row security filters."""

from audit.attestation import select
from audit.taxonomy import Event

# A number, a sum and the newest id per table: it differs after any insert, update or delete, because revisions only
# grow and rows of these tables are never deleted.
_GOVERNED = (
    "gateway_mcpserver",
    "gateway_tool",
    "gateway_toolgrant",
    "gateway_dlppolicy",
    "agents_agent",
    "agents_agentversion",
    "agents_modelprovider",
    "workspaces_control",
    "secrets_vault_secret",
)
_MARK = "(SELECT concat_ws(':', count(*), sum(audit_rev), max(id::text)) FROM {table})"

_OF_RESTRAINTS = f"{{{Event.HALT_ENGAGED},{Event.HALT_RELEASED},{Event.DLP_POLICY_CREATED},{Event.DLP_POLICY_UPDATED}}}"

POLICY_FINGERPRINT = f"SELECT concat_ws('|', {', '.join(_MARK.format(table=table) for table in _GOVERNED)}) AS mark"

POLICY_ROWS = """
SELECT json_build_object(
  'epoch', (SELECT max(epoch) FROM workspaces_control),
  'halts', (SELECT json_agg(r) FROM (
      SELECT id, scope_kind, scope_id, mode, reason FROM workspaces_control WHERE released_at IS NULL) r),
  'servers', (SELECT json_agg(r) FROM (
      SELECT id, slug, url, origin, status, secret_name, slot, environment, private_network FROM gateway_mcpserver) r),
  'tools', (SELECT json_agg(r) FROM (
      SELECT id, server_id, name, title, description, input_schema, output_schema, annotations, pin, effect,
             retry_class, verify_tool, idempotency_argument, data_tier, status FROM gateway_tool) r),
  'grants', (SELECT json_agg(r) FROM (
      -- The newest: an older one that ended by itself may stand beside it, and still says why a call is refused.
      -- One that was closed gives nothing whatever its day says: only live ones are held against the log.
      SELECT DISTINCT ON (agent_id, tool_id) id, agent_id, tool_id, constraints,
             CASE WHEN ended_at IS NULL THEN expires_at ELSE least(expires_at, ended_at, now()) END AS expires_at
        FROM gateway_toolgrant WHERE revoked_at IS NULL ORDER BY agent_id, tool_id, id DESC) r),
  'policies', (SELECT json_agg(r) FROM (
      SELECT name, selector, direction, action, fields FROM gateway_dlppolicy WHERE enabled ORDER BY name) r),
  'agents', (SELECT json_agg(r) FROM (
      SELECT id, slug, title, status, trust_level, current_version FROM agents_agent) r),
  'versions', (SELECT json_agg(r) FROM (
      SELECT id, agent_id, number, requested_tools, forbidden_tools, provider_id, model FROM agents_agentversion) r),
  'providers', (SELECT json_agg(r) FROM (
      SELECT id, name, base_url, origin, secret_name, scripted, private_network FROM agents_modelprovider) r),
  'secrets', (SELECT json_agg(r) FROM (
      SELECT id, name, access FROM secrets_vault_secret WHERE status = 'active') r)
) AS policy
"""

ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
"""What a snapshot is compiled from and what the log says of it are read as of one moment."""

# The rows behind a snapshot, whole, to be held against their newest signed events (T06). Released halts and disabled
# policies too: each takes power away while it stands, so somebody may have wanted it to look as if it did not.
GOVERNING_ROWS = {
    "mcp_server": "SELECT * FROM gateway_mcpserver",
    "tool": "SELECT * FROM gateway_tool",
    "tool_grant": "SELECT * FROM gateway_toolgrant WHERE revoked_at IS NULL AND ended_at IS NULL",
    "dlp_policy": "SELECT * FROM gateway_dlppolicy",
    "agent": "SELECT * FROM agents_agent",
    "agent_version": "SELECT * FROM agents_agentversion",
    "model_provider": "SELECT * FROM agents_modelprovider",
    "control": "SELECT * FROM workspaces_control",
    "secret": "SELECT * FROM secrets_vault_secret",
}

# What takes power away is never deleted, so each that was told must still be there.
TOLD_RESTRAINTS = f"""
SELECT DISTINCT object_type, object_id FROM (
  SELECT object_type, object_id, action, op FROM audit.event WHERE workspace_id = audit.ws() AND action = ANY ('{_OF_RESTRAINTS}')
  UNION ALL
  SELECT object_type, object_id, action, op FROM audit.carried
  WHERE workspace_id = audit.ws() AND action = ANY ('{_OF_RESTRAINTS}')
) AS told WHERE op <> 'read'
"""  # noqa: S608  composed of constants

CALL = """
SELECT id, call_key, run_id, agent_id, tool_id, tool_name, state, rule, reason, request_digest, arguments_ref,
       result_ref, late_result_ref, approval_id, edited, redactions, attempts,
       coalesce(extract(epoch FROM finished_at - started_at) * 1000, 0)::int AS duration_ms,
       -- Nobody can still be performing it: the latest moment of sending, the longest exchange, and some air.
       coalesce(not_after + make_interval(secs => %(longest_seconds)s) < clock_timestamp(), true) AS is_abandoned,
       greatest(1, ceil(extract(epoch FROM not_after - clock_timestamp()) + %(longest_seconds)s))::int AS seconds_left
  FROM gateway_toolcall WHERE id = %(call_id)s
"""

# Calls of a run; for a caller without one (an outside client) those of its agent in the last hour.
CALLS_MADE = """
SELECT count(*) AS made FROM gateway_toolcall
 WHERE id <> %(call_id)s AND CASE WHEN %(run_id)s::uuid IS NULL
       THEN agent_id = %(agent_id)s AND run_id IS NULL AND created_at > now() - interval '1 hour'
       ELSE run_id = %(run_id)s END
"""

# A worker's standing: the token is still its own and the run still goes on (asked again inside START), and the run is
# one of this agent, in the version that web pinned when the run began: a worker cannot lend one run another's agent.
STANDING = """
SELECT run.status AS run_status, run.environment, run.workflow_id, run.key_id, run.on_behalf_of,
       run.version_id::text AS workflow_version, run.started_by_id, version.published_by,
       EXISTS (SELECT FROM workflows_runmanifest manifest, jsonb_each(manifest.content -> 'agents') AS pinned
                WHERE manifest.run_id = run.id
                  AND pinned.value ->> 'agent_id' = %(agent_id)s
                  AND pinned.value ->> 'version_id' = %(agent_version_id)s) AS names_agent,
       (token.id IS NOT NULL AND token.fence = %(fence)s AND token.state = 'leased'
        AND token.lease_until > clock_timestamp()) AS holds_lease
  FROM workflows_run run
  JOIN workflows_workflowversion version ON version.id = run.version_id
  LEFT JOIN workflows_token token ON token.id = %(token_id)s AND token.run_id = run.id
 WHERE run.id = %(run_id)s
"""

APPROVAL = """
SELECT r.id, r.status, r.origin, r.origin_id, r.run_id, r.facts, r.digest, r.approved_digest, r.quorum, r.risk,
       r.consumed_at IS NOT NULL AS is_consumed, r.closing_reason
  FROM approvals_approvalrequest r WHERE r.id = %(approval_id)s
"""

APPROVAL_DECISIONS = """
SELECT d.id, d.request_id, d.verdict, d.payload, d.digest, d.decided_by, d.changed_fields, d.event_id, e.kid, e.mac, e.body
  FROM approvals_approvaldecision d LEFT JOIN audit.event e ON e.id = d.event_id
 WHERE d.request_id = %(approval_id)s ORDER BY d.id
"""

# Both whole, each with the newest event about it (T06).
APPROVAL_ROWS = {
    "approval": select("approvals_approvalrequest", "approval", "row.id = %(approval_id)s"),
    "approval_decision": select("approvals_approvaldecision", "approval_decision", "row.request_id = %(approval_id)s"),
}

# All columns come back as Postgres has them, for the state commitment of the event.
CONSUME = """
UPDATE approvals_approvalrequest SET consumed_at = clock_timestamp()
 WHERE id = %(approval_id)s AND status = 'approved' AND consumed_at IS NULL AND approved_digest = %(digest)s
RETURNING *, audit.told_of_row('approval', id::text, audit_rev - 1) AS told
"""

# The one statement that lets a call happen (T04). It inserts, or moves a waiting call on, only while the worker's lease
# (or, outside of runs, our own deadline), the run and the control epoch are what the decision assumed, and while the
# database is one that will not lose it (T27).
START = """
INSERT INTO gateway_toolcall AS call (
  id, workspace_id, call_key, run_id, step_id, agent_id, agent_version, tool_id, tool_name, state, rule, reason,
  request_digest, digest, arguments_ref, result_ref, late_result_ref, fence, not_after, approval_id, edited, redactions,
  performer, attempts, created_at, started_at)
SELECT %(call_id)s, %(workspace_id)s, %(call_key)s, %(run_id)s, %(step_id)s, %(agent_id)s, %(agent_version)s,
       %(tool_id)s, %(tool_name)s, 'started', '', '', %(request_digest)s, %(digest)s, %(arguments_ref)s, '', '',
       %(fence)s, standing.not_after, %(approval_id)s, %(edited)s, '[]', %(performer)s, 1,
       clock_timestamp(), clock_timestamp()
  FROM (
    SELECT CASE WHEN %(token_id)s::uuid IS NULL
                THEN clock_timestamp() + make_interval(secs => %(start_seconds)s)
                ELSE (SELECT token.lease_until - interval '5 seconds' FROM workflows_token token
                        JOIN workflows_run run ON run.id = token.run_id
                       WHERE token.id = %(token_id)s AND token.fence = %(fence)s AND token.state = 'leased'
                         AND run.id = %(run_id)s AND run.status = 'running')
           END AS not_after
  ) standing
 WHERE standing.not_after > clock_timestamp()
   AND (SELECT coalesce(max(epoch), 0) FROM workspaces_control) = %(epoch)s
   AND audit.hindrance(NOT %(may_repeat)s) = ''
ON CONFLICT (workspace_id, id) DO UPDATE
   SET state = 'started', rule = '', reason = '', digest = excluded.digest, arguments_ref = excluded.arguments_ref,
       fence = excluded.fence, not_after = excluded.not_after, approval_id = excluded.approval_id,
       edited = excluded.edited, performer = excluded.performer, attempts = call.attempts + 1,
       started_at = excluded.started_at, finished_at = NULL
 WHERE call.request_digest = excluded.request_digest AND call.fence <= excluded.fence
   AND (call.state = 'awaiting_approval'
        OR (%(may_repeat)s AND call.state IN ('started', 'indeterminate')
            AND call.not_after + make_interval(secs => %(longest_seconds)s) < clock_timestamp()))
RETURNING extract(epoch FROM not_after - clock_timestamp())::float8 AS seconds_left, attempts
"""

HINDRANCE = "SELECT audit.hindrance(%(is_once)s) AS found"

# A call that does not happen now: refused, or waiting for a person. A refusal never overwrites what was performed.
PARK = """
INSERT INTO gateway_toolcall AS call (
  id, workspace_id, call_key, run_id, step_id, agent_id, agent_version, tool_id, tool_name, state, rule, reason,
  request_digest, digest, arguments_ref, result_ref, late_result_ref, fence, approval_id, edited, redactions, attempts,
  created_at, finished_at)
VALUES (
  %(call_id)s, %(workspace_id)s, %(call_key)s, %(run_id)s, %(step_id)s, %(agent_id)s, %(agent_version)s, %(tool_id)s,
  %(tool_name)s, %(state)s::text, %(rule)s, %(reason)s, %(request_digest)s, %(digest)s, %(arguments_ref)s, '', '',
  %(fence)s, %(approval_id)s, false, '[]', 0, clock_timestamp(),
  CASE WHEN %(state)s::text = 'blocked' THEN clock_timestamp() END)
ON CONFLICT (workspace_id, id) DO UPDATE
   SET state = excluded.state, rule = excluded.rule, reason = excluded.reason, approval_id = excluded.approval_id,
       digest = excluded.digest, finished_at = excluded.finished_at
 WHERE call.state = 'awaiting_approval' AND call.request_digest = excluded.request_digest
RETURNING id
"""

SETTLE = """
UPDATE gateway_toolcall
   SET state = %(state)s, rule = %(rule)s, reason = %(reason)s, result_ref = %(result_ref)s,
       redactions = %(redactions)s, finished_at = clock_timestamp()
 WHERE id = %(call_id)s AND state = 'started' AND attempts = %(attempts)s
RETURNING id
"""

# What the verify tool said of a call of unknown outcome. A no counts once nobody can still be performing the call.
VERIFIED = """
UPDATE gateway_toolcall
   SET state = %(state)s, rule = %(rule)s, reason = %(reason)s, result_ref = %(result_ref)s,
       redactions = %(redactions)s, finished_at = clock_timestamp()
 WHERE id = %(call_id)s AND state = 'indeterminate' AND attempts = %(attempts)s
   AND (%(rule)s <> 'call.did_not_happen'
        OR coalesce(not_after + make_interval(secs => %(longest_seconds)s) < clock_timestamp(), true))
RETURNING id
"""

# An answer to a call that was closed without it. What was said of the call in the meantime stays. A settlement that is
# tried again after a commit of unknown fate finds its own answer here, and that one is not late.
KEEP_LATE = """
UPDATE gateway_toolcall SET late_result_ref = %(result_ref)s, late_at = clock_timestamp()
 WHERE id = %(call_id)s AND late_result_ref = '' AND result_ref <> %(result_ref)s
RETURNING id
"""

# Calls of an outside client that wait for a person: a retry of one of them is that call.
WAITING = """
SELECT id, call_key, request_digest FROM gateway_toolcall
 WHERE agent_id = %(agent_id)s AND run_id IS NULL AND tool_name = %(tool_name)s AND state = 'awaiting_approval'
 ORDER BY id DESC LIMIT 100
"""
