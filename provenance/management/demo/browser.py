"""A person's browser, as far as the demo needs one: pages, forms and cookies, without scripts.

What it sends is what a browser without JavaScript would send, CSRF token and hidden fields included; so playing the
story also shows that the console works that way.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from typing import Self

import httpx2

TIMEOUT_SECONDS = 60.0
_TEXT_INPUTS = frozenset({"text", "hidden", "email", "password", "date", "number", "search"})
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)


@dataclass(slots=True)
class Form:
    """A form of a page: where it goes and what stands in it. A checkbox is sent only once `tick` named it."""

    action: str = ""
    method: str = "get"
    id: str = ""
    fields: dict[str, list[str]] = field(default_factory=dict)
    boxes: list[tuple[str, str]] = field(default_factory=list)

    def tick(self, name: str) -> None:
        """Tick every box of that name."""
        for known, value in self.boxes:
            if known == name:
                self.fields.setdefault(name, []).append(value)


@dataclass(slots=True)
class Node:
    """An element: its tag, attributes, and texts and elements inside in order."""

    tag: str
    attributes: Mapping[str, str]
    children: list["Node | str"] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text inside, with single spaces."""
        return " ".join("".join(self.texts()).split())

    @property
    def classes(self) -> frozenset[str]:
        """The words of the class attribute."""
        return frozenset(self.attributes.get("class", "").split())

    def all(self, tag: str, *classes: str) -> list["Node"]:
        """The elements inside with this tag and these classes, in order."""
        return [node for node in self.walk() if node.tag == tag and node.classes.issuperset(classes)]

    def first(self, tag: str, *classes: str) -> "Node | None":
        """The first of them, if there is one."""
        return next(iter(self.all(tag, *classes)), None)

    def walk(self) -> Iterator["Node"]:
        """Every element inside, outer before inner."""
        for child in self.children:
            if isinstance(child, Node):
                yield child
                yield from child.walk()

    def texts(self) -> Iterator[str]:
        """Every piece of text inside, as it stands in the page."""
        for child in self.children:
            if isinstance(child, str):
                yield child
            else:
                yield from child.texts()


class _Reader(HTMLParser):
    """Builds the tree. Our own pages are well-formed, so an end tag closes what it names and all inside."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(node)
        if tag not in _VOID:
            self._open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].children.append(Node(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        for depth in range(len(self._open) - 1, 0, -1):
            if self._open[depth].tag == tag:
                del self._open[depth:]
                return

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer that a person would look at."""

    status: int
    path: str
    content: bytes = field(repr=False)
    root: Node = field(repr=False)

    @classmethod
    def of(cls, response: httpx2.Response) -> Self:
        """The page that a response holds."""
        reader = _Reader()
        if "html" in response.headers.get("content-type", ""):
            reader.feed(response.text)
            reader.close()
        return cls(response.status_code, response.url.path, response.content, reader.root)

    @property
    def text(self) -> str:
        """What a person reads, with single spaces."""
        return self.root.text

    @property
    def links(self) -> list[str]:
        """Where its links lead."""
        return [node.attributes["href"] for node in self.root.all("a") if "href" in node.attributes]

    def form(self, action_ends: str) -> Form:
        """The form that is sent to an address with this end. Raises KeyError."""
        for node in self.root.all("form"):
            if node.attributes.get("action", self.path).partition("?")[0].endswith(action_ends):
                return self._filled(node)
        raise KeyError(f"{self.path} ({self.status}) has no form to …{action_ends}")

    def _filled(self, node: Node) -> Form:
        form = Form(
            action=node.attributes.get("action") or self.path,
            method=node.attributes.get("method", "get").lower(),
            id=node.attributes.get("id", ""),
        )
        outside = [other for other in self.root.walk() if form.id and other.attributes.get("form") == form.id]
        for control in (*node.walk(), *outside):
            _take(form, control)
        return form


def _take(form: Form, control: Node) -> None:
    name, kind = control.attributes.get("name", ""), control.attributes.get("type", "text")
    if not name or "disabled" in control.attributes:
        return
    if control.tag == "input" and kind == "checkbox":
        form.boxes.append((name, control.attributes.get("value", "on")))
    elif control.tag == "input" and kind in _TEXT_INPUTS:
        form.fields.setdefault(name, []).append(control.attributes.get("value", ""))
    elif control.tag == "textarea":
        # The line break right after the tag is not part of the value.
        value = "".join(child for child in control.children if isinstance(child, str)).removeprefix("\n")
        form.fields.setdefault(name, []).append(value)
    elif control.tag == "select":
        options = control.all("option")
        chosen = next(
            (option for option in options if "selected" in option.attributes), options[0] if options else None
        )
        if chosen:
            form.fields.setdefault(name, []).append(chosen.attributes.get("value", chosen.text))


class Browser:
    """One person's session with the console."""

    def __init__(self, url: str) -> None:
        self._client = httpx2.Client(
            base_url=url, follow_redirects=True, timeout=TIMEOUT_SECONDS, trust_env=False, headers={"Origin": url}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def open(self, path: str) -> Page:
        """Follow a link."""
        return Page.of(self._client.get(path))

    def send(self, form: Form, **values: str) -> Page:
        """Send a form with these fields set: what somebody typed, and the button they pressed."""
        data = {**form.fields, **{name: [value] for name, value in values.items()}}
        if form.method == "post":
            return Page.of(self._client.post(form.action, data=data))
        return Page.of(self._client.get(form.action, params=data))

    def sign_in(self, email: str, password: str) -> Page:
        """Sign in as a person does; the page after it. Raises `NotSignedIn`."""
        page = self.send(self.open("/sign-in/").form("/sign-in/"), login=email, password=password)
        if page.path.startswith("/sign-in/"):
            raise NotSignedIn(f"{email} could not sign in (HTTP {page.status}).")
        return page


class NotSignedIn(Exception):
    """The sign-in did not work."""
