"""One grammar of names: what one floor lets a person call a thing, the next one can name."""

import pytest

from agents.services import _SLUG as AGENT_SLUG
from provenance import schemas, tool_names
from provenance.tool_names import is_full_name, is_tool_name
from workflows.definition import SCHEMA


def test_a_definition_names_exactly_the_tools_that_there_may_be():
    assert SCHEMA["$defs"]["tool_name"]["pattern"] == f"^{tool_names.PATTERN}$"


@pytest.mark.parametrize("slug", ["analyst", "7-eleven", "a", "a" * 60, "-a", "a-", "a" * 61, "A", ""])
def test_a_definition_names_exactly_the_agents_that_there_may_be(slug):
    fits = not schemas.violations(SCHEMA["$defs"]["agent_slug"], slug)
    assert fits == bool(AGENT_SLUG.fullmatch(slug))


@pytest.mark.parametrize("name", ["erp.getVendor", "e.a", "e.a.b", "e-1.A_b-c.d", f"{'e' * 40}.{'a' * 128}"])
def test_a_tool_of_a_server(name):
    assert is_full_name(name)
    assert is_tool_name(name.partition(".")[2])


@pytest.mark.parametrize(
    "name",
    ["", "erp", "erp.", ".a", "1erp.a", "Erp.a", "erp..a", "erp.a.", "erp.a b", "erp.gеtVendor", "erp.a\n", "e.*",  # noqa: RUF001  a look-alike on purpose
     f"{'e' * 41}.a", f"e.{'a' * 129}"],
)  # fmt: skip
def test_not_a_tool(name):
    assert not is_full_name(name)
