"""A bucket with Object Lock takes checkpoints and gives the newest back, whatever was done in it since (audit.md 4.5)."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from audit.anchors import AnchorFailed
from audit.anchors import bucket as buckets
from audit.anchors.bucket import LockedBucket
from audit.taxonomy import Event
from tests.audit import sealing
from tests.audit.published import ORIGIN, note, sizes
from tests.audit.sealing import WORKSPACE, status, told
from tests.audit.telling import tell
from tests.fakes.locked_store import locked_store

OTHER = "log.test/0190c1d2-0000-7000-8000-000000000000"


@pytest.fixture
def store():
    with locked_store() as made:
        yield made


def place_of(store):
    return LockedBucket(store.url, "eu-central-1", "AKIDEXAMPLE:invented", "log.test", 600)


@pytest.fixture
def place(store):
    return place_of(store)


def test_an_object_is_locked_for_as_long_as_events_are_kept(store, place):
    place.carry({OTHER: note(5, OTHER), ORIGIN: note(12)})
    ((key, (version,)),) = store.objects.items()
    assert key == "checkpoints/log.test/999998-999999999999987-e1-12.jsonl"
    assert version.headers["x-amz-object-lock-mode"] == "COMPLIANCE"
    until = datetime.fromisoformat(version.headers["x-amz-object-lock-retain-until-date"])
    assert timedelta(days=7 * 365) < until - datetime.now(UTC) < timedelta(days=7 * 366)
    assert [orjson.loads(line)["note"] for line in version.body.splitlines()] == [note(5, OTHER), note(12)]
    assert all("Credential=AKIDEXAMPLE/" in request.headers["authorization"] for request in store.server.requests)
    assert not [request for request in store.server.requests if "invented" in str(request)]


def test_the_newest_of_every_log_is_read_again(store, place):
    assert place.newest() == {}
    place.carry({OTHER: note(5, OTHER), ORIGIN: note(9)})
    place.carry({ORIGIN: note(10)})
    place.carry({f"{ORIGIN}/e2": note(3, f"{ORIGIN}/e2")})
    place.carry({ORIGIN: note(99999)})
    found = place_of(store).newest()
    assert found[f"{ORIGIN}/e2"] == note(3, f"{ORIGIN}/e2"), "a later epoch is newer, however small"
    assert found[OTHER] == note(5, OTHER)


def test_a_larger_log_is_newer_whatever_is_put_later(store, place):
    for size in (999, 1000, 10):
        place.carry({ORIGIN: note(size)})
    assert sizes(place_of(store).newest().values()) == [1000]


def test_deleting_and_writing_over_hide_nothing(store, place):
    place.carry({ORIGIN: note(7)})
    (key,) = store.objects
    store.add(key, b"something else")
    store.add(key, None)
    assert place_of(store).newest() == {ORIGIN: note(7)}


def test_an_older_checkpoint_under_the_name_of_a_newer_one_is_found(store, place):
    place.carry({ORIGIN: note(7)})
    ((key, (version,)),) = store.objects.items()
    store.add(key.replace("-999999999999992-e1-7", "-000000000000000-e1-999999999999999"), version.body)
    with pytest.raises(AnchorFailed, match="does not hold what its name says"):
        place_of(store).newest()


@pytest.mark.parametrize("body", [b"", b"{}\n", b"\xff\n"])
def test_an_object_that_holds_no_checkpoint_is_said(store, place, body):
    store.add("checkpoints/log.test/000000-000000000000000-e1-1.jsonl", body)
    with pytest.raises(AnchorFailed, match="does not hold what its name says"):
        place.newest()


def test_a_bucket_without_object_lock_is_said(store, place):
    store.locks = False
    with pytest.raises(AnchorFailed, match="taken and not locked"):
        place.carry({ORIGIN: note(7)})


@pytest.mark.parametrize("method", ["PUT", "HEAD"])
def test_what_the_store_refuses_it_says(store, place, method):
    store.refuses[method] = ("403 Forbidden", "AccessDenied")
    with pytest.raises(AnchorFailed, match=f"answered 403.* to {method}"):
        place.carry({ORIGIN: note(7)})


def test_a_store_that_may_not_be_read_says_so(store, place):
    store.refuses["GET"] = ("403 Forbidden", "AccessDenied")
    with pytest.raises(AnchorFailed, match=r"answered 403 \(AccessDenied\) to GET"):
        place.newest()


def test_a_store_that_says_nothing_is_given_up(store, place, monkeypatch):
    monkeypatch.setattr(buckets, "WRITE_SECONDS", 0.2)
    monkeypatch.setattr(buckets, "READ_SECONDS", 0.2)
    store.hangs = True
    with pytest.raises(AnchorFailed, match="does not answer"):
        place.carry({ORIGIN: note(7)})
    with pytest.raises(AnchorFailed, match="does not answer"):
        place.newest()


def test_credentials_that_are_none_are_said_without_repeating_them(store):
    place = LockedBucket(store.url, "eu-central-1", "onlyonepart", "log.test", 600)
    with pytest.raises(AnchorFailed, match="access key id, a colon") as refusal:
        place.carry({ORIGIN: note(7)})
    assert "onlyonepart" not in str(refusal.value)


def with_sealer(test):
    return pytest.mark.django_db(transaction=True)(pytest.mark.workspaces(WORKSPACE)(test))


def grow(place, times=1):
    for _ in range(times):
        tell(WORKSPACE)
        with sealing.sealer(places=[place]) as one:
            one.work()
            took = one.couriers[0].deliver()
    return took


@with_sealer
def test_a_database_that_was_set_back_is_not_sealed_on(store):
    grow(place_of(store), times=2)
    sealing.start_over()
    grow(place_of(store))
    assert "does not continue what was published" in status()
    assert not sealing.leaves(WORKSPACE)


@with_sealer
def test_a_store_that_refuses_holds_nobody_up_and_shows(store):
    store.refuses = {"GET": ("403 Forbidden", "AccessDenied"), "PUT": ("403 Forbidden", "AccessDenied")}
    assert not grow(place_of(store))
    assert "answered 403 (AccessDenied) to PUT" in status("bucket")
    assert len(sealing.leaves(WORKSPACE)) == 1
    said = [detail["problem"] for _log, detail in told(Event.AUDIT_ANCHOR_FAILED)]
    assert said == [f"the bucket answered 403 (AccessDenied) to {method}" for method in ("GET", "PUT")]
