"""The capability matrix, cell by cell (M002, M003, C01), and what holds for every question put to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.trust import LIMITS, MATRIX, Row, Trust, Verdict, capability, secret_use
from provenance.risk import Risk

A, D = ("allow", None), ("deny", None)


def gate(risk):
    return ("gate", Risk(risk))


# Vocabulary 2.8, written down a second time: effect, environment, further facts, then low, medium, high.
TABLE = [
    ("read", "production", {"tier": 1}, A, A, A),
    ("read", "production", {"tier": 2}, A, A, A),
    ("read", "production", {"tier": 3}, D, gate("medium"), A),
    ("read", "production", {"tier": 4}, D, D, gate("critical")),
    ("write", "development", {}, D, gate("medium"), A),
    ("write", "staging", {}, D, gate("medium"), A),
    ("write", "staging", {"tainted": True}, D, gate("medium"), A),
    ("write", "development", {"delegated": True}, D, A, A),
    ("write", "staging", {"delegated": True}, D, A, A),
    # Nobody has seen what a tainted run read after the class of actions was allowed.
    ("write", "staging", {"delegated": True, "tainted": True}, D, gate("medium"), A),
    ("write", "production", {}, D, gate("high"), gate("high")),
    # A delegated grant opens one cell of the matrix and no other.
    ("write", "production", {"delegated": True}, D, gate("high"), gate("high")),
    ("read", "production", {"tier": 3, "delegated": True}, D, gate("medium"), A),
    ("read", "production", {"tier": 4, "delegated": True}, D, D, gate("critical")),
    ("destructive", "development", {"delegated": True}, D, D, gate("critical")),
    ("financial", "production", {"delegated": True}, D, D, gate("critical")),
    ("account", "production", {"delegated": True}, D, D, gate("critical")),
    ("egress", "production", {"listed": True, "delegated": True}, D, gate("high"), A),
    ("egress", "production", {"listed": True, "tainted": True, "delegated": True}, D, gate("high"), gate("high")),
    ("egress", "production", {"listed": False, "delegated": True}, D, D, D),
    ("destructive", "development", {}, D, D, gate("critical")),
    ("destructive", "production", {}, D, D, gate("critical")),
    ("financial", "production", {}, D, D, gate("critical")),
    ("account", "production", {}, D, D, gate("critical")),
    ("egress", "production", {"listed": True}, D, gate("high"), A),
    ("egress", "production", {"listed": True, "tainted": True}, D, gate("high"), gate("high")),
    ("egress", "production", {"listed": False}, D, D, D),
    ("egress", "production", {"listed": False, "tainted": True}, D, D, D),
]
CASES = [
    (level, effect, environment, facts, expected)
    for effect, environment, facts, *columns in TABLE
    for level, expected in zip(Trust, columns, strict=True)
]


@pytest.mark.parametrize(("level", "effect", "environment", "facts", "expected"), CASES)
def test_each_cell_says_what_the_vocabulary_says(level, effect, environment, facts, expected):
    found = capability(level, effect, environment, **facts)
    assert (found.verdict, found.risk) == expected
    assert found.reason


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        (Row.INJECT_READ, (A, A, A)),
        (Row.INJECT_WRITE, (D, A, A)),
        (Row.INJECT_ANY, (D, D, A)),
        (Row.CREDENTIAL_IN_CONTEXT, (D, D, D)),
        (Row.CODE_WITHOUT_NETWORK, (D, gate("high"), A)),
        (Row.CODE_WITH_NETWORK, (D, D, gate("critical"))),
        (Row.START_AGENT, (D, A, A)),
        (Row.UNREVIEWED_SERVER, (D, D, D)),
    ],
)
def test_rows_beyond_tools(row, columns):
    assert tuple((cell.verdict, cell.risk) for cell in MATRIX[row].values()) == columns


def test_the_demo_write_waits_for_a_person():
    """`erp.updateVendorTerms` is a write in production by an agent of medium trust: gate, high."""
    found = capability("medium", "write", "production")
    assert (found.verdict, found.risk) == (Verdict.GATE, Risk.HIGH)
    assert "asks a person" in found.reason


@pytest.mark.parametrize(
    ("access", "columns"), [("read", "allow allow allow"), ("write", "deny allow allow"), ("admin", "deny deny allow")]
)
def test_secrets_by_injection(access, columns):
    assert [secret_use(level, access).verdict for level in Trust] == columns.split()


@pytest.mark.parametrize(
    ("level", "calls", "tokens"), [("low", 50, 32_000), ("medium", 200, 200_000), ("high", 500, 200_000)]
)
def test_limits_of_a_run(level, calls, tokens):
    assert (LIMITS[level].calls_per_run, LIMITS[level].tokens_per_run) == (calls, tokens)


def test_every_row_has_a_cell_for_every_level():
    assert set(MATRIX) == set(Row)
    assert all(list(cells) == list(Trust) for cells in MATRIX.values())


words = st.sampled_from([*Trust, "", "LOW", "root", "read", "write", "unknown", "production", "staging", "Staging "])
effects = st.sampled_from(["read", "write", "destructive", "financial", "egress", "account", "", "READ", "unknown"])
tiers = st.one_of(st.integers(1, 4), st.integers())


@given(words, effects, words, tiers, st.tuples(st.booleans(), st.booleans()))
def test_what_the_matrix_does_not_know_is_denied(trust, effect, environment, tier, flags):
    tainted, listed = flags
    found = capability(trust, effect, environment, tier=tier, tainted=tainted, listed=listed)
    known = trust in set(Trust) and (
        effect in {"write", "destructive", "financial", "egress", "account"}
        or (effect == "read" and tier in {1, 2, 3, 4})
    )
    assert known or found.verdict is Verdict.DENY
    assert (found.risk is not None) == (found.verdict is Verdict.GATE)


@given(effects, words, tiers, st.booleans(), st.booleans())
def test_more_trust_never_means_less(effect, environment, tier, tainted, listed):
    order = [Verdict.DENY, Verdict.GATE, Verdict.ALLOW]
    found = [capability(t, effect, environment, tier=tier, tainted=tainted, listed=listed).verdict for t in Trust]
    assert [order.index(verdict) for verdict in found] == sorted(order.index(verdict) for verdict in found)


@given(words, effects, words, tiers, st.booleans())
def test_taint_never_opens_anything(trust, effect, environment, tier, listed):
    order = [Verdict.DENY, Verdict.GATE, Verdict.ALLOW]
    clean = capability(trust, effect, environment, tier=tier, listed=listed).verdict
    tainted = capability(trust, effect, environment, tier=tier, tainted=True, listed=listed).verdict
    assert order.index(tainted) <= order.index(clean)


@given(words, effects, words, tiers, st.tuples(st.booleans(), st.booleans()))
def test_a_delegated_grant_never_opens_what_is_denied(trust, effect, environment, tier, flags):
    facts = {"tier": tier, "tainted": flags[0], "listed": flags[1]}
    without = capability(trust, effect, environment, **facts)
    under = capability(trust, effect, environment, **facts, delegated=True)
    assert under == without or (without.verdict, under.verdict) == (Verdict.GATE, Verdict.ALLOW)


def test_the_note_of_a_cell_says_what_else_holds():
    """What stands beside a verdict on the page of the matrix, and cannot be read off the verdict."""
    assert {(row.name, level.value, cell.note) for row, cells in MATRIX.items() for level, cell in cells.items()} >= {
        ("READ_TIER_3", "high", "with an output filter and a fuller log"),
        ("READ_TIER_4", "high", "fields proxied"),
        ("WRITE_INTERNAL", "medium", "allowed under a delegated grant"),
        ("DESTRUCTIVE", "high", "two people"),
        ("EGRESS_LISTED", "high", "asks when the run is tainted"),
    }


def test_an_environment_nobody_named_counts_as_production():
    assert capability("high", "write", "prod").verdict is Verdict.GATE


@pytest.mark.parametrize("one", Trust)
@pytest.mark.parametrize("other", Trust)
def test_levels_compare_by_rank_in_every_direction(one, other):
    assert (one < other, one <= other, one > other, one >= other) == (
        one.rank < other.rank,
        one.rank <= other.rank,
        one.rank > other.rank,
        one.rank >= other.rank,
    )


def test_the_least_of_a_chain_counts():
    assert min(Trust.HIGH, Trust.LOW, Trust.MEDIUM) is Trust.LOW
