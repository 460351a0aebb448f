"""The pieces of the demo that need no installation: its files, and the browser that people of the story use."""

import re

import httpx2
import pytest
from django.core.management import CommandError, call_command

from agents.definition import problems
from provenance.home import KEYS
from provenance.management.demo import seed_file
from provenance.management.demo.browser import Page
from provenance.management.demo.seeding import configuration
from provenance.management.demo.sign_ins import NoSignIns, Person, SignIns
from provenance.management.demo.story import Story
from workflows import definition

DEMO_ID = re.compile(r"\b(?:V-\d{5}|CON-\d{4}(?:-A\d)?|ACC-\d{5}|NOTE-\d{5})\b")
SOMEONE = Person(title="operator", name="S", roles=["admin"], email="someone@example.com", password="a-password")
SHOWN_AS_EXAMPLE = {"V-10001", "CON-1000", "ACC-10001"}


@pytest.fixture(scope="module")
def seed():
    return seed_file.load()


def texts():
    return sorted([*(seed_file.EXAMPLES / "workflows").glob("*.yaml"), *(seed_file.EXAMPLES / "agents").glob("*.yaml")])


@pytest.mark.parametrize("path", texts(), ids=lambda path: path.name)
def test_definitions_know_nothing_of_the_demo(path, seed):
    """What an operator would copy holds no id of the demo and no secret (M081, checklist of the contract)."""
    text = path.read_text("utf-8")
    assert set(DEMO_ID.findall(text)) <= SHOWN_AS_EXAMPLE
    assert "secret://" not in text
    assert not [name for name in KEYS if name in text]


def test_no_demo_id_stands_in_the_code_of_the_demo():
    for path in seed_file.EXAMPLES.parent.glob("provenance/management/**/*.py"):
        assert not DEMO_ID.findall(path.read_text("utf-8")), path


def test_every_workflow_is_a_definition(seed):
    assert {definition.parse(source).name for source in seed.workflows.values()} == {"vendor-terms", "account-research"}


def test_every_agent_can_be_published_and_is_granted_no_more_than_it_asks_for(seed):
    for agent in seed["agents"]:
        version = configuration(seed.agents[agent["file"]])
        assert problems(version) == []
        assert version.forbidden_actions
        asked = {request.tool for request in version.requested_tools}
        assert {grant["tool"] for grant in agent["grants"]} <= asked
        assert all(0 < grant["days"] <= 90 for grant in agent["grants"])


def test_the_one_write_of_the_finance_workflow_is_authorized_by_a_person(seed):
    """M042: an approval of high risk with an SLA of 120 minutes, bound to the one write."""
    loaded = definition.parse(seed.workflows["workflows/vendor-terms.yaml"])
    asked = loaded.authorization_of("update")
    assert (asked.risk.value, asked.sla_minutes) == ("high", 120)
    assert "vendor_id" not in asked.editable


def test_sign_ins_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "demo.json"
    with pytest.raises(NoSignIns, match=r"manage\.py up"):
        SignIns.read(path)
    written = SignIns("northwind", "0190", [SOMEONE], "prov_key", "prov_audit")
    written.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SignIns.read(path) == written
    assert not {word for word in ("a-password", "prov_key", "prov_audit") if word in repr(written)}


FORM = """
<!doctype html><html><body>
<form method="post" action="/decide?x=1" id="decide">
  <input type="hidden" name="nonce" value="n&amp;1">
  <input name="reason" value="">
  <input type="checkbox" name="read" value="0"><input type="checkbox" name="read" value="1">
  <input name="off" value="x" disabled>
  <button name="verdict" value="approve">Approve</button>
</form>
<input name="payload.date" type="date" value="2026-12-01" form="decide">
<select name="payload.terms" form="decide"><option value="a">A</option><option value="b" selected>B</option></select>
<textarea name="payload.note" form="decide">
first
second</textarea>
<form action="/search"><input name="q"></form>
</body></html>
"""


@pytest.fixture
def page():
    request = httpx2.Request("GET", "http://127.0.0.1/approvals/")
    return Page.of(httpx2.Response(200, html=FORM, request=request))


def test_a_form_is_sent_with_everything_in_it_wherever_it_stands(page):
    form = page.form("/decide")
    assert (form.method, form.action) == ("post", "/decide?x=1")
    assert form.fields == {
        "nonce": ["n&1"],
        "reason": [""],
        "payload.date": ["2026-12-01"],
        "payload.terms": ["b"],
        "payload.note": ["first\nsecond"],
    }


def test_boxes_are_sent_only_once_ticked(page):
    form = page.form("/decide")
    form.tick("read")
    assert form.fields["read"] == ["0", "1"]


def test_a_form_that_is_not_there_is_said(page):
    with pytest.raises(KeyError, match=r"no form to …/sign-in/"):
        page.form("/sign-in/")


def test_a_play_without_a_running_installation_says_what_to_do(seed, tmp_path):
    from provenance.home import Home
    from provenance.management.demo import report
    from provenance.management.demo.story import on_stage

    home = Home(tmp_path)
    SignIns("northwind", "0190", [SOMEONE], "prov_key").write(home.demo_file)
    with on_stage(home, "http://127.0.0.1:9", seed, keep=None) as story:
        (outcome,) = report.play(story.scenes(), said=lambda _outcome: None)
    assert not outcome.passed
    assert "./manage.py up" in outcome.seen


def test_a_play_whose_bundle_has_no_place_does_not_begin(tmp_path):
    with pytest.raises(CommandError, match=r"No file can be made in .*/nowhere"):
        call_command("demo", "--headless", "--keep", str(tmp_path / "nowhere" / "bundle.zip"))


@pytest.mark.parametrize("taken", ["bundle.zip", "bundle.pub"])
def test_a_play_overwrites_no_file(tmp_path, taken):
    (tmp_path / taken).write_text("kept from before")
    with pytest.raises(CommandError, match=rf"{taken} exists; name a new file\. Nothing was played\."):
        call_command("demo", "--headless", "--keep", str(tmp_path / "bundle.zip"))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["kept from before"]


class Inbox:
    """A fake of the approver's browser: an inbox, and behind each address in it a page that links to its run."""

    def __init__(self, asked):
        self.asked = asked

    def open(self, path):
        linked = [self.asked[path]] if path in self.asked else list(self.asked)
        text = "".join(f'<a href="{link}">go</a>' for link in linked)
        request = httpx2.Request("GET", f"http://127.0.0.1{path}")
        return Page.of(httpx2.Response(200, html=text, request=request))


def test_a_request_of_another_run_that_comes_in_meanwhile_is_not_taken_for_that_of_the_play():
    of_the_play, other, before = (f"/w/northwind/approvals/apr_{letter}" for letter in "abc")
    inbox = Inbox({of_the_play: "/w/northwind/runs/run_1/", other: "/w/northwind/runs/run_2/", before: "/w/x/run_1/"})
    story = Story(
        home=None,
        url="",
        seed=None,
        sign_ins=SignIns("northwind", "0190", [], ""),
        bundle=None,
        api=None,
        operator=None,
        approver=inbox,
        runs={"finance": "run_1", "research": "run_3"},
        before={"approvals": {before}},
    )
    assert story._asked_for("finance") == {of_the_play}
    assert story._asked_for("research") == set()
