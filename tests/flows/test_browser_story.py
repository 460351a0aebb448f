"""The console as people meet it, in a real Chromium: the story without JavaScript, live pages with it, and every page
under axe-core in both themes and both sizes."""

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import sync_playwright

from provenance.ids import parse_public_id, public_id
from tests.flows import chromium
from tests.flows.chromium import DESKTOP, PHONE, Visitor

HALDEN = {"vendor_id": "V-10233", "contract": "CON-4821"}
CLAUSE_DATE = "2027-01-01"
REASON = "The clause begins on 1 January 2027."
NARROWEST = {"width": 320, "height": 640}
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN_AXE = "async options => (await axe.run(document, options)).violations.map(rule => [rule.id, rule.nodes[0].target])"


@pytest.fixture(scope="module")
def browser(story):
    """Chromium, after the installation runs: Playwright's event loop and Django's set-up do not share a thread."""
    chromium.executable()
    with sync_playwright() as playwright, chromium.launched(playwright) as started:
        yield started


@pytest.fixture
def visitor(browser, story) -> Iterator[Visitor]:
    """A window with JavaScript. Whatever the browser complained about fails the test."""
    with chromium.visiting(browser, story.url) as visitor:
        yield visitor
        assert visitor.complaints == []


@pytest.fixture
def plain_visitor(browser, story) -> Iterator[Visitor]:
    """A window without JavaScript."""
    with chromium.visiting(browser, story.url, java_script_enabled=False) as visitor:
        yield visitor
        assert visitor.complaints == []


@pytest.fixture
def waiting_run(story) -> str:
    """A run that asks to change Halden's terms, with the vendor at its old terms."""
    story.example(
        "erp",
        "UPDATE vendor SET payment_terms = 'NET30', terms_effective_from = '2025-05-17' WHERE vendor_id = 'V-10233'",
    )
    run_id = story.start_run("vendor-terms", **HALDEN)
    story.wait_for_request(run_id)
    return run_id


def run_page(story, run_id: str) -> str:
    return f"/w/{story.sign_ins.workspace}/runs/{run_id}/"


# --- The story, without JavaScript --------------------------------------------------------------------------------------


def test_the_approver_corrects_the_date_approves_and_reads_the_log_without_javascript(
    story, waiting_run, plain_visitor, browser
):
    """Sign in, inbox, change, edit, reason, confirm, run, log, event: HTML alone carries all of it (U18)."""
    maya, page = plain_visitor, plain_visitor.page
    address = story.request_of(waiting_run)
    maya.sign_in(story.sign_ins.person("approver"))
    page.get_by_role("navigation", name="Main", exact=True).get_by_role("link", name="Approvals").click()
    page.locator(f"a.row[href='{address}']").click()
    change = page.get_by_role("table").first
    assert "NET30" in change.inner_text()
    assert "NET60" in change.inner_text()
    with chromium.visiting(browser, story.url, storage_state=maya.context.storage_state()) as second_tab:
        second_tab.open(address)

        page.get_by_label("effective_from").fill(CLAUSE_DATE)
        page.get_by_label("Reason").fill(REASON)
        page.get_by_role("button", name="Approve").click()
        assert page.get_by_role("heading", level=1).inner_text() == "Approve a high-risk change?"
        assert CLAUSE_DATE in page.get_by_role("table").inner_text()
        for box in page.get_by_role("checkbox").all():
            box.check()
        page.get_by_role("button", name="Approve with edit").click()
        page.get_by_text("Approved with your edit").first.wait_for()

        # Whoever was slower learns who decided, and keeps the words (ui.md, U15).
        second_tab.page.get_by_label("Reason").fill("Not before legal has seen it.")
        second_tab.page.get_by_role("button", name="Reject").click()
        assert second_tab.page.get_by_label("Your reason, to copy").input_value() == "Not before legal has seen it."

    run = story.wait_for_run(waiting_run, "succeeded", "failed")
    assert run["status"] == "succeeded"
    page.get_by_role("article").get_by_role("link", name=re.compile("^R-")).click()
    page.get_by_role("heading", name="Vendor terms update").wait_for()
    assert page.get_by_text("Succeeded").first.is_visible()
    page.get_by_role("link", name="erp.updateVendorTerms").last.click()
    page.get_by_role("link", name="Input").click()
    assert CLAUSE_DATE in page.get_by_role("region", name="Input").inner_text()

    page.get_by_role("navigation", name="Main", exact=True).get_by_role("link", name="Audit log", exact=True).click()
    page.get_by_label("Search by a name or a filter").fill("approval.approved")
    page.get_by_role("button", name="Search").first.click()
    # The newest stands first; other tests may have approved before.
    page.get_by_role("link", name="approval.approved", exact=True).first.click()
    facts = page.get_by_role("main").inner_text()
    assert "Maya Lindqvist" in facts
    assert REASON in facts
    assert "Signature is valid" in facts


# --- Live, with JavaScript --------------------------------------------------------------------------------------------


def test_an_open_run_page_follows_its_run_and_keeps_what_is_selected(story, waiting_run, visitor):
    """The page asks every five seconds; a swap morphs, so the selection and focus stay."""
    visitor.sign_in(story.sign_ins.person("approver"))
    page = visitor.open(run_page(story, waiting_run))
    page.get_by_role("link", name="docs.getDocument").first.click()
    page.get_by_role("heading", name="docs.getDocument").wait_for()
    tab = page.get_by_role("link", name="Input")
    tab.focus()
    story.decide(waiting_run, "approve", REASON, effective_from=CLAUSE_DATE)
    # To its end: the next test puts the vendor back, and a write still under way would undo that.
    assert story.wait_for_run(waiting_run, "succeeded", "failed")["status"] == "succeeded"
    page.get_by_role("link", name="erp.updateVendorTerms").first.wait_for()
    assert page.get_by_role("heading", name="docs.getDocument").is_visible()
    assert tab.evaluate("link => link === document.activeElement")


def test_an_edited_field_is_marked_and_single_keys_never_decide(story, waiting_run, visitor):
    """A opens the confirmation and changes nothing; letters that are typed stay letters (WCAG 2.1.4)."""
    visitor.sign_in(story.sign_ins.person("approver"))
    page = visitor.open(story.request_of(waiting_run))
    date = page.get_by_label("effective_from")
    date.fill(CLAUSE_DATE)
    assert "changed" in (date.get_attribute("class") or "")
    assert page.get_by_role("button", name="Approve with edit").is_visible()
    assert page.get_by_text("You changed 1 field").is_visible()
    page.get_by_label("Reason").press_sequentially("a reason with r and a")
    assert page.url.endswith(story.request_of(waiting_run))
    page.get_by_role("heading", name="Evidence").click()
    page.keyboard.press("a")
    page.get_by_role("heading", name="Approve a high-risk change?").wait_for()
    assert story.run(waiting_run)["status"] == "waiting"


# --- Every page -----------------------------------------------------------------------------------------------------


def test_no_page_has_an_accessibility_violation_a_refused_resource_or_a_sideways_scroll(story, waiting_run, browser):
    """axe-core in light and dark, on desktop and phone; widths 320, 390 and 1440 (U1, U3, U17)."""
    problems: list[str] = []
    for who, paths in pages(story, waiting_run, browser).items():
        # Without transitions: halfway between two themes no color is the one that is meant.
        with chromium.visiting(browser, story.url, reduced_motion="reduce") as visitor:
            if who != "nobody":
                visitor.sign_in(story.sign_ins.person(who))
            for path in paths:
                visitor.open(path)
                problems += [f"{who} {path} {problem}" for problem in looked_at(visitor)]
            problems += visitor.complaints
    assert problems == []


def pages(story, run_id: str, browser) -> dict[str, list[str]]:
    """The screenshot set: each page that a person can meet, by who meets it."""
    inside = f"/w/{story.sign_ins.workspace}"
    request = story.request_of(run_id)
    research = story.start_run("account-research", account_id="ACC-20405")
    story.wait_for_run(research, "succeeded", "failed")
    [refused] = story.rows(
        "SELECT id FROM workflows_call WHERE status = 'blocked' AND run_id = %s", parse_public_id("run", research)
    )
    [told] = story.rows("SELECT id FROM audit.event WHERE action = 'approval.requested' ORDER BY id DESC LIMIT 1")
    [agent] = story.rows("SELECT id FROM agents_agent WHERE slug = 'ledger-ops'")
    event = public_id("evt", told["id"])
    return {
        "nobody": ["/sign-in/", "/setup/no-such-token/", invitation(story, browser)],
        "approver": [
            "/",
            f"{inside}/approvals/",
            f"{inside}/approvals/?tab=decided",
            request,
            f"{inside}/runs/",
            f"{inside}/runs/?status=canceled",
            f"{inside}/runs/{run_id}/",
            f"{inside}/runs/{research}/?at={public_id('call', refused['id'])}",
            f"{inside}/workflows/",
            f"{inside}/workflows/vendor-terms/",
            f"{inside}/audit/",
            f"{inside}/audit/?outcome=blocked",
            f"{inside}/audit/?add=nothing-of-that-name",
            f"{inside}/audit/?actor_id=nobody",
            f"{inside}/audit/?at={event}",
            f"{inside}/audit/{event}/",
            f"{inside}/audit/of/agent/{agent['id']}/",
            exported(story, browser),
            f"{inside}/audit/exports/",
            f"{inside}/agents/",
            f"{inside}/tools/",
            f"{inside}/keys/",
            "/account/password/",
        ],
        "operator": [
            request,
            f"{inside}/runs/{run_id}/cancel",
            f"{inside}/agents/ledger-ops/",
            f"{inside}/members/",
            f"{inside}/keys/",
            f"{inside}/runs/run_00000000000000000000000000/",
        ],
    }


def exported(story, browser) -> str:
    """The page of an export that was asked for without JavaScript and is ready."""
    with chromium.visiting(browser, story.url, java_script_enabled=False) as visitor:
        visitor.sign_in(story.sign_ins.person("approver"))
        page = visitor.open(f"/w/{story.sign_ins.workspace}/audit/?action=approval")
        page.locator("summary", has_text=re.compile("Export [0-9]+ event")).click()
        page.get_by_label("Who is it for?").fill("External audit")
        page.get_by_role("button", name="Export").click()
        page.wait_for_url("**/exports/exp_*/")
        for _ in range(500):
            if page.get_by_role("button", name="Download").is_visible():
                said = page.get_by_role("main").inner_text()
                assert "exactly what the screen showed" in said
                assert re.search(r"audit_vkeys [a-z0-9-]+ log\.pub", said)
                return page.url.removeprefix(story.url)
            page.wait_for_timeout(200)
            page.reload()
        raise AssertionError(page.get_by_role("main").inner_text())


def invitation(story, browser) -> str:
    """The address that an invited person opens."""
    with chromium.visiting(browser, story.url) as visitor:
        visitor.sign_in(story.sign_ins.person("operator"))
        page = visitor.open(f"/w/{story.sign_ins.workspace}/members/")
        page.get_by_label("Work e-mail").fill("newcomer@northwind.example")
        page.get_by_role("checkbox", name="Viewer").check()
        page.get_by_role("button", name="Make invitation").click()
        return page.locator(".once").inner_text()


def looked_at(visitor: Visitor) -> list[str]:
    """What is wrong with the open page, in words."""
    found = []
    visitor.page.evaluate(AXE_SCRIPT)
    for scheme in ("light", "dark"):
        visitor.page.emulate_media(color_scheme=scheme)
        # What depends on the theme is contrast alone; the other rules run once for each size.
        options = {"runOnly": AXE_TAGS} if scheme == "light" else {"runOnly": ["color-contrast"]}
        for size in (DESKTOP, PHONE):
            visitor.page.set_viewport_size(size)
            answer = visitor.page.evaluate(RUN_AXE, {**options, "resultTypes": ["violations"]})
            found += [f"{scheme} {size['width']}: {rule} at {target}" for rule, target in answer]
    for size in (DESKTOP, PHONE, NARROWEST):
        visitor.page.set_viewport_size(size)
        width = visitor.page.evaluate("document.documentElement.scrollWidth")
        if width > size["width"]:
            found.append(f"{size['width']}: scrolls sideways to {width}")
    visitor.page.set_viewport_size(DESKTOP)
    return found
