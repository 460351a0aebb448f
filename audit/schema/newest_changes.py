"""The newest event about each of these rows, by which the row is believed: one function for a workspace, one for sign-in.

And the one about a row that is being changed, as few bytes and as little work as it takes, beside the UPDATE.
"""

from audit.schema.functions import IN_SCOPE, Function

_RECENT = 20
"""Among so many newest ones by id is the newest revision, whatever the clocks of two hosts say."""

_SOURCE = f"""
BEGIN
  -- By id first, which finds the newest partition, and then by revision: clocks of two hosts may differ.
  RETURN QUERY SELECT newest.* FROM unnest(types, ids) AS wanted (type, id) CROSS JOIN LATERAL (
    SELECT recent.* FROM (SELECT recent.* FROM (
      SELECT event.* FROM audit.event AS event
      WHERE event.workspace_id {{log}} AND event.object_id = wanted.id AND event.object_type = wanted.type
        AND event.op <> 'read'
      ORDER BY event.id DESC LIMIT {_RECENT}
    ) AS recent
    UNION ALL
    -- Of a month that left the log.
    SELECT carried.* FROM audit.carried AS carried
    WHERE carried.workspace_id {{log}} AND carried.object_id = wanted.id AND carried.object_type = wanted.type
      AND carried.op <> 'read'
    ) AS recent ORDER BY recent.rev DESC, recent.id DESC LIMIT 1
  ) AS newest{{which}};
END
"""  # noqa: S608  composed of constants

NEWEST_CHANGES = Function(
    name="newest_changes",
    arguments="types text[], ids text[]",
    returns="SETOF audit.event",
    volatility="STABLE",
    execute_by=("web", "gateway", "worker"),
    # One plan for every call: planned anew for each, the partitions of seven years cost eight milliseconds a look.
    settings="SET plan_cache_mode = force_generic_plan",
    source=_SOURCE.format(log="= audit.ws()", which=""),
)

NEWEST_ACCOUNT_CHANGES = Function(
    name="newest_account_changes",
    arguments="types text[], ids text[]",
    returns="SETOF audit.event",
    volatility="STABLE",
    # The log of the instance is not for web to read: of it only what was last told of an account that signs in.
    definer=True,
    execute_by=("web",),
    settings="SET plan_cache_mode = force_generic_plan",
    source=_SOURCE.format(log="IS NULL", which=" WHERE newest.object_type = 'user'"),
)

TOLD_OF_ACCOUNT = Function(
    name="told_of_account",
    arguments="of_type text, of_id text, of_rev bigint",
    returns="text",
    volatility="STABLE",
    execute_by=("web",),
    source="""
BEGIN
  RETURN (SELECT pg_catalog.encode(newest.mac, 'hex') || newest.body
          FROM audit.newest_account_changes(ARRAY[of_type], ARRAY[of_id]) AS newest);
END
""",
)


def told_of_row(partition: str) -> Function:
    """The signature, in hex, and the body of the newest event about a row at this revision; NULL without any.

    The month's partition by its name, as coverage has it: it costs a quarter of looking into all of them.
    """
    return Function(
        name="told_of_row",
        arguments="of_type text, of_id text, of_rev bigint",
        returns="text",
        # VOLATILE: beside a lock it must see what was committed while the statement waited, and not before.
        definer=True,
        execute_by=("web", "gateway", "worker"),
        source=f"""
DECLARE
  told text;
BEGIN
  SELECT pg_catalog.encode(recent.mac, 'hex') || recent.body INTO told FROM (
    SELECT event.rev, event.id, event.mac, event.body FROM audit.{partition} AS event
    WHERE event.workspace_id = {IN_SCOPE}::uuid AND event.object_id = of_id AND event.object_type = of_type
      AND event.op <> 'read'
    ORDER BY event.id DESC LIMIT {_RECENT}
  ) AS recent WHERE recent.rev >= of_rev ORDER BY recent.rev DESC, recent.id DESC LIMIT 1;
  IF FOUND THEN
    RETURN told;
  END IF;
  RETURN (SELECT pg_catalog.encode(newest.mac, 'hex') || newest.body
          FROM audit.newest_changes(ARRAY[of_type], ARRAY[of_id]) AS newest);
END
""",  # noqa: S608  composed of constants
    )


FUNCTIONS = (NEWEST_CHANGES, NEWEST_ACCOUNT_CHANGES, TOLD_OF_ACCOUNT)
