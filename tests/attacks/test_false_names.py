"""A superuser puts other things under names that Postgres has, so that whoever looks sees what they are meant to see."""

import pytest
from django.conf import settings

from audit.verifying.verification import Verification, Wanted
from provenance.db import enter
from provenance.postgres.names import signed_in
from tests import databases, factories
from tests.audit import sealing

A_BLIND = "SELECT * FROM pg_catalog.pg_namespace WHERE nspname <> 'evil'"
HIDING = {
    "along another path": f"CREATE SCHEMA evil; CREATE VIEW evil.pg_namespace AS {A_BLIND};"
    " GRANT USAGE ON SCHEMA evil TO PUBLIC; GRANT SELECT ON evil.pg_namespace TO PUBLIC;"
    " SET LOCAL search_path = evil, pg_catalog, public",
    "as a temporary view": f"CREATE SCHEMA evil; CREATE TEMPORARY VIEW pg_namespace AS {A_BLIND};"
    " GRANT SELECT ON pg_temp.pg_namespace TO PUBLIC",
}
BETTER_FITTING = {
    "function format(text,text,text,text)": "CREATE FUNCTION pg_catalog.format(text, text, text, text) RETURNS text"
    " LANGUAGE sql AS $$ SELECT 'schema public of prov_owner' $$",
    "operator ~(regclass,text)": "CREATE FUNCTION public.nothing(regclass, text) RETURNS boolean LANGUAGE sql"
    " AS 'SELECT false'; CREATE OPERATOR pg_catalog.~ (FUNCTION = public.nothing, LEFTARG = regclass, RIGHTARG = text)",
    "function sha256(bytea)": "UPDATE pg_proc SET prolang = 14, proisstrict = false, prosrc ="
    " 'SELECT CASE WHEN $1 = ''altered'' THEN ''as signed''::bytea ELSE pg_catalog.sha256($1) END'"
    " WHERE oid = 'pg_catalog.sha256(bytea)'::regprocedure",
    "operator =(uuid,uuid)": "CREATE FUNCTION public.never(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT false';"
    " UPDATE pg_operator SET oprcode = 'public.never'::regproc WHERE oid = '=(uuid,uuid)'::regoperator",
    "aggregate max(bigint)": "CREATE FUNCTION public.least_of(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';"
    " UPDATE pg_aggregate SET aggtransfn = 'public.least_of'::regproc WHERE aggfnoid = 'max(bigint)'::regprocedure",
    "cast from regclass": "CREATE FUNCTION public.another(regclass) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$;"
    " CREATE CAST (regclass AS text) WITH FUNCTION public.another(regclass)",
}


@pytest.mark.django_db
@pytest.mark.parametrize("statement", HIDING.values(), ids=list(HIDING))
def test_a_schema_that_a_false_catalog_hides_is_found(statement):
    found = databases.problems_behind(statement)
    assert any(problem.startswith("The code does not have: schema evil of ") for problem in found), found


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "statement"), BETTER_FITTING.items(), ids=list(BETTER_FITTING))
def test_what_is_called_in_the_place_of_postgres_own_is_named(name, statement):
    assert f"The {name} is called in the place of one of Postgres's own" in databases.problems_behind(statement)


def test_a_sealer_that_was_given_another_path_finds_an_altered_detail_all_the_same(transactional_db):
    place = factories.make_workspace()
    with enter(place.id):
        factories.make_member(place, roles={"admin"})
    sealing.seal()
    ((event_id,),) = sealing.rows("SELECT event_id FROM audit.detail WHERE workspace_id = %s LIMIT 1", place.id)
    signed = commitment(event_id)
    sealing.tamper("UPDATE audit.detail SET body = 'another story' WHERE event_id = %s", event_id)
    altered = commitment(event_id)
    here = settings.DATABASES["default"]["NAME"]
    with databases.admin() as administrator:
        administrator.execute(
            "CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC; CREATE FUNCTION evil.encode(bytea, text) RETURNS text"
            f" LANGUAGE sql AS $$ SELECT replace(pg_catalog.encode($1, $2), '{altered}', '{signed}') $$; ALTER ROLE prov_sealer IN DATABASE {here}"
            " SET search_path = evil, pg_catalog"
        )
        try:
            report = verified()
        finally:
            administrator.execute(
                f"DROP SCHEMA evil CASCADE; ALTER ROLE prov_sealer IN DATABASE {here} RESET search_path"
            )
    assert [flaw.problem for log in report.logs for flaw in log.flaws] == ["its detail is not the one that was signed"]


@pytest.mark.parametrize(
    "setting",
    [
        "datestyle = 'German, DMY'",
        "standard_conforming_strings = off",
        "row_security = off",
        "client_encoding = 'LATIN1'",
        "bytea_output = escape",
        "timezone = 'Asia/Kolkata'",
        "statement_timeout = 1",
    ],
)
def test_a_sealer_that_was_set_to_read_otherwise_reads_as_ever(transactional_db, setting):
    place = factories.make_workspace()
    with enter(place.id):
        factories.make_member(place, roles={"admin"})
    sealing.seal()
    here = settings.DATABASES["default"]["NAME"]
    with databases.admin() as administrator:
        administrator.execute(f"ALTER ROLE prov_sealer IN DATABASE {here} SET {setting}")
        try:
            untouched = verified()
            sealing.tamper("UPDATE audit.detail SET body = 'another story' WHERE workspace_id = %s", place.id)
            altered = verified()
        finally:
            administrator.execute(f"ALTER ROLE prov_sealer IN DATABASE {here} RESET ALL")
    assert untouched.is_good, untouched
    problems = {flaw.problem for log in altered.logs for flaw in log.flaws}
    assert problems == {"its detail is not the one that was signed"}


def test_a_verification_names_what_is_called_in_the_place_of_postgres_own(transactional_db):
    with databases.admin() as administrator:
        administrator.execute(BETTER_FITTING["cast from regclass"])
        try:
            found = verified().problems
        finally:
            administrator.execute("DROP CAST (regclass AS text); DROP FUNCTION public.another(regclass)")
    assert "The cast from regclass is called in the place of one of Postgres's own" in found


def verified():
    return Verification(
        connect=lambda: signed_in(databases.role_url("sealer")),
        keys=sealing.all_keys(),
        signer=sealing.SIGNER,
        installation=sealing.ORIGIN,
    ).run(Wanted())


def commitment(event_id):
    statement = "SELECT encode(commitment, 'hex') FROM audit.detail_commitments(ARRAY[%s]::uuid[])"
    ((found,),) = sealing.rows(statement, event_id)
    return found
