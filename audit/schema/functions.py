"""How a function of the schema `audit` is made, and the small ones that the others use.

Every function fixes its search_path and names what it uses with its schema (T11); EXECUTE is taken from PUBLIC.
"""

from dataclasses import dataclass

from audit.clocks import CLOCK_TOLERANCE
from provenance.postgres.refusals import NO_WORKSPACE, UNAUDITED
from provenance.roles import RUNTIME_ROLES

TENANT_ROLES = ("web", "gateway", "worker", "audit_read")
"""Who may use the scope. The sealer and retention work through functions of their own."""

IN_SCOPE = "NULLIF(pg_catalog.current_setting('app.workspace_id', true), '')"
"""What audit.ws() gives, as text and NULL without any. For functions with a search_path of their own, on the way of every
change: Postgres would plan audit.ws() anew whenever the path is another than at its last call (35 us)."""

OF_THIS_TRANSACTION = f"""
    event.id >= audit.uuid_floor(pg_catalog.now() - interval '{2 * CLOCK_TOLERANCE.seconds // 60} minutes') AND event.xid = pg_catalog.pg_current_xact_id()"""
"""The id alone keeps Postgres from looking through the months."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function in the schema `audit`, as it must be. Without anything else said, one that a trigger asks."""

    name: str
    source: str
    arguments: str = ""
    returns: str = "trigger"
    execute_by: tuple[str, ...] = ()
    definer: bool = False
    volatility: str = "VOLATILE"
    # A SET clause costs a microsecond per call; only what runs per row of every query goes without, and then names
    # everything it uses with its schema.
    fixes_search_path: bool = True
    quote: str = "$function$"
    settings: str = ""

    @property
    def signature(self) -> str:
        """Name and argument types, as GRANT wants them."""
        return f"audit.{self.name}({self.arguments_types})"

    @property
    def arguments_types(self) -> str:
        """The argument list without names."""
        return ", ".join(part.split(None, 1)[1] for part in self.arguments.split(",")) if self.arguments else ""

    def create(self) -> str:
        """The statements that make it and give EXECUTE to whom it is for."""
        security = "SECURITY DEFINER" if self.definer else "SECURITY INVOKER"
        search_path = "SET search_path = pg_catalog, pg_temp" if self.fixes_search_path else ""
        settings = f"{self.settings} " if self.settings else ""
        parallel = "PARALLEL SAFE" if self.volatility != "VOLATILE" else ""
        create = (
            f"CREATE OR REPLACE FUNCTION audit.{self.name}({self.arguments}) RETURNS {self.returns} LANGUAGE plpgsql "
            f"{self.volatility} {parallel} {security} {search_path} {settings}AS {self.quote}{self.source}{self.quote}"
        )
        statements = [
            create,
            f"REVOKE ALL ON FUNCTION {self.signature} FROM PUBLIC",
            *(f"GRANT EXECUTE ON FUNCTION {self.signature} TO {RUNTIME_ROLES[role]}" for role in self.execute_by),
        ]
        return ";\n".join(statements) + ";"


WS = Function(
    name="ws",
    returns="uuid",
    volatility="STABLE",
    fixes_search_path=False,
    execute_by=TENANT_ROLES,
    source=f"""
DECLARE
  scope text := pg_catalog.current_setting('app.workspace_id', true);
BEGIN
  -- After any SET LOCAL the unset value is the empty text, not NULL.
  IF scope IS NULL OR scope OPERATOR(pg_catalog.=) '' THEN
    RAISE EXCEPTION 'no workspace in scope' USING ERRCODE = '{NO_WORKSPACE}',
      HINT = 'Enter one first: provenance.db.enter(workspace_id).';
  END IF;
  RETURN scope::pg_catalog.uuid;
END
""",
)

UUID_TIME = Function(
    name="uuid_time",
    arguments="id uuid",
    returns="timestamptz",
    volatility="IMMUTABLE",
    source="""
BEGIN
  -- The first 48 bits of a UUIDv7 are milliseconds since 1970.
  RETURN pg_catalog.to_timestamp(
    ('x' || pg_catalog.left(pg_catalog.replace(id::text, '-', ''), 12))::bit(48)::bigint / 1000.0);
END
""",
)

UUID_FLOOR = Function(
    name="uuid_floor",
    arguments="at timestamptz",
    returns="uuid",
    volatility="IMMUTABLE",
    source="""
BEGIN
  -- The smallest id of that moment: partition bounds and range searches compare with it. No id is from before 1970, and
  -- the digits of a negative number would be those of the largest one: who keeps details for 100 years would lose them all.
  RETURN pg_catalog.rpad(
    pg_catalog.lpad(pg_catalog.to_hex(GREATEST(EXTRACT(epoch FROM at) * 1000, 0)::bigint), 12, '0'), 32, '0')::uuid;
END
""",
)

REFUSE = Function(
    name="refuse",
    source=f"""
BEGIN
  RAISE EXCEPTION '% on %.% is refused: its rows are written once and stay', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
    USING ERRCODE = '{UNAUDITED}';
END
""",
)

FUNCTIONS = (WS, UUID_TIME, UUID_FLOOR, REFUSE)
