"""No process serves behind a wall that is down: each way to take one down is named."""

from datetime import UTC, datetime

import pytest
from django.db import transaction

from provenance.readiness import problems
from tests import databases

THIS_MONTH = "0000_00"
"""For that of the test, which may run in another month than the one in which the tests were collected."""

OTHER_GUARD = """
DROP TRIGGER audit_coverage ON workflows_run;
CREATE CONSTRAINT TRIGGER audit_coverage AFTER UPDATE ON workflows_run DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION audit.require_event('run', 'run.started', 'workspace');
ALTER TABLE workflows_run ENABLE ALWAYS TRIGGER audit_coverage
"""
OTHER_FUNCTION = """
CREATE OR REPLACE FUNCTION audit.uuid_time(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS 'SELECT now()'
"""

ANY_KEY = "ALTER TABLE audit.key DISABLE TRIGGER USER;"

BROKEN = [
    ("GRANT UPDATE ON audit.event TO prov_web", "prov_web has UPDATE on audit.event"),
    ("GRANT DELETE ON audit.detail TO prov_worker", "prov_worker has DELETE on audit.detail"),
    (
        f"GRANT SELECT ON audit.event_{THIS_MONTH} TO prov_web",
        f"prov_web has SELECT on the partition audit.event_{THIS_MONTH}",
    ),
    ("GRANT SELECT ON audit.key TO PUBLIC", "right of PUBLIC on table audit.key: SELECT"),
    ("GRANT INSERT ON audit.key TO PUBLIC", "PUBLIC has INSERT on audit.key"),
    ("GRANT TRUNCATE ON workflows_run TO prov_worker", "prov_worker has TRUNCATE on workflows_run"),
    ("GRANT TRIGGER ON workflows_run TO prov_worker", "prov_worker has TRIGGER on workflows_run"),
    ("GRANT SELECT ON workflows_run TO PUBLIC", "PUBLIC has SELECT on workflows_run"),
    ("GRANT SELECT ON workflows_run TO prov_web WITH GRANT OPTION", "prov_web has SELECT on workflows_run"),
    ("ALTER ROLE prov_web BYPASSRLS", "prov_web has BYPASSRLS"),
    ("ALTER ROLE prov_gateway SUPERUSER", "prov_gateway has SUPERUSER"),
    ("ALTER ROLE prov_worker CREATEROLE", "prov_worker has CREATEROLE"),
    ("GRANT prov_owner TO prov_web", "prov_web has membership in another role"),
    ("GRANT CREATE ON SCHEMA public TO prov_web", "prov_web has CREATE on public"),
    ("GRANT CREATE ON SCHEMA audit TO prov_web", "prov_web has CREATE on audit"),
    ("ALTER TABLE workflows_run OWNER TO prov_web", "workflows_run belongs to prov_web"),
    ("ALTER FUNCTION audit.ws() OWNER TO prov_web", "audit.ws belongs to prov_web"),
    ("DROP TRIGGER audit_coverage ON workflows_run", "audit_coverage of workflows_run is missing"),
    ("ALTER TABLE workflows_run DISABLE TRIGGER audit_coverage", "audit_coverage of workflows_run can be switched off"),
    ("ALTER TABLE workflows_run ENABLE TRIGGER audit_coverage", "audit_coverage of workflows_run can be switched off"),
    ("ALTER TABLE audit.event DISABLE TRIGGER audit_immutable", "audit_immutable of audit.event is missing"),
    ("DROP TRIGGER audit_only_erase ON audit.detail", "audit_only_erase of audit.detail is missing"),
    (
        OTHER_GUARD,
        "audit_coverage of workflows_run differs from the code",
    ),
    ("ALTER TABLE workflows_run DISABLE ROW LEVEL SECURITY", "workflows_run belongs to workspaces and lacks"),
    ("CREATE POLICY more ON workflows_run USING (true)", "workflows_run belongs to workspaces and lacks"),
    ("CREATE TABLE public.extra (id int)", "extra is neither governed"),
    ("CREATE VIEW public.shown AS SELECT * FROM workflows_run", "The view shown shows rows past row security"),
    ("CREATE MATERIALIZED VIEW public.kept AS SELECT * FROM workflows_run", "The view kept shows rows"),
    (
        OTHER_FUNCTION,
        "audit.uuid_time differs from the code",
    ),
    (
        "CREATE FUNCTION public.back_door() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        "The definer function public.back_door is not in the code",
    ),
    ("GRANT EXECUTE ON FUNCTION audit.ensure_partitions() TO PUBLIC", "Everybody may execute audit.ensure_partitions"),
    (
        "ALTER FUNCTION audit.ensure_partitions() RESET search_path",
        "audit.ensure_partitions does not fix its search_path",
    ),
    (
        f"ALTER TABLE audit.event DETACH PARTITION audit.event_{THIS_MONTH}; DROP TABLE audit.event_{THIS_MONTH}",
        "is missing",
    ),
    (
        f"ALTER TABLE workflows_message DETACH PARTITION workflows_message_{THIS_MONTH}",
        f"The partition public.workflows_message_{THIS_MONTH} is missing",
    ),
    (
        f"ALTER TABLE workflows_step_{THIS_MONTH} DISABLE TRIGGER audit_coverage",
        f"audit_coverage of workflows_step_{THIS_MONTH} is missing or can be switched off",
    ),
    (
        f"DROP TRIGGER audit_no_truncate ON audit.event_{THIS_MONTH}",
        f"audit_no_truncate of audit.event_{THIS_MONTH} is missing",
    ),
    (f"GRANT SELECT ON workflows_call_{THIS_MONTH} TO prov_web", f"prov_web has SELECT on workflows_call_{THIS_MONTH}"),
    (f"{ANY_KEY} UPDATE audit.key SET db_role = 'prov_worker' WHERE kid = 'web-1'", "web-1 (web) is not registered"),
    ("UPDATE audit.key SET not_after = now() WHERE kid = 'web-1'", "The key web-1 ended at"),
    ("DELETE FROM django_migrations WHERE app = 'audit'", "Migrations are pending (audit.0001_initial"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("statement", "words"), BROKEN, ids=[statement[:60] for statement, _words in BROKEN])
def test_a_wall_that_is_down_keeps_the_process_from_serving(statement, words):
    month = f"{datetime.now(UTC):%Y_%m}"
    found = databases.problems_behind(statement.replace(THIS_MONTH, month))
    assert any(words.replace(THIS_MONTH, month) in problem for problem in found), found


@pytest.mark.django_db
def test_behind_all_walls_it_serves():
    assert problems() == []


@pytest.mark.django_db
def test_a_process_signed_in_as_somebody_else_does_not_serve():
    before = databases.become("prov_migrate")
    try:
        assert any("signed in to Postgres as prov_migrate" in problem for problem in problems())
    finally:
        databases.become(before)


@pytest.mark.django_db
def test_a_process_without_its_key_does_not_serve(settings):
    settings.AUDIT_MAC_KEYS = {}
    (problem,) = problems()
    assert problem.startswith("This process has no key to sign the events of web.")


@pytest.mark.django_db
def test_a_worker_behind_a_broken_wall_ends_before_it_drives_anything(as_role):
    from celery.signals import worker_init

    from provenance import celery

    def begin():
        with as_role("worker"):
            return worker_init.send(sender=celery.app)

    with transaction.atomic():
        begin()
        databases.as_administrator("ALTER TABLE workflows_run DISABLE TRIGGER audit_coverage")
        with pytest.raises(SystemExit, match="audit_coverage of workflows_run can be switched off"):
            begin()
        transaction.set_rollback(True)
