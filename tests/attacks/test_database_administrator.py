"""Someone with the rights of a database administrator takes one wall down: no process serves behind it (audit.md 4.1)."""

import pytest

from provenance.readiness import problems
from tests import databases

GUARD_THAT_ALLOWS_ALL = """
CREATE OR REPLACE FUNCTION public.approvals_hold_request() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NEW; END'
"""
DEFINER_THAT_TELLS_ALL = """
CREATE OR REPLACE FUNCTION public.approvals_overdue(timestamptz, integer) RETURNS TABLE (workspace_id uuid, id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'SELECT r.workspace_id, r.id FROM public.approvals_approvalrequest r'
"""
GUARD_THAT_NEVER_FIRES = """
DROP TRIGGER approvals_hold ON public.approvals_approvaldecision;
CREATE TRIGGER approvals_hold BEFORE INSERT ON public.approvals_approvaldecision
  FOR EACH ROW WHEN (false) EXECUTE FUNCTION public.approvals_hold_decision();
ALTER TABLE public.approvals_approvaldecision ENABLE ALWAYS TRIGGER approvals_hold
"""

ATTACKS = [
    ("GRANT SELECT ON secrets_vault_secretversion TO prov_web", "prov_web has SELECT on secrets_vault_secretversion"),
    (
        "GRANT SELECT (ciphertext) ON secrets_vault_secretversion TO prov_web",
        "prov_web has SELECT on secrets_vault_secretversion (ciphertext)",
    ),
    (
        "GRANT INSERT ON approvals_approvaldecision TO prov_worker",
        "prov_worker has INSERT on approvals_approvaldecision",
    ),
    ("GRANT UPDATE ON gateway_toolcall TO prov_worker", "prov_worker has UPDATE on gateway_toolcall"),
    (
        "GRANT UPDATE (risk) ON approvals_approvalrequest TO prov_worker",
        "prov_worker has UPDATE on approvals_approvalrequest (risk)",
    ),
    ("GRANT SELECT ON workspaces_user TO prov_gateway", "prov_gateway has SELECT on workspaces_user"),
    (
        "ALTER TABLE approvals_approvalrequest DISABLE TRIGGER approvals_hold",
        "The database lacks: trigger on public.approvals_approvalrequest, always: CREATE TRIGGER approvals_hold",
    ),
    (
        "DROP TRIGGER run_follows ON workflows_run",
        "The database lacks: trigger on public.workflows_run, always: CREATE TRIGGER run_follows",
    ),
    (
        GUARD_THAT_NEVER_FIRES,
        "The database lacks: trigger on public.approvals_approvaldecision, always: CREATE TRIGGER approvals_hold",
    ),
    (GUARD_THAT_ALLOWS_ALL, "The database lacks: function public.approvals_hold_request()"),
    (DEFINER_THAT_TELLS_ALL, "The database lacks: function public.approvals_overdue("),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("statement", "words"), ATTACKS, ids=[words[:90] for _statement, words in ATTACKS])
def test_what_an_administrator_changed_behind_the_code_is_found_before_anything_is_served(statement, words):
    found = databases.problems_behind(statement)
    assert any(words in problem for problem in found), found


@pytest.mark.django_db
def test_untouched_walls_have_no_problems():
    assert problems() == []
