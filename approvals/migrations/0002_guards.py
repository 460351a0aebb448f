"""The walls of approvals: who may write what, and what nobody may write.

Workers ask, withdraw and expire. Only the web role approves, rejects and inserts decisions; only the gateway uses an
approval up. A request is what it was asked as, for ever; a decision is written once.
"""

from django.db import migrations

from audit.guard import CompositeForeignKey, DefinerFunction, Grant, GuardTable, Immutable, TenantTable
from audit.taxonomy import Event

REQUESTS = "approvals_approvalrequest"
DECISIONS = "approvals_approvaldecision"

# Everything else of a request is what was asked for, and stays.
REQUEST_CHANGES = f"""
CREATE FUNCTION public.approvals_hold_request() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  moving constant text[] := ARRAY['status', 'warned_percent', 'approve_count', 'approved_digest', 'decided_at',
                                  'closing_reason', 'consumed_at', 'audit_rev', 'audit_salt'];
  open constant text[] := ARRAY['pending', 'escalated'];
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.status <> 'pending' OR NEW.approve_count <> 0 OR NEW.approved_digest <> '' OR NEW.consumed_at IS NOT NULL THEN
      RAISE EXCEPTION 'an approval request starts as pending' USING ERRCODE = 'check_violation';
    END IF;
    -- What a person reads as the tool is what the approval will be bound to.
    IF NEW.tool_label IS DISTINCT FROM NEW.facts ->> 'tool' THEN
      RAISE EXCEPTION 'tool_label % is not the tool of the facts', NEW.tool_label USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.requested_at > clock_timestamp() + interval '5 seconds'
       OR NEW.due_at <> NEW.requested_at + NEW.sla_minutes * interval '1 minute' THEN
      RAISE EXCEPTION 'due_at is requested_at plus sla_minutes, by the clock of the database'
        USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
  END IF;
  IF to_jsonb(OLD) - moving <> to_jsonb(NEW) - moving THEN
    RAISE EXCEPTION 'what an approval request asks for never changes; ask anew' USING ERRCODE = 'check_violation';
  END IF;
  IF OLD.status <> ALL (open) THEN
    -- A closed request may still be used up, once, when it was approved, and by the gateway alone.
    IF to_jsonb(OLD) - ARRAY['consumed_at', 'audit_rev', 'audit_salt']
         <> to_jsonb(NEW) - ARRAY['consumed_at', 'audit_rev', 'audit_salt']
       OR OLD.status <> 'approved' OR OLD.consumed_at IS NOT NULL OR NEW.consumed_at IS NULL
       OR current_user <> 'prov_gateway' THEN
      RAISE EXCEPTION 'approval request % is % and closed', OLD.id, OLD.status USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
  END IF;
  IF NEW.consumed_at IS NOT NULL THEN
    RAISE EXCEPTION 'an open approval request cannot be used' USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.status = 'expired' AND clock_timestamp() <= OLD.due_at THEN
    RAISE EXCEPTION 'approval request % is not due before %', OLD.id, OLD.due_at USING ERRCODE = 'check_violation';
  END IF;
  IF (NEW.status IN ('approved', 'rejected') OR NEW.approve_count <> OLD.approve_count
      OR NEW.approved_digest <> OLD.approved_digest) THEN
    IF current_user <> 'prov_web' THEN
      RAISE EXCEPTION '% may not decide approvals', current_user USING ERRCODE = 'check_violation';
    END IF;
    IF clock_timestamp() > OLD.due_at THEN
      RAISE EXCEPTION 'the time to decide approval request % is over', OLD.id USING ERRCODE = 'check_violation';
    END IF;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER approvals_hold BEFORE INSERT OR UPDATE ON public.{REQUESTS}
  FOR EACH ROW EXECUTE FUNCTION public.approvals_hold_request();
ALTER TABLE public.{REQUESTS} ENABLE ALWAYS TRIGGER approvals_hold;
"""

# At COMMIT, when both rows are there: an approval or rejection is the decision of as many people as were needed.
DECIDED_BY_PEOPLE = f"""
CREATE FUNCTION public.approvals_demand_decisions() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  people bigint;
BEGIN
  SELECT count(DISTINCT d.decided_by) INTO people FROM public.{DECISIONS} d
   WHERE d.workspace_id = NEW.workspace_id AND d.request_id = NEW.id
     AND CASE NEW.status WHEN 'approved' THEN d.verdict = 'approve' AND d.digest = NEW.approved_digest
                         ELSE d.verdict = 'reject' END;
  IF people < (CASE NEW.status WHEN 'approved' THEN NEW.quorum ELSE 1 END) THEN
    RAISE EXCEPTION 'approval request % is % without the decisions behind it', NEW.id, NEW.status
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER approvals_decided AFTER UPDATE OF status ON public.{REQUESTS}
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status IN ('approved', 'rejected') AND OLD.status <> NEW.status)
  EXECUTE FUNCTION public.approvals_demand_decisions();
ALTER TABLE public.{REQUESTS} ENABLE ALWAYS TRIGGER approvals_decided;
"""

DECISION_RULES = f"""
CREATE FUNCTION public.approvals_hold_decision() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  asked public.{REQUESTS};
BEGIN
  SELECT * INTO asked FROM public.{REQUESTS} r WHERE r.workspace_id = NEW.workspace_id AND r.id = NEW.request_id;
  IF asked.id IS NULL THEN
    RAISE EXCEPTION 'there is no approval request % here', NEW.request_id USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.decided_by = ANY (asked.conflicted_user_ids)
     OR NEW.decided_by::text IN (asked.requested_by_id, asked.requested_for) THEN
    RAISE EXCEPTION 'whoever asked does not decide' USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.decided_at > asked.due_at THEN
    RAISE EXCEPTION 'the time to decide is over' USING ERRCODE = 'check_violation';
  END IF;
  IF asked.risk IN ('high', 'critical') AND length(btrim(NEW.reason)) < 10 THEN
    RAISE EXCEPTION 'a decision about % risk needs a reason', asked.risk USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.verdict = 'approve' AND asked.risk = 'critical' AND NEW.step_up = '' THEN
    RAISE EXCEPTION 'approving critical risk needs a fresh proof of identity' USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.verdict = 'approve' AND NEW.digest <> asked.approved_digest
     OR asked.status <> ALL (CASE NEW.verdict WHEN 'approve' THEN ARRAY['pending', 'escalated', 'approved']
                                              ELSE ARRAY['rejected'] END) THEN
    RAISE EXCEPTION 'the decision does not fit its request' USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER approvals_hold BEFORE INSERT ON public.{DECISIONS}
  FOR EACH ROW EXECUTE FUNCTION public.approvals_hold_decision();
ALTER TABLE public.{DECISIONS} ENABLE ALWAYS TRIGGER approvals_hold;
"""

# The sweep looks before any workspace is in scope, and learns ids only (T09).
OVERDUE = f"""
CREATE FUNCTION public.approvals_overdue(timestamptz, integer) RETURNS TABLE (workspace_id uuid, id uuid)
LANGUAGE sql STABLE AS $$
  SELECT r.workspace_id, r.id FROM public.{REQUESTS} r
   WHERE r.status IN ('pending', 'escalated') AND r.due_at < $1 ORDER BY r.due_at LIMIT $2
$$
"""

RUNNING_OUT = f"""
CREATE FUNCTION public.approvals_running_out(timestamptz, integer) RETURNS TABLE (workspace_id uuid, id uuid)
LANGUAGE sql STABLE AS $$
  SELECT r.workspace_id, r.id FROM public.{REQUESTS} r
   WHERE r.status IN ('pending', 'escalated') AND r.due_at >= $1
     AND (r.warned_percent < 50 AND $1 >= r.requested_at + (r.due_at - r.requested_at) * 0.5
       OR r.warned_percent < 80 AND $1 >= r.requested_at + (r.due_at - r.requested_at) * 0.8)
   ORDER BY r.due_at LIMIT $2
$$
"""


class Migration(migrations.Migration):
    dependencies = [("approvals", "0001_initial"), ("audit", "0002_walls")]

    operations = [
        TenantTable(REQUESTS),
        TenantTable(DECISIONS),
        CompositeForeignKey(DECISIONS, "request_id", REQUESTS),
        GuardTable(
            REQUESTS,
            object_type="approval",
            events=[
                Event.APPROVAL_REQUESTED,
                Event.APPROVAL_APPROVED,
                Event.APPROVAL_REJECTED,
                Event.APPROVAL_SLA_WARNING,
                Event.APPROVAL_EXPIRED,
                Event.APPROVAL_WITHDRAWN,
                Event.APPROVAL_SUPERSEDED,
                Event.APPROVAL_CONSUMED,
            ],
        ),
        GuardTable(DECISIONS, object_type="approval_decision", events=[Event.APPROVAL_DECISION_RECORDED]),
        Immutable(DECISIONS),
        migrations.RunSQL(
            REQUEST_CHANGES,
            f"DROP TRIGGER approvals_hold ON public.{REQUESTS}; DROP FUNCTION public.approvals_hold_request();",
        ),
        migrations.RunSQL(
            DECIDED_BY_PEOPLE,
            f"DROP TRIGGER approvals_decided ON public.{REQUESTS}; DROP FUNCTION public.approvals_demand_decisions();",
        ),
        migrations.RunSQL(
            DECISION_RULES,
            f"DROP TRIGGER approvals_hold ON public.{DECISIONS}; DROP FUNCTION public.approvals_hold_decision();",
        ),
        DefinerFunction("public.approvals_overdue(timestamptz, integer)", OVERDUE, execute_by=["worker"]),
        DefinerFunction("public.approvals_running_out(timestamptz, integer)", RUNNING_OUT, execute_by=["worker"]),
        Grant(
            REQUESTS,
            web="select, update",
            worker="select, insert, update (status, warned_percent, decided_at, closing_reason, audit_rev)",
            # The gateway asks for calls of outside clients and of agent steps; it decides nothing.
            gateway="select, insert, update (consumed_at, audit_rev)",
        ),
        Grant(DECISIONS, web="select, insert", worker="select", gateway="select"),
    ]
