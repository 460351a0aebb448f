"""Row security, guards, composite keys and rights of servers, tools, grants, redaction policies and calls."""

from django.db import migrations

from audit.guard import CompositeForeignKey, DefinerFunction, Grant, GuardTable, TenantTable
from audit.taxonomy import Event

# Each grant that reached its end and that nobody has closed yet.
ENDED_GRANTS = """
CREATE FUNCTION public.gateway_ended_grants(timestamptz, integer) RETURNS TABLE (workspace_id uuid, id uuid)
LANGUAGE sql STABLE AS $$
  SELECT g.workspace_id, g.id FROM public.gateway_toolgrant g
   WHERE g.revoked_at IS NULL AND g.ended_at IS NULL AND g.expires_at < $1
   ORDER BY g.expires_at LIMIT $2
$$
"""


# Which tools may be called is decided by people. A gateway that runs an attacker's code can stop them and approve none.
TOOL_STATUS = """
CREATE FUNCTION public.gateway_hold_tool() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_user = 'prov_gateway' AND NEW.status <> 'quarantined' THEN
    RAISE EXCEPTION '% may stop tools and approve none', current_user USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER gateway_hold BEFORE INSERT OR UPDATE ON public.gateway_tool
  FOR EACH ROW EXECUTE FUNCTION public.gateway_hold_tool();
ALTER TABLE public.gateway_tool ENABLE ALWAYS TRIGGER gateway_hold;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("gateway", "0001_initial"),
        ("audit", "0002_walls"),
        ("agents", "0002_guards"),
    ]

    operations = [
        TenantTable("gateway_mcpserver"),
        GuardTable(
            "gateway_mcpserver",
            object_type="mcp_server",
            events=[
                Event.MCP_SERVER_REGISTERED,
                Event.MCP_SERVER_UPDATED,
                Event.MCP_SERVER_REVIEWED,
                Event.MCP_SERVER_DISABLED,
            ],
        ),
        Grant("gateway_mcpserver", web="select, insert, update", gateway="select", worker="select"),
        TenantTable("gateway_tool"),
        GuardTable(
            "gateway_tool",
            object_type="tool",
            events=[
                Event.MCP_TOOL_DISCOVERED,
                Event.MCP_TOOL_REVIEWED,
                Event.MCP_TOOL_DEFINITION_CHANGED,
                Event.MCP_TOOL_QUARANTINED,
            ],
        ),
        CompositeForeignKey("gateway_tool", "server_id", "gateway_mcpserver"),
        # The gateway sees a changed definition first; it may stop the tool and nothing else.
        Grant(
            "gateway_tool",
            web="select, insert, update",
            gateway="select, update (status, audit_rev)",
            worker="select",
        ),
        migrations.RunSQL(
            TOOL_STATUS,
            "DROP TRIGGER gateway_hold ON public.gateway_tool; DROP FUNCTION public.gateway_hold_tool();",
        ),
        TenantTable("gateway_toolgrant"),
        GuardTable(
            "gateway_toolgrant",
            object_type="tool_grant",
            events=[Event.AGENT_TOOL_GRANTED, Event.AGENT_TOOL_REVOKED, Event.AGENT_GRANT_EXPIRED],
        ),
        CompositeForeignKey("gateway_toolgrant", "agent_id", "agents_agent"),
        CompositeForeignKey("gateway_toolgrant", "tool_id", "gateway_tool"),
        # The sweep closes what has ended; a constraint holds it to grants whose time is over.
        Grant(
            "gateway_toolgrant",
            web="select, insert, update",
            gateway="select",
            worker="select, update (ended_at, audit_rev)",
        ),
        DefinerFunction("public.gateway_ended_grants(timestamptz, integer)", ENDED_GRANTS, execute_by=["worker"]),
        TenantTable("gateway_dlppolicy"),
        GuardTable(
            "gateway_dlppolicy",
            object_type="dlp_policy",
            events=[Event.DLP_POLICY_CREATED, Event.DLP_POLICY_UPDATED],
        ),
        Grant("gateway_dlppolicy", web="select, insert, update", gateway="select"),
        TenantTable("gateway_toolcall"),
        CompositeForeignKey("gateway_toolcall", "agent_id", "agents_agent"),
        CompositeForeignKey("gateway_toolcall", "tool_id", "gateway_tool"),
        # Only the gateway performs (T03), so only the gateway writes what was performed.
        Grant("gateway_toolcall", web="select", gateway="select, insert, update", worker="select"),
    ]
