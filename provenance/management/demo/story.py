"""The story of the finance and the research workflow, played from outside: as the people and the integration would.

Everything goes through HTTP: REST with the integration's key, pages with the people's sessions. What came of it is read
where it must be true: in the ERP's own database, in what the model server received, in the exported log.
"""

import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2

from audit.exports import export_keys
from provenance.actor import Actor
from provenance.db import enter
from provenance.home import CHECKOUT, Home
from provenance.ids import parse_public_id
from provenance.management.demo.browser import Browser, Form, Page
from provenance.management.demo.bundle import Bundle, Event, verify
from provenance.management.demo.report import Scene, StoryFails, demand
from provenance.management.demo.seed_file import Seed
from provenance.management.demo.sign_ins import SignIns
from provenance.management.demo.stores import Stores, spellings
from provenance.management.demo.waiting import wait_until_sealed
from provenance.permissions import Permission

RUN_SECONDS = 180.0
SEAL_SECONDS = 180.0
LOOK_AGAIN_SECONDS = 0.1
APPROVAL_PATH = re.compile(r"/approvals/apr_[0-9a-z]+$")
# What the log must tell of the finance run, in this order; other events may stand between.
TOLD = (
    "run.queued",
    "run.started",
    "mcp.tool_requested",
    "mcp.tool_called",
    "model.called",
    "approval.requested",
    "approval.payload_edited",
    "approval.approved",
    "approval.consumed",
    "mcp.tool_called",
    "run.succeeded",
)


@dataclass(slots=True)
class Story:
    """One play. Later scenes use what earlier ones brought."""

    home: Home
    url: str
    seed: Seed
    sign_ins: SignIns
    bundle: Path
    api: httpx2.Client
    operator: Browser
    approver: Browser
    runs: dict[str, str] = field(default_factory=dict)
    proposed: dict[str, str] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    approval: str = ""
    events: Bundle = field(default_factory=lambda: Bundle([]))

    def scenes(self) -> list[Scene]:
        """The scenes in order."""
        return [
            Scene("Everybody signs in, and the ERP holds the old terms", self.prepare),
            Scene("The integration starts both runs with its key", self.start_runs),
            Scene("The key may do nothing else", self.refuse_other_scopes),
            Scene("The finance run stops and asks a person", self.wait_for_request),
            Scene("The operator cannot approve what was asked for them", self.refuse_operator),
            Scene("The approver sees what will change, field by field", self.show_request),
            Scene("The approver corrects the date and approves", self.approve),
            Scene("The run goes on to its end", self.finish_finance),
            Scene("The ERP holds the edited values, once", self.check_erp),
            Scene("The research run needed nobody", self.finish_research),
            Scene("No model was sent where customers are billed", self.check_model_requests),
            Scene("The approver exports the log", self.export),
            Scene("The bundle verifies in a process of its own", self.verify),
            Scene("The log tells the finance run from start to end", self.check_finance_events),
            Scene("The log tells why the research agent could not write", self.check_research_events),
        ]

    # --- Before ------------------------------------------------------------------------------------------------------

    def prepare(self) -> str:
        """Sign in, and put the vendor back to the terms before any play, so that each play finds the same case."""
        self._demand_running()
        for browser, title in ((self.operator, "operator"), (self.approver, "approver")):
            person = self.sign_ins.person(title)
            browser.sign_in(person.email, person.password)
        was_changed = self.stores.restore_vendor(self.case["vendor_id"], self.case["contract"])
        vendor = self.stores.vendor(self.case["vendor_id"])
        self.before = {
            "ledger": len(self.stores.ledger(vendor["vendor_id"])),
            "account_changes": self.stores.account_changes(),
            "model_request": max((request["number"] for request in self.stores.model_requests()), default=0),
            "approvals": self._asked(),
            "vendor": vendor,
        }
        again = ", put back after an earlier play" if was_changed else ""
        return f"{vendor['vendor_id']} at {vendor['payment_terms']} since {vendor['terms_effective_from']}{again}"

    def start_runs(self) -> str:
        """Start both; the same request sent twice starts one run."""
        for name in ("finance", "research"):
            wanted, key = self.seed["runs"][name], str(uuid4())
            address = f"workflows/{wanted['workflow']}/runs"
            answers = [
                self.api.post(address, json={"input": wanted["input"]}, headers={"Idempotency-Key": key}) for _ in "12"
            ]
            for answer in answers:
                demand(answer.is_success, f"{address} says {answer.status_code}: {answer.text[:300]}")
            first, again = (answer.json()["id"] for answer in answers)
            demand(first == again, f"one Idempotency-Key started {first} and {again}")
            self.runs[name] = first
        return f"{self.runs['finance']}, {self.runs['research']}"

    def refuse_other_scopes(self) -> str:
        """A key without that scope reads no approvals, and the refusal names the scope that is missing."""
        answer = self.api.get("approvals")
        missing = answer.json().get("missing_scope")
        demand(answer.status_code == httpx2.codes.FORBIDDEN, f"GET approvals says {answer.status_code}, not 403")
        demand(missing == Permission.APPROVALS_READ, f"the refusal names {missing}, not {Permission.APPROVALS_READ}")
        return f"403, missing scope {missing}"

    # --- The decision --------------------------------------------------------------------------------------------

    def wait_for_request(self) -> str:
        """Wait until the run waits, and find the one request that was not there before."""
        run = self._wait_for_run("finance", lambda run: "approval" in run["waiting_on"])
        new = self._asked_for("finance")
        demand(len(new) == 1, f"{len(new)} new requests of this run are in the inbox, not one")
        self.approval = new.pop()
        return f"{run['status']} for {', '.join(run['waiting_on'])}: {self.approval.rsplit('/', 1)[1]}"

    def refuse_operator(self) -> str:
        """The person behind the integration sends the approver's form by hand; nothing is decided."""
        page = self.operator.open(self.approval)
        demand(page.status == httpx2.codes.OK, f"the operator gets {page.status} where a request is only read")
        token = page.form("/theme").fields["csrfmiddlewaretoken"]
        fields = {"csrfmiddlewaretoken": token, "verdict": ["approve"], "reason": ["I approve my own request."]}
        answer = self.operator.send(Form(action=f"{self.approval}/decide", method="post", fields=fields))
        demand(answer.status == httpx2.codes.FORBIDDEN, f"the operator's approval gets {answer.status}, not 403")
        demand("approval" in self._run("finance")["waiting_on"], "the run does not wait any more")
        return "403, and the run still waits"

    def show_request(self) -> str:
        """Old and new value of each field, risk, time left, evidence with its tones."""
        page = self.approver.open(self.approval)
        self.proposed = _proposed(page)
        vendor, shown = self.before["vendor"], _changes(page)
        demand(
            shown.get("payment_terms", ("", ""))[0] == vendor["payment_terms"],
            f"the page shows {shown.get('payment_terms')}, and the ERP holds {vendor['payment_terms']}",
        )
        demand(
            shown.get("effective_from", ("", ""))[0] == vendor["terms_effective_from"],
            f"the page shows {shown.get('effective_from')}, and the ERP holds {vendor['terms_effective_from']}",
        )
        for name, (_now, proposed) in shown.items():
            demand(
                proposed == self.proposed.get(name), f"{name}: {proposed} is shown, {self.proposed.get(name)} is asked"
            )
        tones = [tone for card in page.root.all("div", "ev") for tone in card.classes - {"ev"}]
        demand({"emerald", "amber", "rose"} <= set(tones), f"the evidence has the tones {', '.join(tones) or 'none'}")
        demand("high" in page.text.lower(), "the risk is not shown")
        terms = " → ".join(shown["payment_terms"])
        return f"{terms}, from {self.proposed['effective_from']}; {len(tones)} pieces of evidence"

    def approve(self) -> str:
        """Correct one field, look a second time, tick the contradiction, approve."""
        correction = self.seed["correction"]
        paper = self.stores.document(correction["document"])
        demand(correction["value"] in paper["text"], f"{correction['document']} does not say {correction['value']}")
        demand(
            self.proposed[correction["field"]] != correction["value"],
            "the proposal is right already: nothing to correct",
        )
        form = self.approver.open(self.approval).form("/decide")
        typed = {f"payload.{correction['field']}": correction["value"], "reason": correction["reason"]}
        look = self.approver.send(form, **typed, verdict="approve")
        demand(_changes(look).get(correction["field"], ("", ""))[1] == correction["value"], _refusal(look))
        confirm = look.form("/decide")
        confirm.tick("read")
        done = self.approver.send(confirm, verdict="approve")
        demand(done.path == self.approval.rstrip("/") or done.path == f"{self.approval}/", _refusal(done))
        demand("Approved with your edit" in done.text, _refusal(done))
        return f"{correction['field']} {self.proposed[correction['field']]} → {correction['value']}"

    # --- What came of it -----------------------------------------------------------------------------------------

    def finish_finance(self) -> str:
        """The run succeeds."""
        run = self._wait_for_run("finance", lambda run: run["status"] == "succeeded")
        return f"{run['status']}, ledger entry {(run.get('output') or {}).get('ledger_entry', '?')}"

    def check_erp(self) -> str:
        """One more row in the ledger, with what the approver approved and not what the agent proposed."""
        correction, vendor_id = self.seed["correction"], self.case["vendor_id"]
        wanted = {**self.proposed, correction["field"]: correction["value"]}
        vendor, ledger = self.stores.vendor(vendor_id), self.stores.ledger(vendor_id)
        added = len(ledger) - self.before["ledger"]
        demand(added == 1, f"the ledger has {added} new rows, not one")
        for column, name in (("payment_terms", "payment_terms"), ("terms_effective_from", "effective_from")):
            demand(vendor[column] == wanted[name], f"the ERP holds {column} {vendor[column]}, not {wanted[name]}")
            demand(ledger[-1][name] == wanted[name], f"the ledger says {name} {ledger[-1][name]}, not {wanted[name]}")
        return f"{vendor['payment_terms']} from {vendor['terms_effective_from']}, 1 new ledger row"

    def finish_research(self) -> str:
        """The draft is there, and nobody was asked."""
        run = self._wait_for_run("research", lambda run: run["status"] == "succeeded")
        draft = (run.get("output") or {}).get("briefing", "")
        demand(draft, "the run brought no draft")
        demand(not self._asked_for("research"), "somebody was asked to approve the research run")
        return f"a draft of {len(draft.split())} words, no approval asked"

    def check_model_requests(self) -> str:
        """The bytes that the model server received hold no billing address and no means of payment."""
        account = self.seed["runs"]["research"]["input"]["account_id"]
        requests = self.stores.model_requests(after=self.before["model_request"])
        about = [request["body"] for request in requests if account in request["body"]]
        demand(about, f"the model server received nothing about {account}")
        withheld = self.stores.billing_values(account)
        for value in withheld:
            leaked = any(spelling in body for body in about for spelling in spellings(value))
            demand(not leaked, f"the model server received {value!r}")
        return f"{len(withheld)} values searched for in {len(about)} requests of the research run: none there"

    # --- The log -------------------------------------------------------------------------------------------------

    def export(self) -> str:
        """As the approver, who is an auditor too, from the page of the log; once what happened so far is sealed."""
        waited = wait_until_sealed(UUID(self.sign_ins.workspace_id), seconds=SEAL_SECONDS)
        address = f"/w/{self.sign_ins.workspace}/audit/"
        # All of it and at once: the button of the page makes a bundle in the background, up to what it showed.
        token = self.approver.open(address).form("/theme").fields["csrfmiddlewaretoken"]
        form = Form(action=f"{address}export", method="post", fields={"csrfmiddlewaretoken": token})
        page = self.approver.send(form)
        demand(page.status == httpx2.codes.OK and page.content[:2] == b"PK", f"the export says {page.status}")
        self.bundle.write_bytes(page.content)
        self.events = Bundle.read(self.bundle)
        return f"{len(self.events.events)} events, {len(page.content) // 1024} KiB, sealed after {waited:.1f} s"

    def verify(self) -> str:
        """The host gives public keys and the workspace's derived keys, an event itself; the verifier gets nothing else."""
        workspace_id = UUID(self.sign_ins.workspace_id)
        auditor = Actor.system("demo", workspace_id, {Permission.AUDIT_READ})
        keys = io.StringIO()
        with enter(workspace_id):
            export_keys(actor=auditor, out=keys)
        public_keys = self.bundle.with_suffix(".pub")
        # In a process of its own: what signs checkpoints is for the sealer and its commands alone.
        public_keys.unlink(missing_ok=True)
        command = [sys.executable, str(CHECKOUT / "manage.py"), "audit_vkeys", str(workspace_id), str(public_keys)]
        done = subprocess.run(
            command, env=self.sealers_environment, capture_output=True, text=True, timeout=60, check=False
        )
        demand(done.returncode == 0, f"audit_vkeys says: {done.stderr.strip()[-300:]}")
        return verify(self.bundle, public_keys.read_text("utf-8"), keys.getvalue())

    def check_finance_events(self) -> str:
        """The finance run's events, in order, by whom, and with the edit."""
        events = self._events("finance")
        actions = iter(event.action for event in events)
        missing = [wanted for wanted in TOLD if wanted not in actions]
        demand(not missing, f"the log does not tell {missing[0] if missing else ''} in its place")
        demand(not [event for event in events if event.action == "mcp.tool_blocked"], "a call of the run was refused")
        edit = next(event for event in events if event.action == "approval.approved")
        demand(edit.body["actor"]["type"] == "user", "not a person approved")
        return f"{len(events)} events, {len({event.body['kid'] for event in events})} signing keys"

    def check_research_events(self) -> str:
        """The refused write names its rule, the redactions are counted, and the CRM is as it was."""
        events = self._events("research")
        blocked = [event for event in events if event.action == "mcp.tool_blocked"]
        demand(blocked, "the log tells of no refused call")
        rule = blocked[0].detail.get("rule", "")
        demand(rule, "the refusal names no rule")
        demand(not [event for event in events if event.action == "approval.requested"], "an approval was asked for")
        changes = self.stores.account_changes() - self.before["account_changes"]
        demand(changes == 0, f"the CRM recorded {changes} changes")
        return f"{blocked[0].detail.get('tool', 'the call')} refused by rule {rule}; the CRM is unchanged"

    # --- Steps of the above --------------------------------------------------------------------------------------

    @property
    def case(self) -> dict[str, str]:
        """The vendor and the contract of the finance run."""
        case: dict[str, str] = self.seed["runs"]["finance"]["input"]
        return case

    @property
    def sealers_environment(self) -> dict[str, str]:
        """What a command of the sealer is to know: how to find the installation, and none of the addresses given to us."""
        kept = {name: value for name, value in os.environ.items() if not name.endswith(("DATABASE_URL", "_URL_FILE"))}
        if "DATABASE_URL_FILE" in os.environ:
            kept["DATABASE_URL_FILE"] = str(self.home.key_path("url-prov_sealer"))
        return {**kept, "PROVENANCE_ROLE": "sealer"}

    @property
    def stores(self) -> Stores:
        """The example servers' own files."""
        return Stores(self.home)

    def _demand_running(self) -> None:
        try:
            answer = httpx2.get(f"{self.url}/readyz", timeout=20, trust_env=False)
        except httpx2.TransportError as problem:
            raise StoryFails(f"nothing answers at {self.url}; start it with ./manage.py up") from problem
        demand(answer.is_success, f"{self.url}/readyz says {answer.status_code}: {answer.text[:300]}")

    def _asked(self) -> set[str]:
        """The addresses of what waits in the approver's inbox."""
        page = self.approver.open(f"/w/{self.sign_ins.workspace}/approvals/")
        demand(page.status == httpx2.codes.OK, f"the inbox says {page.status}")
        return {link.rstrip("/") for link in page.links if APPROVAL_PATH.search(link.rstrip("/"))}

    def _asked_for(self, name: str) -> set[str]:
        """Those that a run of this play brought: other runs may come to ask a person meanwhile."""
        run = self.runs[name]
        new = self._asked() - self.before["approvals"]
        return {asked for asked in new if any(run in link for link in self.approver.open(asked).links)}

    def _run(self, name: str) -> dict[str, Any]:
        answer = self.api.get(f"runs/{self.runs[name]}")
        demand(answer.is_success, f"GET runs/{self.runs[name]} says {answer.status_code}")
        run: dict[str, Any] = answer.json()
        return run

    def _wait_for_run(self, name: str, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + RUN_SECONDS
        while True:
            run = self._run(name)
            if reached(run):
                return run
            over = run["status"] in {"succeeded", "failed", "canceled"} or time.monotonic() > deadline
            demand(not over, f"the {name} run is {run['status']} {run.get('failure_reason') or ''}".strip())
            time.sleep(LOOK_AGAIN_SECONDS)

    def _events(self, name: str) -> list[Event]:
        return self.events.of_run(str(parse_public_id("run", self.runs[name])))


@contextmanager
def on_stage(home: Home, url: str, seed: Seed, *, keep: Path | None) -> Iterator[Story]:
    """A story ready to be played, with sessions and a place for its bundle; all of it put away afterwards."""
    sign_ins = SignIns.read(home.demo_file)
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="provenance-demo-"))
        yield Story(
            home=home,
            url=url,
            seed=seed,
            sign_ins=sign_ins,
            bundle=keep or Path(directory) / "bundle.zip",
            api=stack.enter_context(
                httpx2.Client(
                    base_url=f"{url}/api/v1/", headers={"X-API-Key": sign_ins.api_key}, timeout=20, trust_env=False
                )
            ),
            operator=stack.enter_context(Browser(url)),
            approver=stack.enter_context(Browser(url)),
        )


def _changes(page: Page) -> dict[str, tuple[str, str]]:
    """The fields that change on a page of an approval: value now and value proposed."""
    table = page.root.first("table", "diff")
    found = {}
    for row in table.all("tr") if table else []:
        now, proposed = row.first("td", "del"), row.first("td", "add")
        name = row.first("th")
        if name and now and proposed:
            found[name.text] = ((now.first("del") or now).text, (proposed.first("ins") or proposed).text)
    return found


def _proposed(page: Page) -> dict[str, str]:
    """The values of the payload as they stand in the decision's form."""
    prefix = "payload."
    fields = page.form("/decide").fields
    return {name.removeprefix(prefix): values[0] for name, values in fields.items() if name.startswith(prefix)}


def _refusal(page: Page) -> str:
    """What a page says is wrong."""
    banner = page.root.first("div", "banner")
    return f"the page says {page.status}: {banner.text if banner else page.text[:200]}"
