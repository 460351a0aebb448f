"""The log in the layout of c2sp.org/tlog-tiles: a client of its own recomputes the root and every leaf from it."""

import pytest

from apikeys import services as keys
from audit.envelope import storing
from audit.merkle import leaf_hash
from audit.sealing.growth import Log
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import enter
from tests import databases, factories
from tests.attacks.log import told_by
from tests.audit import sealing
from tests.audit.tlog_client import Broken, fsck, over_rest
from tests.browsing import program

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def workspace(db):
    """Not in scope: the door alone must bring it there."""
    return factories.make_workspace()


@pytest.fixture
def client(admin, workspace):
    with enter(workspace.pk):
        _key, text = keys.issue_key(actor=admin, name="monitor", scopes=["audit:read"])
    return program(text)


def tell(workspace, count):
    made = [told_by("worker", Actor.system("tests", workspace.pk), Event.RUN_STARTED) for _ in range(count)]
    with databases.login("worker") as worker, worker.transaction():
        worker.execute(f"SET LOCAL app.workspace_id = '{workspace.pk}'")
        worker.execute(*storing(made))
    return made


def address(workspace):
    return f"/api/v1/audit/log/{workspace.pk}"


def test_a_client_of_its_own_recomputes_the_root_and_every_leaf(workspace, client):
    """What Tessera's fsck does: checkpoint, all tiles, all entries (audit.md 4.7, goal 11)."""
    told = tell(workspace, 600)
    sealing.seal()
    origin, size, root, entries = fsck(over_rest(client, address(workspace)))
    (*_, newest) = sealing.checkpoints(workspace.pk)
    assert (origin, size, root) == (newest.origin, newest.size, newest.root)
    assert origin.endswith(str(workspace.pk))
    assert {b"provenance-audit-v1\n" + event.body.encode() + event.mac for event in told} <= set(entries)


def test_tiles_above_the_leaves_are_served_whole_and_in_part(workspace, client):
    """A tree of 70,000 leaves, as the specification itself takes one: levels 0 to 2."""
    log = Log(10**6, f"{sealing.ORIGIN}/{workspace.pk}/big", workspace.pk)
    leaves = [leaf_hash(str(number).encode()) for number in range(70_000)]
    tiles = log.append(leaves)
    with databases.admin() as owner:
        owner.execute(
            "INSERT INTO audit.log (id, workspace_id, epoch, origin) OVERRIDING SYSTEM VALUE VALUES (%s, %s, 7, %s)",
            [log.id, workspace.pk, log.origin],
        )
        with (
            owner.cursor() as cursor,
            cursor.copy("COPY audit.leaf (log_id, idx, hash) FROM STDIN (FORMAT binary)") as copy,
        ):
            copy.set_types(["int8", "int8", "bytea"])
            for index, leaf in enumerate(leaves):
                copy.write_row((log.id, index, leaf))
        owner.cursor().executemany(
            "INSERT INTO audit.tile VALUES (%s, %s, %s, %s)",
            [(log.id, tile.level, tile.n, tile.data) for tile in tiles],
        )
        owner.execute(
            "INSERT INTO audit.checkpoint (log_id, workspace_id, size, note, signatures, frontier)"
            " VALUES (%s, %s, 70000, %s, '— nobody AAAAAAAA\n', %s)",
            [log.id, workspace.pk, log.checkpoint().text, log.frontier.to_bytes()],
        )
    fetch = over_rest(client, address(workspace))
    _origin, size, _root, _entries = fsck(fetch, with_entries=False)
    assert size == 70_000
    assert [
        len(fetch(f"tile/{place}")) // 32 for place in ("0/272", "0/273.p/112", "1/000", "1/001.p/17", "2/000.p/1")
    ] == [256, 112, 256, 17, 1]
    # A partial tile of an earlier checkpoint stays there, though its tile is full now.
    assert fetch("tile/1/000.p/3") == fetch("tile/1/000")[:96]
    with pytest.raises(Broken, match="404"):
        fetch("tile/1/001.p/18")


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/001",
        "tile/0/000.p/300",
        "tile/0/000.p/256",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/9",
        "tile/0/0",
        "tile/0/x000/000",
        "tile/0/000/",
        "tile/00/000.p/1",
        "tile/64/000.p/1",
        "tile/-1/000.p/1",
        "tile/0/x999/x999/x999/x999/x999/999",
        "tile/0/..%2f..%2f000.p/1",
        "tile/0/\N{ARABIC-INDIC DIGIT ZERO}00.p/1",
        "tile/entries/001",
        "tile/entries/000.p/9",
        "tile/1/000",
        "tile",
        "epoch/2/checkpoint",
    ],
)
def test_what_the_checkpoint_does_not_hold_is_not_there(workspace, client, path):
    tell(workspace, 1)
    sealing.seal()
    assert client.get(f"{address(workspace)}/{path}").status_code == 404


def test_what_never_changes_may_be_kept_and_the_checkpoint_may_not(workspace, client):
    tell(workspace, 3)
    sealing.seal()
    tile = client.get(f"{address(workspace)}/tile/0/000.p/2")
    assert tile["Cache-Control"] == "private, max-age=31536000, immutable"
    assert tile["Content-Type"] == "application/octet-stream"
    assert "X-API-Key" in tile["Vary"]
    checkpoint = client.get(f"{address(workspace)}/checkpoint")
    assert checkpoint["Content-Type"] == "text/plain; charset=utf-8"
    assert "no-cache" in checkpoint["Cache-Control"]
    # The same by the number of the epoch, under which it stays when the log is begun anew.
    assert client.get(f"{address(workspace)}/epoch/1/checkpoint").content == checkpoint.content


def test_a_body_that_is_gone_is_named_by_its_index(workspace, client):
    told = tell(workspace, 3)
    sealing.seal()
    ((index,),) = sealing.rows("SELECT idx FROM audit.leaf WHERE event_id = %s", told[1].id)
    sealing.tamper("DELETE FROM audit.event WHERE id = %s", told[1].id)
    size = sealing.checkpoints(workspace.pk)[-1].size
    answer = client.get(f"{address(workspace)}/tile/entries/000.p/{size}")
    assert answer.status_code == 404
    assert f"The event at {index} is not kept" in answer.json()["detail"]


def test_an_event_tells_its_index_once_it_is_sealed(workspace, client, admin):
    with enter(workspace.pk):
        event = record(actor=admin, event=Event.RUN_FAILED, target=Target("run", "1"))
    (before,) = client.get("/api/v1/audit/events", {"type": "run.failed"}).json()["items"]
    assert before["log_index"] is None
    assert client.get(f"/api/v1/audit/events/{before['event_id']}").json()["proof"]["in_log"] is None
    sealing.seal()
    (after,) = client.get("/api/v1/audit/events", {"type": "run.failed"}).json()["items"]
    ((index,),) = sealing.rows("SELECT idx FROM audit.leaf WHERE event_id = %s", event.id)
    assert after["log_index"] == index
    whole = client.get(f"/api/v1/audit/events/{after['event_id']}").json()
    assert whole["proof"] | {"in_log": True, "in_checkpoint": True, "checkpoint_signed": True} == whole["proof"]
    assert whole["checkpoint_size"] > index
    assert [step["state"] for step in whole["steps"]] == ["ok"] * 5


def test_the_seal_says_where_the_log_is_read(workspace, client):
    assert client.get("/api/v1/audit/seal").json()["state"] == "waiting"
    tell(workspace, 2)
    sealing.seal()
    seal = client.get("/api/v1/audit/seal").json()
    assert seal["state"] == "sealed"
    assert (
        client.get(f"{seal['address']}/checkpoint").content.decode().startswith(f"{seal['origin']}\n{seal['size']}\n")
    )
