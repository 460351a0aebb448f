"""Someone at a browser who looks at a request."""

import re
from html import unescape

from tests.browsing import browser

REASON = "Contract starts 1 January; corrected the date."


def page_of(workspace, approval):
    return f"/w/{workspace.slug}/approvals/{approval.public_id}/"


def field(html, name):
    found = re.search(rf'name="{re.escape(name)}"[^>]*value="([^"]*)"', html)
    return unescape(found.group(1)) if found else ""


class Person:
    """Someone at a browser, who reads a page and sends its form."""

    def __init__(self, actor, workspace, approval):
        self.client = browser(actor)
        self.page = page_of(workspace, approval)
        self.html = ""

    def open(self):
        self.html = self.client.get(self.page).content.decode()
        return self

    def send(self, verdict="approve", reason=REASON, **fields):
        data = {"verdict": verdict, "reason": reason, "nonce": field(self.html, "nonce"), **fields}
        response = self.client.post(f"{self.page}decide", data)
        self.html = response.content.decode()
        return response

    def confirm(self, read=("0",), reason=REASON, **fields):
        return self.send(reason=reason, confirmed="1", read=list(read), **fields)


def cells(html):
    """The table of changes: per field the text of its two cells."""
    rows = re.findall(r'<th scope="row">(.*?)</th>\s*<td[^>]*>(.*?)</td>\s*<td[^>]*>(.*?)</td>', html, re.DOTALL)
    return {name: (now, sent) for name, now, sent in ([words(cell) for cell in row] for row in rows)}


def words(html):
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())
