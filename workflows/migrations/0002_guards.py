"""The walls of workflows: workspaces apart, statuses that follow their tables, rights per process.

Web starts, cancels and publishes; workers drive. A worker cannot change what a run is, only how it stands.
"""

from django.db import migrations

from audit.guard import (
    CompositeForeignKey,
    DefinerFunction,
    Grant,
    GuardTable,
    Immutable,
    MakeMonths,
    MonthlyTable,
    TenantTable,
)
from audit.taxonomy import Event
from workflows import states

P = "workflows_"
TENANT_TABLES = (
    "workflow",
    "workflowdraft",
    "workflowversion",
    "workflowalias",
    "run",
    "runmanifest",
    "scope",
    "token",
    "step",
    "call",
    "message",
    "timer",
    "budget",
    "budgethold",
    "idempotencykey",
)
# What a run leaves behind in numbers lies in the month of the run (docs/decisions/0010); the rest is a row or two a run.
MONTHLY_TABLES = ("step", "call", "message", "budgethold")
KEYS = (
    ("workflowdraft", "workflow_id", "workflow"),
    ("workflowversion", "workflow_id", "workflow"),
    ("workflowalias", "workflow_id", "workflow"),
    ("workflowalias", "version_id", "workflowversion"),
    ("run", "workflow_id", "workflow"),
    ("run", "version_id", "workflowversion"),
    ("runmanifest", "run_id", "run"),
    ("scope", "run_id", "run"),
    ("token", "run_id", "run"),
    ("token", "scope_id", "scope"),
    ("step", "run_id", "run"),
    ("call", "step_id", "step"),
    ("message", "step_id", "step"),
    ("timer", "run_id", "run"),
    ("budget", "run_id", "run"),
    ("budgethold", "budget_id", "budget"),
    ("budgethold", "call_id", "call"),
    ("idempotencykey", "run_id", "run"),
)


def month_of(table: str) -> str:
    """The column by which the table has months, "" for one without."""
    return "run_id" if table in MONTHLY_TABLES else ""


def status_trigger(machine: str, column: str) -> migrations.RunSQL:
    """A trigger that refuses a change of status which the table in `states.py` does not have."""
    pairs = [
        f"{before.value}>{after.value}"
        for before, following in states.MACHINES[machine].items()
        for after in sorted(following, key=str)
    ]
    allowed = ", ".join(f"'{pair}'" for pair in pairs)
    table, function = f"public.{P}{machine}", f"public.{P}{machine}_follows"
    return migrations.RunSQL(
        f"""
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF OLD.{column} <> NEW.{column} AND OLD.{column} || '>' || NEW.{column} <> ALL (ARRAY[{allowed}]) THEN
    RAISE EXCEPTION '{machine} % is % and cannot become %', OLD.id, OLD.{column}, NEW.{column}
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER {machine}_follows BEFORE UPDATE OF {column} ON {table}
  FOR EACH ROW EXECUTE FUNCTION {function}();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {machine}_follows;
""",
        f"DROP TRIGGER {machine}_follows ON {table}; DROP FUNCTION {function}();",
    )


# A run or a step that has ended stays as it ended, whatever column somebody would touch.
ENDED_STAYS = f"""
CREATE FUNCTION public.{P}ended_stays() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF OLD.finished_at IS NOT NULL THEN
    RAISE EXCEPTION '% % has ended and does not change any more', TG_TABLE_NAME, OLD.id
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER ended_stays BEFORE UPDATE ON public.{P}run FOR EACH ROW EXECUTE FUNCTION public.{P}ended_stays();
CREATE TRIGGER ended_stays BEFORE UPDATE ON public.{P}step FOR EACH ROW EXECUTE FUNCTION public.{P}ended_stays();
ALTER TABLE public.{P}run ENABLE ALWAYS TRIGGER ended_stays;
ALTER TABLE public.{P}step ENABLE ALWAYS TRIGGER ended_stays;
"""
ENDED_CHANGES = f"""
DROP TRIGGER ended_stays ON public.{P}run;
DROP TRIGGER ended_stays ON public.{P}step;
DROP FUNCTION public.{P}ended_stays();
"""

# A call that has ended stays as it ended too. What its tool said too late is kept beside it, once.
CALL_STAYS = f"""
CREATE FUNCTION public.{P}call_stays() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF OLD.status = ANY (ARRAY[{", ".join(f"'{status.value}'" for status in sorted(states.TERMINAL_CALL))}])
     AND NOT (OLD.late_result_ref = '' AND NEW.late_result_ref <> ''
              AND to_jsonb(NEW) - ARRAY['late_result_ref', 'late_result_at']
                  = to_jsonb(OLD) - ARRAY['late_result_ref', 'late_result_at'])
  THEN
    RAISE EXCEPTION 'call % has ended and does not change any more', OLD.id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER call_stays BEFORE UPDATE ON public.{P}call FOR EACH ROW EXECUTE FUNCTION public.{P}call_stays();
ALTER TABLE public.{P}call ENABLE ALWAYS TRIGGER call_stays;
"""
CALL_CHANGES = f"""
DROP TRIGGER call_stays ON public.{P}call;
DROP FUNCTION public.{P}call_stays();
"""

# Only the console says of an unknown outcome what it was. Else it closes the calls of a run that it cancels, and says
# nothing of what came of them.
PEOPLE_RESOLVE = f"""
CREATE FUNCTION public.{P}people_resolve() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  resolves constant boolean := OLD.status = 'indeterminate' AND OLD.resolved_by = '' AND NEW.resolved_by <> '';
BEGIN
  IF current_user = 'prov_web' AND NOT resolves AND NOT (
       NEW.resolved_by = OLD.resolved_by AND NEW.result_ref = OLD.result_ref AND NEW.redactions = OLD.redactions
       AND EXISTS (SELECT FROM public.{P}run AS run WHERE run.id = OLD.run_id AND run.status = 'canceling'))
     OR current_user <> 'prov_web' AND resolves
  THEN
    RAISE EXCEPTION '% may not change call % like this', current_user, OLD.id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER people_resolve BEFORE UPDATE ON public.{P}call
  FOR EACH ROW EXECUTE FUNCTION public.{P}people_resolve();
ALTER TABLE public.{P}call ENABLE ALWAYS TRIGGER people_resolve;
"""
WORKERS_RESOLVE = f"""
DROP TRIGGER people_resolve ON public.{P}call;
DROP FUNCTION public.{P}people_resolve();
"""

RENEW_LEASES = f"""
CREATE FUNCTION public.{P}renew_leases(text, uuid[], bigint[]) RETURNS TABLE (token_id uuid, canceling boolean)
LANGUAGE sql AS $$
  UPDATE public.{P}token t
     SET lease_until = clock_timestamp() + interval '30 seconds', wake_at = clock_timestamp() + interval '30 seconds'
    FROM unnest($2, $3) AS mine(id, fence), public.{P}run r
   WHERE t.id = mine.id AND t.fence = mine.fence AND t.owner = $1 AND t.state = 'leased' AND r.id = t.run_id
  RETURNING t.id, r.status IN ('canceling', 'canceled', 'failed')
$$
"""

DUE_TOKENS = f"""
CREATE FUNCTION public.{P}due_tokens(integer) RETURNS TABLE (workspace_id uuid, token_id uuid)
LANGUAGE sql STABLE AS $$
  SELECT t.workspace_id, t.id FROM public.{P}token t
   WHERE t.state IN ('ready', 'leased', 'waiting') AND t.wake_at <= clock_timestamp()
   ORDER BY t.wake_at LIMIT $1
$$
"""

# Nobody puts off a token that is ready or held for longer than half a minute: it was done while the clock of the database was ahead.
TOKENS_AHEAD = f"""
CREATE FUNCTION public.{P}tokens_ahead(integer) RETURNS TABLE (workspace_id uuid, token_id uuid)
LANGUAGE sql STABLE AS $$
  SELECT t.workspace_id, t.id FROM public.{P}token t
   WHERE t.state IN ('ready', 'leased') AND t.wake_at > clock_timestamp() + interval '2 minutes' LIMIT $1
$$
"""

# The wake-up that was lost: the request is closed, and two seconds later a token still waits for it.
ANSWERED_TOKENS = f"""
CREATE FUNCTION public.{P}answered_tokens(integer) RETURNS TABLE (workspace_id uuid, token_id uuid)
LANGUAGE sql STABLE AS $$
  SELECT t.workspace_id, t.id FROM public.{P}token t
    JOIN public.approvals_approvalrequest a ON a.workspace_id = t.workspace_id AND a.id = t.approval_id
   WHERE t.state = 'waiting' AND t.approval_id IS NOT NULL AND a.status NOT IN ('pending', 'escalated')
     AND a.decided_at < clock_timestamp() - interval '2 seconds' LIMIT $1
$$
"""

DUE_TIMERS = f"""
CREATE FUNCTION public.{P}due_timers(integer) RETURNS TABLE (workspace_id uuid, timer_id uuid)
LANGUAGE sql STABLE AS $$
  SELECT t.workspace_id, t.id FROM public.{P}timer t
   WHERE t.fired_at IS NULL AND t.fire_at <= clock_timestamp() ORDER BY t.fire_at LIMIT $1
$$
"""

LEAD = f"""
CREATE FUNCTION public.{P}lead(text, text, integer) RETURNS boolean
LANGUAGE sql AS $$
  INSERT INTO public.{P}leader AS l (id, name, owner, fence, until)
  -- A hijacked worker holds the lead for a minute at a time, and not for years.
  VALUES (gen_random_uuid(), $1, $2, 1, clock_timestamp() + make_interval(secs => LEAST($3, 60)))
  ON CONFLICT (name) DO UPDATE
     SET owner = excluded.owner, until = excluded.until, fence = l.fence + (l.owner <> excluded.owner)::int
   WHERE l.owner = excluded.owner OR l.until < clock_timestamp()
     -- Set while the clock of the database was ahead: nobody would lead until that time comes.
     OR l.until > clock_timestamp() + interval '2 minutes'
  RETURNING true
$$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("workflows", "0001_initial"),
        ("approvals", "0002_guards"),
        ("audit", "0002_walls"),
    ]

    operations = [
        *(MonthlyTable(P + table, by="run_id") for table in MONTHLY_TABLES),
        *(TenantTable(P + table, within=month_of(table)) for table in TENANT_TABLES),
        *(CompositeForeignKey(P + table, column, P + to, within=month_of(to)) for table, column, to in KEYS),
        GuardTable(P + "workflow", object_type="workflow", events=[Event.WORKFLOW_CREATED, Event.WORKFLOW_UPDATED]),
        GuardTable(P + "workflowdraft", object_type="workflow_draft", events=[Event.WORKFLOW_DRAFT_SAVED]),
        GuardTable(
            P + "workflowversion",
            object_type="workflow_version",
            events=[Event.WORKFLOW_PUBLISHED, Event.WORKFLOW_ROLLED_BACK],
        ),
        Immutable(P + "workflowversion"),
        GuardTable(P + "workflowalias", object_type="workflow_alias", events=[Event.WORKFLOW_UPDATED]),
        GuardTable(
            P + "run",
            object_type="run",
            events=[
                Event.RUN_QUEUED,
                Event.RUN_STARTED,
                Event.RUN_WAITING,
                Event.RUN_PAUSED,
                Event.RUN_RESUMED,
                Event.RUN_CANCELING,
                Event.RUN_SUCCEEDED,
                Event.RUN_FAILED,
                Event.RUN_CANCELED,
            ],
        ),
        GuardTable(
            P + "step",
            object_type="step",
            of_run=True,
            events=[
                Event.RUN_STEP_STARTED,
                Event.RUN_STEP_WAITING,
                Event.RUN_STEP_RESUMED,
                Event.RUN_STEP_COMPLETED,
                Event.RUN_STEP_FAILED,
                Event.RUN_STEP_SKIPPED,
                Event.RUN_STEP_CANCELED,
                Event.RUN_STEP_UNKNOWN,
            ],
        ),
        Immutable(P + "runmanifest"),
        Immutable(P + "message"),
        status_trigger("run", "status"),
        status_trigger("token", "state"),
        status_trigger("step", "status"),
        status_trigger("call", "status"),
        migrations.RunSQL(ENDED_STAYS, ENDED_CHANGES),
        migrations.RunSQL(CALL_STAYS, CALL_CHANGES),
        DefinerFunction(f"public.{P}renew_leases(text, uuid[], bigint[])", RENEW_LEASES, execute_by=["worker"]),
        DefinerFunction(f"public.{P}due_tokens(integer)", DUE_TOKENS, execute_by=["worker"]),
        DefinerFunction(f"public.{P}tokens_ahead(integer)", TOKENS_AHEAD, execute_by=["worker"]),
        DefinerFunction(f"public.{P}answered_tokens(integer)", ANSWERED_TOKENS, execute_by=["worker"]),
        DefinerFunction(f"public.{P}due_timers(integer)", DUE_TIMERS, execute_by=["worker"]),
        DefinerFunction(f"public.{P}lead(text, text, integer)", LEAD, execute_by=["worker"]),
        Grant(P + "workflow", web="select, insert, update", worker="select", gateway="select"),
        Grant(P + "workflowdraft", web="select, insert, update"),
        Grant(P + "workflowversion", web="select, insert", worker="select", gateway="select"),
        Grant(P + "workflowalias", web="select, insert, update", worker="select"),
        Grant(
            P + "run",
            web="select, insert, update (status, waiting_on, finished_at, cancel_requested_at, cancel_requested_by, "
            "cancel_reason, audit_rev)",
            worker="select, update (status, waiting_on, failure_code, failure_reason, output_ref, started_at, "
            "finished_at, cancel_requested_at, cancel_requested_by, cancel_reason, audit_rev)",
            gateway="select",
        ),
        # The gateway holds a worker's word about who acts in a run against it.
        Grant(P + "runmanifest", web="select, insert", worker="select", gateway="select"),
        Grant(P + "scope", web="select, insert", worker="select, insert, update"),
        # Web wakes what waits and cancels what is parked; it never takes a lease.
        Grant(
            P + "token",
            web="select, insert, update (state, dispatch_no, wake_at, owner, lease_until)",
            worker="select, insert, update",
            gateway="select",
        ),
        # What a step or a call is, and in which run, is written once.
        Grant(
            P + "step",
            web="select, update (status, finished_at, audit_rev)",
            worker="select, insert, update (status, output_ref, error_code, error_message, finished_at, audit_rev)",
        ),
        # Web writes what a person says of a call of unknown outcome, and how calls end with a run that it cancels; the
        # trigger holds it to that.
        Grant(
            P + "call",
            web="select, update (status, reason, redactions, result_ref, finished_at, resolved_by, resolved_at)",
            worker="select, insert, update (status, fence, attempts, agent_slug, not_after, approval_id, rule, reason, "
            "redactions, result_ref, late_result_ref, late_result_at, retry_class, effect, tokens_in, tokens_out, cost, "
            "started_at, finished_at)",
        ),
        migrations.RunSQL(PEOPLE_RESOLVE, WORKERS_RESOLVE),
        Grant(P + "message", web="select", worker="select, insert"),
        Grant(P + "timer", web="select, insert", worker="select, insert, update (fired_at)"),
        Grant(P + "budget", web="select, insert", worker="select, update (reserved, spent)"),
        Grant(P + "budgethold", worker="select, insert, update (settled_at)"),
        Grant(P + "idempotencykey", web="select, insert, delete"),
        MakeMonths(),
    ]
