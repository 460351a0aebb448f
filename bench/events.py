"""Signed events in numbers, and tables to change under them."""

from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

import orjson

from audit.envelope import EventContext, ObjectFacts, SignedEvent, build, storing
from audit.signing import KeyRing
from audit.taxonomy import Event
from bench.guards import past_the_guards
from provenance.actor import Actor, ActorKind
from provenance.ids import uuid7

AT_ONCE = 500
"""Events of one statement."""
READ_KINDS = (Event.RUN_STARTED, Event.MCP_TOOL_REQUESTED, Event.MCP_TOOL_CALLED, Event.AUTHZ_DENIED)


def told(keys: KeyRing, workspace_id: UUID | None, count: int, *, labels: bool = False) -> list[SignedEvent]:
    """Events of tool calls and the like, as a process writes them: no row changes with them.

    `labels`: each has a detail, in which it stands what people call the agent and the tool.
    """
    actor = Actor(
        kind=ActorKind.AGENT, id=str(uuid7()), label="Reads invoices" if labels else "", workspace_id=workspace_id
    )
    tool = "erp.look_up" if labels else ""
    run = uuid7()
    context = EventContext(run_id=run, step="look_up", agent_version="7", action_id=uuid7(), environment="production")
    return [
        build(
            keys=keys,
            actor=actor,
            event=READ_KINDS[number % len(READ_KINDS)],
            target=ObjectFacts(type="tool_call", id=str(uuid7()), label=tool),
            workspace_id=workspace_id,
            context=context,
        )
        for number in range(count)
    ]


def of_change(
    keys: KeyRing, workspace_id: UUID, type_: str, row_id: UUID, rev: int, *, op: Literal["insert", "update"] = "update"
) -> SignedEvent:
    """The event of one change of a governed row: that it was made, or its title."""
    changed = ("title",) if op == "update" else ()
    return build(
        keys=keys,
        actor=Actor(kind=ActorKind.SYSTEM, id="bench", label="", workspace_id=workspace_id),
        event=Event.AGENT_UPDATED if op == "update" else Event.AGENT_CREATED,
        target=ObjectFacts(type=type_, id=str(row_id), rev=rev, op=op, changed=changed, state="0" * 64),
        workspace_id=workspace_id,
    )


def raw_columns(event: SignedEvent) -> list[Any]:
    """The columns of an event's row, in the order of `NAMES`."""
    said = orjson.loads(event.body)
    actor, target = said["actor"], said["object"]
    return [
        *(event.id, event.workspace_id, target["type"], target["id"], target["rev"], target["op"], said["changed"]),
        *(said["action"], actor["id"], actor["type"], said["outcome"], said["risk"], said["context"].get("run_id")),
        *(said["kid"], event.mac, event.body),
    ]


def detail_columns(event: SignedEvent) -> list[Any]:
    """The columns of its detail's row, in the order of `DETAIL_NAMES`."""
    detail = event.detail
    if detail is None:
        return []
    return [event.id, event.workspace_id, detail.salt, detail.body, detail.media_type, detail.retention_class]


DETAIL_NAMES = "event_id, workspace_id, salt, body, media_type, retention_class"
NAMES = (
    "id, workspace_id, object_type, object_id, rev, op, changed, action, actor_id, actor_type, outcome, risk, run_id, "
    "kid, mac, body"
)
_ROW = (
    "(%s::uuid, %s::uuid, %s::text, %s::text, %s::bigint, %s::text, %s::text[], %s::text, %s::text, %s::text, "
    "%s::text, %s::text, %s::uuid, %s::text, %s::bytea, %s::text)"
)


def raw_insert(table: str, count: int = 1) -> str:
    """The plain statement that stores rows of events in a table without walls."""
    return f"INSERT INTO {table} ({NAMES}) VALUES {', '.join([_ROW] * count)}"  # noqa: S608  our table names


LIMIT_TABLES = """
CREATE SCHEMA bench;
GRANT USAGE ON SCHEMA bench TO prov_worker, prov_web;
-- The same columns, indexes and checks; no trigger, no row security, no months.
CREATE TABLE bench.raw (LIKE audit.event INCLUDING ALL);
ALTER TABLE bench.raw ALTER xid SET DEFAULT pg_current_xact_id();
-- And less than that: nobody could search it.
CREATE TABLE bench.bare (LIKE audit.event);
ALTER TABLE bench.bare ALTER xid DROP NOT NULL, ADD PRIMARY KEY (id);
-- A hash chain for each workspace, as home-made logs have it.
CREATE TABLE bench.chained (LIKE audit.event INCLUDING ALL);
ALTER TABLE bench.chained ALTER xid SET DEFAULT pg_current_xact_id();
CREATE TABLE bench.head (workspace_id uuid PRIMARY KEY, hash bytea NOT NULL);
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA bench TO prov_worker, prov_web;
-- For `bench.ground.SLOW_FLUSH`.
GRANT SET ON PARAMETER commit_delay TO prov_worker, prov_web;
"""


def make_workspace(admin: Any, workspace_id: UUID | None = None) -> UUID:
    """A workspace, put in past the guards: nothing is told about one that does not exist. Its id."""
    workspace = workspace_id or uuid7()
    with admin.transaction(), past_the_guards(admin, "public.workspaces_workspace"):
        admin.execute(
            "INSERT INTO public.workspaces_workspace (id, workspace_id, audit_rev, audit_salt, slug, name, created_at) "
            "VALUES (%s, %s, 0, decode(repeat('ab', 32), 'hex'), %s, 'Measured', now())",
            [workspace, workspace, str(workspace)],
        )
    return workspace


def make_governed(admin: Any, name: str, *, without: Sequence[str] = ()) -> None:
    """A governed table with the columns of an agent; `without` names triggers that are left out."""
    from audit.guard import Grant, GuardTable, TenantTable

    admin.execute(f"CREATE TABLE public.{name} (LIKE public.agents_agent INCLUDING DEFAULTS, PRIMARY KEY (id))")
    admin.execute(f"ALTER TABLE public.{name} OWNER TO prov_owner")
    walls = (
        TenantTable(name),
        GuardTable(name, object_type=name, events=[Event.AGENT_CREATED, Event.AGENT_UPDATED]),
        Grant(name, web="select, insert, update, delete", worker="select, insert, update"),
    )
    for wall in walls:
        admin.execute(wall.up())
    for trigger in without:
        admin.execute(f"DROP TRIGGER {trigger} ON public.{name}")


def fill_governed(web: Any, keys: KeyRing, name: str, workspace_id: UUID, count: int) -> list[UUID]:
    """Rows of that table at revision 1, each told as a service tells it; their ids. `web`: a connection of that role."""
    ids = [uuid7() for _ in range(count)]
    with web.transaction():
        web.execute("SELECT set_config('app.workspace_id', %s, true)", [str(workspace_id)])
        web.cursor().executemany(
            f"""INSERT INTO public.{name} (id, workspace_id, audit_rev, audit_salt, slug, title, status, trust_level,
                current_version, suspended_reason, created_by, created_at)
                VALUES (%s, %s, 1, decode(repeat('ab', 32), 'hex'), 'agent-' || %s, 'Reads invoices and asks',
                'active', 'low', 3, '', 'nobody', now())""",  # noqa: S608  our table names
            [(row_id, workspace_id, str(number)) for number, row_id in enumerate(ids)],
        )
        told = [of_change(keys, workspace_id, name, row_id, 1, op="insert") for row_id in ids]
        for start in range(0, count, AT_ONCE):
            web.execute(*storing(told[start : start + AT_ONCE]))
    return ids
