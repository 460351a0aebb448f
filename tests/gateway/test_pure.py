"""The small pure parts: pins, run tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import pins, schemas, tokens
from gateway.tokens import RunClaims
from provenance.errors import Unauthenticated
from provenance.ids import uuid7


def test_the_gateway_s_own_argument_is_not_offered():
    schema = {"type": "object", "properties": {"a": {}, "key": {}}, "required": ["a", "key"]}
    assert schemas.without(schema, "key") == {"type": "object", "properties": {"a": {}}, "required": ["a"]}


@given(st.dictionaries(st.text(min_size=1), st.text()), st.text(min_size=1), st.text())
def test_any_change_of_a_definition_changes_its_pin(definition, key, value):
    changed = {**definition, key: value}
    assert (pins.pin(changed) == pins.pin(definition)) == (changed == definition)


CLAIMS = RunClaims(
    workspace_id=uuid7(), run_id=uuid7(), step_id=uuid7(), agent_id=uuid7(), agent_version_id=uuid7(), token_id=uuid7(),
    fence=3, environment="production", workflow_version="v", step="s",
)  # fmt: skip


def test_a_run_token_carries_its_claims_for_minutes():
    claims = tokens.check(tokens.mint(CLAIMS, "k", lifetime_seconds=10**9), "k")
    assert claims.run_id == CLAIMS.run_id
    import time

    assert claims.expires_at <= time.time() + tokens.LONGEST_SECONDS


@given(st.integers(0, 200), st.characters(codec="ascii"))
def test_a_changed_run_token_is_refused(position, letter):
    token = tokens.mint(CLAIMS, "k")
    position %= len(token)
    changed = token[:position] + letter + token[position + 1 :]
    if changed != token:
        with pytest.raises(Unauthenticated):
            tokens.check(changed, "k")
