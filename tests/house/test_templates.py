"""What templates must keep to: the content security policy, escaping, and forms that carry their token."""

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
FORBIDDEN = {
    r"\sstyle\s*=": "a style attribute; use a class, or an SVG attribute for geometry",
    r"\son[a-z]+\s*=": "an inline event handler",
    r"hx-on": "hx-on, which the content security policy blocks",
    r"hx-trigger=\"[^\"]*\[": "a filter in hx-trigger, which is evaluated as code",
    r"javascript:|\bjs:": "code in an attribute",
    r"\|\s*safe\b|autoescape\s+off|mark_safe": "text that skips escaping",
    r"<script(?![^>]*\ssrc=)": "an inline script",
    r"</a></li><li aria-current": "crumbs without the chevron between them",
}


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_template_keeps_to_the_content_security_policy(path):
    text = path.read_text()
    found = [reason for pattern, reason in FORBIDDEN.items() if re.search(pattern, text, re.IGNORECASE)]
    assert not found, f"{name(path)} holds {'; '.join(found)}"


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_every_form_that_changes_something_carries_the_csrf_token(path):
    for form in re.findall(r"<form\b[^>]*method=\"post\".*?</form>", path.read_text(), re.DOTALL | re.IGNORECASE):
        assert "{% csrf_token %}" in form, f"{name(path)}: a POST form without a token: {form[:120]}"


def test_vendored_files_are_what_the_manifest_says():
    for entry in json.loads((ROOT / "static/vendor/MANIFEST.json").read_text()):
        assert sha256((ROOT / "static" / entry["file"]).read_bytes()).hexdigest() == entry["sha256"], entry["file"]


def test_the_patterns_find_what_they_forbid():
    """A lint that finds nothing proves nothing."""
    samples = [
        '<p style="x">',
        '<p onclick="x">',
        'hx-on:click=""',
        'hx-trigger="click[ctrlKey]"',
        "{{ x|safe }}",
        "<script>",
        "</a></li><li aria-current='page'>",
    ]
    for sample in samples:
        assert any(re.search(pattern, sample, re.IGNORECASE) for pattern in FORBIDDEN), sample
