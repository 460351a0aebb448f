"""The system's Chromium for the browser tests, driven by Playwright. Without one the tests say so and are skipped."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright

from provenance.management.demo.sign_ins import Person

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing of the browser's own may reach for a network.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
# A page that is refused on purpose has this in its console; nothing else may be there.
EXPECTED_NOISE = "Failed to load resource: the server responded with a status of 4"


def executable() -> str:
    """Where Chromium is. Skips the test where it is not installed."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip(
            "Chromium is not installed, so the pages were not seen in a browser (Debian: apt install chromium)."
        )
    return found


@dataclass
class Visitor:
    """One person at one browser window. `complaints` is what the browser wrote into its console, CSP refusals too."""

    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        self.page.goto(path)
        return self.page

    def sign_in(self, person: Person) -> None:
        self.open("/sign-in/")
        self.page.get_by_label("Work e-mail").fill(person.email)
        self.page.get_by_label("Password").fill(person.password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/w/**")


@contextmanager
def launched(playwright: Playwright) -> Iterator[Browser]:
    """A browser without a window, closed at the end."""
    browser = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def visiting(browser: Browser, url: str, **options: Any) -> Iterator[Visitor]:
    """A window of its own: no cookies, no cache of others."""
    context = browser.new_context(base_url=url, viewport=DESKTOP, **options)
    # A wait ends with what it waits for; how long a busy machine takes says nothing.
    context.set_default_timeout(180_000)
    visitor = Visitor(context, context.new_page())

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and EXPECTED_NOISE not in message.text:
            visitor.complaints.append(f"{visitor.page.url}: {message.text}")

    visitor.page.on("console", heard)
    visitor.page.on("pageerror", lambda error: visitor.complaints.append(f"{visitor.page.url}: {error}"))
    try:
        yield visitor
    finally:
        context.close()
