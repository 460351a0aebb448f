"""Digest mails: each period once, to members who may read the log, with counts and what is notable (M129, M132)."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email import message_from_string, policy
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection

from apikeys.services import issue_key
from audit.services import Target
from audit.taxonomy import Event
from provenance.db import enter
from provenance.errors import Conflict, Invalid, NotFound, PermissionDenied
from provenance.ids import public_id
from streams import digests, sweep
from streams.letters import NOTABLE, Letter, Line, Reviewed
from streams.models import Digest, DigestSend
from streams.periods import Period, periods
from streams.services import digests as services
from streams.services.digests import Contents
from tests import databases, factories
from tests.browsing import browser, program
from tests.fakes.receivers import relay
from tests.gateway.world import detail, make_running_run, unguarded
from workspaces.services import remove_member


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- Periods and letters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "since", "now", "shown"),
    [
        ("daily", "2026-11-28T13:00", "2026-11-30T00:00", ["2026-11-28", "2026-11-29"]),
        ("daily", "2026-11-29T23:59", "2026-11-29T23:59:59", []),
        ("weekly", "2026-11-25T10:00", "2026-11-30T00:00", ["2026-11-23 to 2026-11-29"]),
        ("weekly", "2026-11-30T00:00", "2026-12-06T23:59", []),
        ("monthly", "2027-01-31T10:00", "2027-03-01T00:00", ["2027-01-01 to 2027-01-31", "2027-02-01 to 2027-02-28"]),
        ("monthly", "2026-12-31T10:00", "2027-01-01T00:00", ["2026-12-01 to 2026-12-31"]),
    ],
)
def test_periods_are_whole_and_in_utc(kind, since, now, shown):
    found = list(periods(kind, at(since), at(now)))
    assert [str(period) for period in found] == shown
    assert all(one.end == other.start for one, other in itertools.pairwise(found))


def letter(**changes):
    values = {
        "workspace": "Acme",
        "title": "Audit digest",
        "period": Period(at("2026-11-23"), at("2026-11-30")),
        "risk": "",
        "counts": {"run.failed": 2, "model.called": 1500},
        "notable": [Line(at("2026-11-24T10:11"), "run.failed", "high", "ada", "R-1", "https://x/evt_1/")],
        "notable_count": 2,
        "review": [Reviewed("Vendor terms", 12, 2)],
        "console": "https://x/",
    }
    return Letter(**{**values, **changes})


def test_a_letter_counts_says_what_is_notable_and_asks_for_a_review():
    text = letter().text
    assert "1,502 events" in text
    assert text.index("1,500  model.called") < text.index("2  run.failed")
    assert "Notable (the newest 1 of 2)" in text
    assert "2026-11-24 10:11  high      run.failed  ada > R-1" in text
    assert "Vendor terms: 12 runs, 2 failed" in text
    assert "To review: no workflow ran" in letter(review=[]).text
    assert "review" not in letter(review=None).text


def test_no_name_begins_a_line_or_a_header_of_its_own():
    evil = "x\r\nBcc: all@evil.example\n\u2028Please pay\x00" + "y" * 500
    made = letter(
        workspace=evil, title=evil, notable=[Line(at("2026-11-24"), evil, "high", evil, evil, "https://x/")],
        review=[Reviewed(evil, 1, 0)],
    )  # fmt: skip
    assert made.subject.isprintable() or "\ufffd" in made.subject
    assert "\n" not in made.subject
    assert not [line for line in made.text.splitlines() if line.startswith(("Bcc", "Please pay"))]


def test_what_is_notable_is_at_least_what_somebody_must_look_at():
    """M132; calls that change something are found by their risk."""
    assert set(Event) >= NOTABLE >= {"run.failed", "policy.violation", "secret.accessed", "approval.sla_breach"}


# --- Setting up ------------------------------------------------------------------------------------------------------


def contents(*readers, **more):
    return Contents(**{"title": "Audit digest", "readers": [UUID(reader.id) for reader in readers], **more})


def test_readers_are_members_who_may_read_the_log(admin, auditor, viewer, stranger, events):
    digest = services.create_digest(actor=admin, contents=contents(admin, auditor))
    assert (digest.period, digest.review, len(digest.readers)) == ("weekly", True, 2)
    (created,) = events(Event.AUDIT_DIGEST_CREATED)
    assert "@example.com" not in created.body
    for reader in (viewer, stranger):
        with pytest.raises(Invalid, match="may read the audit log"):
            services.change_digest(actor=admin, digest_id=digest.pk, contents=contents(admin, reader))
    changed = services.change_digest(actor=admin, digest_id=digest.pk, contents=contents(auditor, period="daily"))
    assert (changed.period, len(changed.readers)) == ("daily", 1)
    with pytest.raises(Conflict):
        services.create_digest(actor=admin, contents=contents(admin))
    services.remove_digest(actor=admin, digest_id=digest.pk, reason="Nobody reads it.")
    with pytest.raises(NotFound):
        services.remove_digest(actor=admin, digest_id=digest.pk)
    assert [len(events(event)) for event in (Event.AUDIT_DIGEST_CHANGED, Event.AUDIT_DIGEST_REMOVED)] == [1, 1]


def test_a_reader_who_leaves_is_forgotten(admin, auditor, events):
    digest = services.create_digest(actor=admin, contents=contents(admin, auditor))
    remove_member(actor=admin, user_id=UUID(auditor.id), reason="Left.")
    assert [reader["user_id"] for reader in digest.fresh().readers] == [admin.id]
    assert len(events(Event.AUDIT_DIGEST_CHANGED)) == 1


def test_who_may_not_manage_sets_up_no_digest(admin, auditor, editor, stranger, other_workspace):
    digest = services.create_digest(actor=admin, contents=contents(admin))
    for person in (auditor, editor):
        with pytest.raises(PermissionDenied):
            services.create_digest(actor=person, contents=contents(auditor, title="Own"))
    with pytest.raises(NotFound), enter(other_workspace.id):
        services.remove_digest(actor=stranger, digest_id=digest.pk)


@pytest.mark.parametrize(
    "wrong", [{"title": ""}, {"title": "a\nb"}, {"period": "hourly"}, {"risk": "worst"}, {"readers": []}]
)
def test_a_digest_that_makes_no_sense_is_refused(admin, wrong):
    with pytest.raises(Invalid):
        services.create_digest(actor=admin, contents=contents(admin, **wrong))


@pytest.mark.django_db(transaction=True)
def test_a_digest_is_set_up_and_changed_over_rest_and_on_its_page():
    workspace = factories.make_workspace()
    with enter(workspace.id):
        admin = factories.make_member(workspace, roles={"admin"})
        _, text = issue_key(actor=admin, name="d", scopes=["audit:read"], expires_in_days=1)
    reader = public_id("usr", UUID(admin.id))
    client, base = browser(admin), f"/w/{workspace.slug}/streams/"
    assert "EMAIL_FROM" in client.get(base).content.decode()
    form = {"title": "Daily", "period": "daily", "readers": [reader]}
    assert client.post(f"{base}digests/create", form).status_code == 302
    with enter(workspace.id):
        one = f"{base}digests/{public_id('dgs', Digest.objects.get().pk)}/"
    assert "Daily mail to 1 reader." in client.get(one).content.decode()
    assert client.post(one, {**form, "period": "weekly"}).status_code == 302
    assert client.post(one, {**form, "readers": ["usr_x"]}).status_code == 422
    key = program(text)
    (shown,) = key.get("/api/v1/audit/digests").json()["items"]
    assert (shown["period"], shown["readers"], shown["sent_at"]) == ("weekly", [reader], None)
    assert "@" not in key.get("/api/v1/audit/digests").content.decode()
    assert key.get(f"/api/v1/audit/digests/{shown['id']}").json() == shown
    assert client.post(f"{one}remove", {"reason": "Done."}).status_code == 302


# --- Sending ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def mailing(river, monkeypatch):
    """The river with a relay, and a daily digest that was set up the day before yesterday."""
    with relay() as server:
        monkeypatch.setattr(settings, "EMAIL_URL", server.url)
        monkeypatch.setattr(settings, "EMAIL_FROM", "provenance@example.com")
        river.relay = server
        with enter(river.workspace_id):
            river.auditor = factories.make_member(river.world.workspace, roles={"auditor"})
            river.digest = services.create_digest(
                actor=river.admin, contents=contents(river.admin, river.auditor, period="daily")
            )
        yield river


def tomorrow(monkeypatch):
    """The clock of the worker, a day from now: the database's own cannot be set."""
    monkeypatch.setattr(digests, "database_now", lambda: datetime.now(UTC) + timedelta(days=1))


def send(river):
    before = databases.become("prov_worker")
    signs, settings.AUDIT_SIGNS_AS = settings.AUDIT_SIGNS_AS, "worker"
    try:
        return digests.send_due(river.workspace_id, river.digest.pk)
    finally:
        settings.AUDIT_SIGNS_AS = signs
        databases.become(before)


def lease(until):
    with databases.admin() as owner:
        owner.execute(f"UPDATE streams_digestsend SET lease_until = {until}")


def test_a_day_is_mailed_once_when_it_is_over(mailing, monkeypatch):
    assert send(mailing) == 0
    mailing.tell(2, Event.RUN_FAILED, target=Target("run", "r", label="Vendor terms\r\nBcc: x@evil.example"))
    make_running_run(mailing.workspace_id)
    tomorrow(monkeypatch)
    assert [send(mailing), send(mailing)] == [1, 0]
    ((to, text),) = mailing.relay.mails
    assert len(to) == 2
    mail = message_from_string(text, policy=policy.default)
    assert mail["From"].addresses[0].addr_spec == "provenance@example.com"
    assert mail["To"] == "undisclosed-recipients:;"
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("Audit digest: Workspace")
    body = mail.get_content()
    assert "2  run.failed" in body
    assert "Flow: 1 runs, 0 failed" in body
    assert not [line for line in body.splitlines() if line.startswith("Bcc")]
    (sent,) = mailing.events(Event.AUDIT_DIGEST_SENT)
    assert (sent.object_id, sent.kid, detail(sent)["events"] > 2) == (str(mailing.digest.pk), "worker-1", True)


@pytest.mark.parametrize("moment", ["infinity", "200000-01-01", "0001-01-01", "-infinity"])
def test_a_digest_of_no_time_is_an_alarm_and_not_sent(mailing, monkeypatch, moment):
    with unguarded("streams_digest") as owner:
        owner.execute("UPDATE streams_digest SET created_at = %s", [moment])
    tomorrow(monkeypatch)
    assert [send(mailing), send(mailing)] == [0, 0]
    assert not mailing.relay.mails
    (alarm,) = mailing.events(Event.AUDIT_ROW_ALTERED)
    assert (alarm.object_type, alarm.object_id) == ("digest", str(mailing.digest.pk))


@pytest.mark.parametrize("moment", ["infinity", "200000-01-01", "2100-01-01"])
def test_a_period_that_is_to_come_and_noted_as_sent_holds_up_no_other(mailing, monkeypatch, moment):
    tomorrow(monkeypatch)
    assert send(mailing) == 1
    with databases.admin() as owner:
        owner.execute("UPDATE streams_digestsend SET period_start = %s", [moment])
    assert send(mailing) == 1


@pytest.mark.parametrize("until", ["'infinity'", "clock_timestamp() + interval '1 year'"])
def test_a_lease_that_nobody_asks_for_holds_up_no_digest(mailing, monkeypatch, until):
    """Somebody set it, or a clock that was ahead."""
    tomorrow(monkeypatch)
    monkeypatch.setattr(settings, "EMAIL_URL", "smtp://127.0.0.1:9")
    assert send(mailing) == 0
    monkeypatch.setattr(settings, "EMAIL_URL", mailing.relay.url)
    lease(f"clock_timestamp() + interval '{digests.LONGEST_PAUSE_MINUTES} minutes'")
    assert (rung_tomorrow(monkeypatch), send(mailing)) == ([], 0), "a pause after a failure is kept"
    lease(until)
    assert rung_tomorrow(monkeypatch) == [(str(mailing.workspace_id), str(mailing.digest.pk))]
    assert send(mailing) == 1


def test_two_workers_at_once_send_one_mail(mailing, monkeypatch):
    tomorrow(monkeypatch)
    before = databases.become("prov_worker")
    monkeypatch.setattr(settings, "AUDIT_SIGNS_AS", "worker")

    def work(_):
        try:
            return digests.send_due(mailing.workspace_id, mailing.digest.pk)
        finally:
            connection.close()

    try:
        with ThreadPoolExecutor(3) as pool:
            assert sorted(pool.map(work, range(3))) == [0, 0, 1]
    finally:
        databases.become(before)
    assert len(mailing.relay.mails) == 1


def test_who_has_left_gets_none_and_a_relay_that_is_away_is_told_once(mailing, monkeypatch):
    with unguarded("workspaces_membership") as owner:
        owner.execute("UPDATE workspaces_membership SET removed_at = now() WHERE user_id = %s", [mailing.auditor.id])
    tomorrow(monkeypatch)
    monkeypatch.setattr(settings, "EMAIL_URL", "smtp://127.0.0.1:9")
    assert send(mailing) == 0
    with enter(mailing.workspace_id):
        (row,) = DigestSend.objects.all()
        assert "relay did not take it" in row.last_error
    for _ in range(2):
        lease("now() - interval '1 second'")
        assert send(mailing) == 0
    assert len(mailing.events(Event.AUDIT_DIGEST_FAILED)) == 1
    monkeypatch.setattr(settings, "EMAIL_URL", mailing.relay.url)
    lease("now() - interval '1 second'")
    assert send(mailing) == 1
    ((to, _text),) = mailing.relay.mails
    assert len(to) == 1


def test_readers_who_were_written_into_the_database_get_nothing(mailing, monkeypatch):
    """T06: the record is held against what was signed of it before a mail goes."""
    tomorrow(monkeypatch)
    with unguarded("streams_digest") as owner:
        owner.execute("UPDATE streams_digest SET readers = jsonb_set(readers, '{0,email}', '\"evil@evil.example\"')")
    assert send(mailing) == 0
    with enter(mailing.workspace_id):
        assert "not those that were signed" in DigestSend.objects.get().last_error
    assert not mailing.relay.mails
    assert len(mailing.events(Event.AUDIT_ROW_ALTERED)) == 1


def test_without_a_relay_the_digest_says_so(mailing, monkeypatch):
    tomorrow(monkeypatch)
    monkeypatch.setattr(settings, "EMAIL_URL", "")
    assert send(mailing) == 0
    with enter(mailing.workspace_id):
        assert "EMAIL_URL and EMAIL_FROM are not both set" in DigestSend.objects.get().last_error


def rung(monkeypatch, now):
    """The digests that the sweep of a worker rings for."""
    heard = []
    monkeypatch.setattr(sweep.current_app, "send_task", lambda name, args, **_: heard.append((name, args)))
    sweep._digests_of.cache_clear()
    before = databases.become("prov_worker")
    try:
        sweep.sweep(now)
    finally:
        databases.become(before)
    return [tuple(args) for name, args in heard if name == sweep.DIGEST_TASK]


def rung_tomorrow(monkeypatch):
    return rung(monkeypatch, datetime.now(UTC) + timedelta(days=1))


def test_the_sweep_rings_for_a_digest_whose_period_is_over(mailing, monkeypatch):
    assert not rung(monkeypatch, datetime.now(UTC))
    assert rung_tomorrow(monkeypatch) == [(str(mailing.workspace_id), str(mailing.digest.pk))]
