"""A superuser edits the catalog by hand, past every statement that Postgres has for it: a wall falls, and looks as before.

What is left out is what ends nothing in silence: a role whose password ends, a setting that makes statements fail, a
publication (a superuser reads everything anyway), a subscription (its rows meet the guards).
"""

import pytest

from tests import databases

THIS_MONTH = "('audit.event_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM'))::regclass"

ASLEEP = {
    "guards of the log": "UPDATE pg_class SET relhastriggers = false WHERE oid = 'audit.event'::regclass",
    "guards of a month": f"UPDATE pg_class SET relhastriggers = false WHERE oid = {THIS_MONTH}",
    "guards of a table": "UPDATE pg_class SET relhastriggers = false WHERE oid = 'workspaces_membership'::regclass",
    "indexes": "UPDATE pg_class SET relhasindex = false WHERE oid = 'workspaces_membership'::regclass",
    "checks": "UPDATE pg_class SET relchecks = 0 WHERE oid = 'approvals_approvalrequest'::regclass",
    "keys": "DELETE FROM pg_trigger WHERE tgisinternal AND tgrelid = 'gateway_toolgrant'::regclass",
    "one side of keys": "DELETE FROM pg_trigger WHERE tgisinternal AND tgrelid = 'agents_agent'::regclass",
    "a function that tells no secrets": "ALTER FUNCTION audit.ws() LEAKPROOF",
    "a function that the planner replaces": "ALTER FUNCTION audit.uuid_time(uuid) SUPPORT textlike_support",
    "another way to store": "CREATE ACCESS METHOD evil TYPE TABLE HANDLER heap_tableam_handler;"
    " UPDATE pg_class SET relam = (SELECT oid FROM pg_am WHERE amname = 'evil') WHERE oid = 'audit.leaf'::regclass",
}
BESIDE = {
    "a function for all": "CREATE FUNCTION pg_catalog.evil() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    "a function of Postgres's own": "ALTER FUNCTION pg_catalog.pg_ls_waldir() SECURITY DEFINER",
    "files for all": "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO PUBLIC",
    "files for all, without a word": "UPDATE pg_proc SET proacl = NULL WHERE oid = 'pg_read_file(text)'::regprocedure",
    "passwords for all": "GRANT SELECT ON pg_authid TO PUBLIC",
    "rows of a child": "SET LOCAL allow_system_table_mods = on;"
    " CREATE TABLE pg_catalog.kid () INHERITS (workspaces_membership)",
    "a view for all": "SET LOCAL allow_system_table_mods = on; CREATE VIEW pg_catalog.evil AS TABLE workspaces_membership",
    "keys off for all": "SET LOCAL session_replication_role = replica",
}
SWAPPED = {
    "operator =(uuid,uuid)": "UPDATE pg_operator SET oprcode = 'uuid_ne'::regproc WHERE oid = '=(uuid,uuid)'::regoperator",
    "operator >=(bigint,bigint)": "UPDATE pg_operator SET oprcode = 'int8eq'::regproc WHERE oid = '>=(bigint,bigint)'::regoperator",
    "operator 3 (uuid, uuid) of operator family uuid_ops for access method btree: <>(uuid,uuid)": "UPDATE pg_amop"
    " SET amopopr = '<>(uuid,uuid)'::regoperator WHERE amopopr = '=(uuid,uuid)'::regoperator AND amopmethod = 403",
    "function 1 (uuid, uuid) of operator family uuid_ops for access method btree: uuid_hash(uuid)": "UPDATE pg_amproc"
    " SET amproc = 'uuid_hash'::regproc WHERE amproc = 'uuid_cmp'::regproc",
    "cast from regclass to bigint": "UPDATE pg_cast SET castcontext = 'e' WHERE castsource = 'regclass'::regtype"
    " AND casttarget = 'bigint'::regtype",
    "type bigint": "UPDATE pg_type SET typsend = 'int4send' WHERE oid = 'bigint'::regtype",
    "function max(bigint)": "UPDATE pg_aggregate SET aggtransfn = 'int8smaller'::regproc WHERE aggfnoid = 'max(bigint)'::regprocedure",
    "function clock_timestamp()": "ALTER FUNCTION clock_timestamp() IMMUTABLE",
    "function textlike(text,text)": "ALTER FUNCTION textlike(text, text) LEAKPROOF",
    "function sha256(bytea)": "UPDATE pg_proc SET proname = 'sha512' WHERE oid = 'sha512(bytea)'::regprocedure; ALTER FUNCTION"
    " sha256(bytea) RENAME TO sha2; ALTER FUNCTION sha224(bytea) RENAME TO sha256;"
    " GRANT EXECUTE ON FUNCTION sha256(bytea) TO prov_owner",
    "view pg_roles": "CREATE OR REPLACE VIEW pg_catalog.pg_roles AS SELECT rolname, false AS rolsuper, rolinherit, rolcreaterole,"
    " rolcreatedb, rolcanlogin, rolreplication, rolconnlimit, '********'::text AS rolpassword, rolvaliduntil, rolbypassrls,"
    " setconfig AS rolconfig, pg_authid.oid FROM pg_authid LEFT JOIN pg_db_role_setting AS s ON pg_authid.oid = setrole AND"
    " setdatabase = 0",
}


@pytest.mark.django_db
@pytest.mark.parametrize("statement", [*ASLEEP.values(), *BESIDE.values()], ids=[*ASLEEP, *BESIDE])
def test_what_sleeps_or_stands_beside_is_noticed(statement):
    found = databases.problems_behind(statement)
    assert found
    assert "provenance/walls.txt" in " ".join(found)


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "statement"), SWAPPED.items(), ids=list(SWAPPED))
def test_what_answers_for_another_of_postgres_own_is_named(name, statement):
    assert f"Postgres's own {name} was changed after its cluster was made" in databases.problems_behind(statement)
