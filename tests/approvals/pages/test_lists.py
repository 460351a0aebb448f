"""The inbox and the requests that were decided."""

import re

import pytest

from approvals import services
from provenance.db import enter
from tests.approvals.people import REASON
from tests.browsing import browser

pytestmark = pytest.mark.django_db(transaction=True)

TITLE = "Change Halden Supply AB payment terms from Net-30 to Net-60"


def test_the_inbox_shows_what_waits_for_the_reader(approver, workspace, approval):
    html = browser(approver).get(f"/w/{workspace.slug}/approvals/").content.decode()
    assert TITLE in html
    assert "High" in html
    assert approval.public_id in html


def test_decided_requests_stay_with_who_decided_and_why(approver, workspace, approval):
    with enter(workspace.pk):
        services.decide(actor=approver, request_id=approval.pk, verdict="reject", reason="The start date is wrong.")
    html = browser(approver).get(f"/w/{workspace.slug}/approvals/?tab=decided").content.decode()
    assert TITLE in html
    assert "The start date is wrong." in html
    assert approver.label in html


def test_an_empty_inbox_says_so(approver, workspace):
    html = browser(approver).get(f"/w/{workspace.slug}/approvals/").content.decode()
    assert "Nothing waits" in html


@pytest.mark.parametrize("tab", ["mine", "waiting", "decided"])
def test_the_number_of_queries_does_not_grow_with_the_rows(
    approver, workspace, ask, django_assert_max_num_queries, tab
):
    """U7."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert browser(approver).get(f"/w/{workspace.slug}/approvals/?tab={tab}").status_code == 200
        return len(captured)

    def more(count):
        for _ in range(count):
            asked = ask()
            if tab == "decided":
                with enter(workspace.pk):
                    services.decide(actor=approver, request_id=asked.pk, verdict="reject", reason=REASON)

    more(2)
    few = queries()
    more(6)
    assert queries() == few


def test_older_decisions_are_a_page_away(approver, workspace, ask, monkeypatch):
    from approvals import selectors

    monkeypatch.setattr(selectors, "PAGE_SIZE", 2)
    for number in range(3):
        asked = ask(title=f"Change number {number}")
        with enter(workspace.pk):
            services.decide(actor=approver, request_id=asked.pk, verdict="reject", reason=REASON)
    client, address = browser(approver), f"/w/{workspace.slug}/approvals/?tab=decided"
    first = client.get(address).content.decode()
    assert "Change number 0" not in first
    older = re.search(r"before=(apr_\w+)", first).group(1)
    assert "Change number 0" in client.get(f"{address}&before={older}").content.decode()
