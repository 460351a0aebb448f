"""Somebody with the administrator's rights takes a wall down in a way that no list of known ways holds (T08, T11, T13).

Readiness compares whole sets, so each of these is found without having been thought of.
"""

import pytest
from django.conf import settings
from django.db import connection

from provenance.readiness import problems
from provenance.roles import ensure_roles
from tests import databases

EVIL = "CREATE SCHEMA evil; CREATE FUNCTION evil.f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$; "
KEYS = "SELECT * FROM public.apikeys_apikey"

THIS_MONTH = "DO $$ DECLARE month text := to_char(now() AT TIME ZONE 'UTC', '\"event_\"YYYY_MM'); BEGIN {} END $$; "

WAYS = {
    # Who asks for changes passes over a month that says it has none, and takes an older one for the newest.
    "a month that says what it holds": THIS_MONTH.format(
        "EXECUTE format('ALTER TABLE audit.%I ADD CONSTRAINT said CHECK (op = ''read'') NOT VALID', month);"
    )
    + "UPDATE pg_constraint SET convalidated = true WHERE conname = 'said'",
    "a month whose columns are never empty": THIS_MONTH.format(
        "UPDATE pg_attribute SET attnotnull = true WHERE attrelid = ('audit.' || month)::regclass AND attname = 'workspace_id';"
    ),
    "a month of other bounds": "CREATE TABLE audit.event_1999_01 PARTITION OF audit.event"
    " FOR VALUES FROM ('00000000-0000-7000-8000-000000000000') TO ('00000000-0000-7000-8000-000000000001');"
    " ALTER TABLE audit.event_1999_01 OWNER TO prov_owner; CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE"
    " ON audit.event_1999_01 EXECUTE FUNCTION audit.refuse();"
    " ALTER TABLE audit.event_1999_01 ENABLE ALWAYS TRIGGER audit_no_truncate",
    "a month that is none": THIS_MONTH.format(
        "EXECUTE format('ALTER TABLE audit.event DETACH PARTITION audit.%I', month);"
    ),
    "a function that is not its text": "CREATE FUNCTION public.evil() RETURNS SETOF uuid BEGIN ATOMIC SELECT NULL::uuid; END;"
    " UPDATE pg_proc SET prosqlbody = (SELECT prosqlbody FROM pg_proc WHERE proname = 'evil')"
    " WHERE proname = 'apikeys_find'; DROP FUNCTION public.evil()",
    "the check of details is another function": EVIL
    + "DROP TRIGGER audit_only_erase ON audit.detail; CREATE TRIGGER audit_only_erase BEFORE UPDATE OR DELETE ON audit.detail "
    "FOR EACH ROW EXECUTE FUNCTION evil.f(); ALTER TABLE audit.detail ENABLE ALWAYS TRIGGER audit_only_erase",
    "a second door to the log": "GRANT INSERT ON audit.event TO prov_worker",
    "the log is immutable never": "DROP TRIGGER audit_immutable ON audit.event; CREATE TRIGGER audit_immutable BEFORE UPDATE"
    " OR DELETE ON audit.event FOR EACH ROW WHEN (false) EXECUTE FUNCTION audit.refuse();"
    " ALTER TABLE audit.event ENABLE ALWAYS TRIGGER audit_immutable",
    "the log without row security": "ALTER TABLE audit.event DISABLE ROW LEVEL SECURITY",
    "the log open to all": "DROP POLICY web_reads ON audit.event; CREATE POLICY web_reads ON audit.event USING (true)",
    "another workspace may be written": "DROP POLICY tenant ON agents_agent; CREATE POLICY tenant ON agents_agent"
    " USING (workspace_id = audit.ws()) WITH CHECK (true)",
    "a policy for one role": "DROP POLICY tenant ON agents_agent; CREATE POLICY tenant ON agents_agent FOR SELECT TO prov_web"
    " USING (workspace_id = audit.ws())",
    "an app's trigger with a namesake": EVIL
    + "ALTER FUNCTION evil.f() RENAME TO approvals_hold_request; DROP TRIGGER approvals_hold ON approvals_approvalrequest;"
    " CREATE TRIGGER approvals_hold BEFORE INSERT OR UPDATE ON approvals_approvalrequest FOR EACH ROW"
    " EXECUTE FUNCTION evil.approvals_hold_request();"
    " ALTER TABLE approvals_approvalrequest ENABLE ALWAYS TRIGGER approvals_hold",
    "an app's trigger at insertion alone": "DROP TRIGGER approvals_hold ON approvals_approvalrequest; CREATE TRIGGER"
    " approvals_hold BEFORE INSERT ON approvals_approvalrequest FOR EACH ROW"
    " EXECUTE FUNCTION public.approvals_hold_request();"
    " ALTER TABLE approvals_approvalrequest ENABLE ALWAYS TRIGGER approvals_hold",
    "an app's trigger under another condition": "DROP TRIGGER approvals_decided ON approvals_approvalrequest; CREATE CONSTRAINT"
    " TRIGGER approvals_decided AFTER UPDATE OF status ON approvals_approvalrequest DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW WHEN (false) EXECUTE FUNCTION public.approvals_demand_decisions();"
    " ALTER TABLE approvals_approvalrequest ENABLE ALWAYS TRIGGER approvals_decided",
    "a composite key": "ALTER TABLE approvals_approvaldecision DROP CONSTRAINT approvals_approvaldecision_request_id_ws_fk",
    "keys that are not enforced": "ALTER TABLE gateway_toolgrant DISABLE TRIGGER ALL",
    "what a lookup takes for the same": 'ALTER TABLE workspaces_invitation ALTER token_digest TYPE varchar(64) COLLATE "POSIX"',
    "what is stored where nobody says it": "ALTER TABLE approvals_approvalrequest ALTER risk SET DEFAULT 'low'",
    "a column more": "ALTER TABLE workspaces_membership ADD COLUMN more text",
    "a check": "ALTER TABLE audit.event DROP CONSTRAINT event_risk_check",
    "a trigger that swallows": EVIL
    + "CREATE TRIGGER zz BEFORE INSERT ON agents_agent FOR EACH ROW EXECUTE FUNCTION evil.f()",
    "a rule": "CREATE RULE r AS ON UPDATE TO workspaces_membership DO INSTEAD NOTHING",
    "another login": "CREATE ROLE evil_login LOGIN; GRANT SELECT ON secrets_vault_secretversion TO evil_login",
    "another login as the owner": "CREATE ROLE evil_login LOGIN; GRANT prov_owner TO evil_login",
    "events for retention": "GRANT SELECT ON audit.event TO prov_retention",
    "columns of the log": "GRANT UPDATE (mac, body) ON audit.event TO prov_web",
    "columns for everybody": "GRANT SELECT (ciphertext) ON secrets_vault_secretversion TO PUBLIC",
    "a function of the log": "GRANT EXECUTE ON FUNCTION audit.uuid_time(uuid) TO prov_gateway",
    "the volatility of the scope": "ALTER FUNCTION audit.ws() IMMUTABLE",
    "the search path of a guard": "ALTER FUNCTION audit.count_revision() RESET ALL",
    "an overload": "CREATE FUNCTION public.apikeys_find(int) RETURNS SETOF apikeys_apikey LANGUAGE sql SECURITY DEFINER SET"
    f" search_path = pg_catalog, pg_temp AS '{KEYS}'; REVOKE ALL ON FUNCTION public.apikeys_find(int) FROM PUBLIC",
    "a definer elsewhere": f"CREATE SCHEMA evil; CREATE FUNCTION evil.f() RETURNS SETOF apikeys_apikey LANGUAGE sql SECURITY"
    f" DEFINER AS '{KEYS}'",
    "a view elsewhere": f"CREATE SCHEMA evil; CREATE VIEW evil.v AS {KEYS}",
    "a scope by default": "ALTER ROLE prov_web SET app.workspace_id = '01a1fc6a-bc48-7f66-89af-d0ba0c517c2e'",
    "a scope by default, in this database": "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET app.workspace_id = ''x''',"
    " current_database()); END $$",
    "guards off by default": "ALTER ROLE prov_web SET session_replication_role = replica",
    "the right to switch guards off": "GRANT SET ON PARAMETER session_replication_role TO prov_web",
    "the gateway's key in a worker's hand": "ALTER TABLE audit.key DISABLE TRIGGER USER;"
    " UPDATE audit.key SET db_role = 'prov_worker' WHERE kid = 'gateway-1';"
    " ALTER TABLE audit.key ENABLE ALWAYS TRIGGER audit_only_end, ENABLE ALWAYS TRIGGER audit_no_truncate,"
    " ENABLE ALWAYS TRIGGER audit_told",
    "one more key": "INSERT INTO audit.key (kid, purpose, alg, db_role) VALUES ('web-2', 'event', 'none', 'prov_worker')",
    "all data": "GRANT pg_read_all_data TO prov_worker",
    "a trigger of events": EVIL + "CREATE FUNCTION evil.e() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN END$$;"
    " CREATE EVENT TRIGGER et ON ddl_command_end EXECUTE FUNCTION evil.e()",
    "large objects": "GRANT EXECUTE ON FUNCTION lo_from_bytea(oid, bytea) TO PUBLIC",
    "large objects of one": "GRANT EXECUTE ON FUNCTION lo_from_bytea(oid, bytea) TO prov_worker",
    "a look through any index": "GRANT EXECUTE ON FUNCTION bt_index_check(regclass, boolean) TO prov_worker",
    "a look through all indexes": "GRANT EXECUTE ON FUNCTION bt_index_check(regclass, boolean) TO PUBLIC",
    "a system table": "GRANT SELECT ON pg_authid TO prov_worker",
    "what comes later": "ALTER DEFAULT PRIVILEGES FOR ROLE prov_owner IN SCHEMA public GRANT SELECT ON TABLES TO prov_worker",
}


@pytest.mark.django_db
@pytest.mark.parametrize("statement", WAYS.values(), ids=list(WAYS))
def test_no_process_serves_behind_it(statement):
    found = databases.problems_behind(statement)
    assert found
    assert "provenance/walls.txt" in " ".join(found)


@pytest.mark.django_db
def test_a_worker_makes_no_large_object(as_role):
    """It would be a store that no workspace, guard or quota knows."""
    with (
        as_role("worker"),
        connection.cursor() as cursor,
        pytest.raises(Exception, match="permission denied for function"),
    ):
        cursor.execute("SELECT lo_from_bytea(0, 'x')")


@pytest.mark.django_db
def test_what_a_role_set_for_itself_ends_at_the_next_start():
    """A hijacked worker would make every later one read-only."""
    here = str(settings.DATABASES["default"]["NAME"])
    with databases.login("worker") as worker:
        worker.execute(f"ALTER ROLE prov_worker IN DATABASE {here} SET default_transaction_read_only = on")
    try:
        assert any("default_transaction_read_only" in problem for problem in problems())
    finally:
        ensure_roles(databases.admin_url(), {}, database=here)
    assert problems() == []
