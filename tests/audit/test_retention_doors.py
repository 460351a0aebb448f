"""What is kept, through the console and REST."""

import re

import pytest

from apikeys import services as keys
from audit.models import LegalHold
from audit.retention import services as retention
from audit.taxonomy import Event
from provenance.db import enter
from provenance.ids import public_id
from tests import databases, factories
from tests.browsing import browser, program

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def place(transactional_db):
    made = factories.make_workspace()
    made.admin = factories.make_member(made, roles={"admin"})
    made.second = factories.make_member(made, roles={"admin"})
    return made


def known(place):
    """The id of something that the log tells of."""
    with enter(place.id):
        return factories.events()[0].object_id


def test_people_change_the_days_and_release_a_hold_by_two(place):
    first, second = browser(place.admin), browser(place.second)
    page = f"/w/{place.slug}/audit/retention/"
    assert re.search(r">90 days<span class=\"sub\">the default</span>", first.get(page).text)
    assert ">7 years<" in first.get(page).text
    assert first.post(f"{page}prompts", {"days": "60", "reason": "Enough."}).status_code == 302
    assert "Details of the class prompts are kept 60 days now." in first.get(page).text
    assert first.post(f"{page}prompts", {"days": "3", "reason": "Enough."}).status_code == 422
    assert (
        first.post(f"{page}holds", {"scope_kind": "object", "scope_id": known(place), "reason": "A case."}).status_code
        == 302
    )
    with enter(place.id):
        hold = LegalHold.objects.get()
    address = f"{page}holds/{public_id('hld', hold.pk)}"
    assert first.post(f"{address}/release", {"reason": "Over."}).status_code == 409
    assert first.post(f"{address}/ask", {"reason": "Over."}).status_code == 302
    mine, theirs = first.get(page).text, second.get(page).text
    assert "The hold stays until another administrator agrees." in mine
    assert "Agree and release" not in mine
    assert "You asked for it, so another administrator agrees." in mine
    assert "Agree and release" in theirs
    assert "what is erased does not come back" in theirs
    assert f"{place.admin.label} asked for its release" in theirs
    assert first.post(f"{address}/release", {"reason": "Over."}).status_code == 409
    assert second.post(f"{address}/release", {"reason": "I agree."}).status_code == 302
    assert "The hold is released. What it covered may be erased and expire from now on." in second.get(page).text
    with enter(place.id):
        assert LegalHold.objects.get().released_by == place.second.id
        assert len(factories.events(Event.LEGAL_HOLD_RELEASED)) == 1


def test_a_hold_that_cannot_be_engaged_is_said_in_its_form_and_keeps_what_was_written(place):
    client, page = browser(place.admin), f"/w/{place.slug}/audit/retention/"
    wrong = client.post(f"{page}holds", {"scope_kind": "run", "scope_id": "nonsense", "reason": "Case 12."})
    assert (wrong.status_code, "No event here is about this run" in wrong.text) == (422, True)
    assert 'value="nonsense"' in wrong.text
    assert "Case 12." in wrong.text
    everything = {"scope_kind": "workspace", "scope_id": "", "reason": "Case 12."}
    assert client.post(f"{page}holds", everything).status_code == 302
    again = client.post(f"{page}holds", everything)
    assert (again.status_code, "New legal hold" in again.text) == (409, True)
    with enter(place.id):
        assert LegalHold.objects.count() == 1


def test_whoever_only_reads_the_log_sees_it_and_changes_nothing(place):
    client = browser(factories.make_member(place, roles={"auditor"}))
    page = f"/w/{place.slug}/audit/retention/"
    shown = client.get(page).content.decode()
    assert "Legal holds" in shown
    assert "Engage hold" not in shown
    assert client.post(f"{page}holds", {"scope_kind": "workspace", "reason": "r"}).status_code == 403
    assert browser(factories.make_member(place, roles={"viewer"})).get(page).status_code == 403


def test_a_key_holds_and_reads_and_releases_nothing(place):
    with enter(place.id):
        _key, text = keys.issue_key(actor=place.admin, name="k", scopes=["gateway:write", "audit:read"])
        _key, weak = keys.issue_key(actor=place.admin, name="w", scopes=["audit:read"])
    client = program(text)
    body = {"scope_kind": "object", "scope_id": known(place), "reason": "A case."}
    made = client.post("/api/v1/audit/holds", body, content_type="application/json")
    again = client.post("/api/v1/audit/holds", body, content_type="application/json")
    assert (made.status_code, again.status_code, again.json()["code"]) == (201, 409, "hold_engaged")
    assert client.get("/api/v1/audit/holds").json()["items"] == [made.json()]
    assert program(weak).post("/api/v1/audit/holds", body, content_type="application/json").status_code == 403
    wrong = client.post("/api/v1/audit/holds", {**body, "scope_kind": "all"}, content_type="application/json")
    assert wrong.status_code == 422
    kept = {item["retention_class"]: item for item in client.get("/api/v1/audit/retention").json()["classes"]}
    assert kept["prompts"] == {"retention_class": "prompts", "days": 90, "floor_days": 30, "is_usual": True}


def test_another_tenants_hold_is_not_there(place):
    with enter(place.id):
        hold = retention.engage_hold(actor=place.admin, scope_kind="workspace", reason="r")
    other = factories.make_workspace()
    stranger = browser(factories.make_member(other, roles={"admin"}))
    address = f"/w/{other.slug}/audit/retention/holds/{public_id('hld', hold.pk)}/ask"
    assert stranger.post(address, {"reason": "r"}).status_code == 404


def test_the_page_says_which_places_keep_checkpoints_and_which_do_not(place):
    client, page = browser(factories.make_member(place, roles={"auditor"})), f"/w/{place.slug}/audit/retention/"
    assert "No sealer has carried any yet." in client.get(page).text
    with databases.admin() as owner:
        owner.execute(
            "INSERT INTO audit.status (subject, place, problem) VALUES ('sealer', '', ''),"
            " ('time stamp authority', 'http://tsa.example/tsr', ''), ('bucket', 'https://a.example', 'it answered <403>')"
        )
    shown = client.get(page).text
    rows = [
        re.sub(r"<[^>]+>", " ", row) for row in shown.split('id="h-places"')[1].split("</section>")[0].split("<tr>")
    ]
    assert len(rows) == 4, "the head and two places: the sealer itself is none"
    assert re.search(r"Bucket\s+https://a\.example\s+.*Takes none\s+.*it answered &lt;403&gt;, since", rows[2])
    assert re.search(r"Time stamp authority\s+http://tsa\.example/tsr\s+.*Takes them", rows[3])
