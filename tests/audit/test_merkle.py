"""The tree of RFC 6962, against its own recursive definition."""

import contextlib
import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    NotConsistent,
    check_consistency,
    consistency_proof,
    folded,
    grown,
    inclusion_proof,
    leaf_hash,
    node_hash,
    range_proof,
    root_of_inclusion,
    subtrees,
    tree_root,
)


def mth(leaves):
    """Section 2.1, word for word."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def leaves_of(size):
    return [leaf_hash(b"%d" % number) for number in range(size)]


def reader(leaves):
    return lambda level, index: mth(leaves[index << level : (index + 1) << level])


def test_vectors_of_certificate_transparency():
    """The tree heads that the reference implementation of RFC 6962 checks itself with."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    leaves = [leaf_hash(bytes.fromhex(text)) for text in inputs]
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert [tree_root(leaves[: number + 1]).hex() for number in range(8)] == roots


@pytest.mark.parametrize("size", range(34))
def test_root_and_frontier(size):
    leaves = leaves_of(size)
    frontier = Frontier()
    for leaf in leaves:
        list(frontier.append([leaf]))
        frontier = Frontier.of(frontier.size, frontier.to_bytes())
    assert frontier.root() == tree_root(leaves) == mth(leaves)


def test_appending_tells_every_node_once_it_is_complete():
    leaves = leaves_of(21)
    nodes = dict(Frontier().append(leaves))
    assert nodes == {
        (level, index): mth(leaves[index << level : (index + 1) << level])
        for level in range(1, 5)
        for index in range(21 >> level)
    }


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 32, 33])
def test_inclusion(size):
    leaves = leaves_of(size)
    for index in range(size):
        proof = inclusion_proof(reader(leaves), index, size)
        assert root_of_inclusion(leaves[index], index, size, proof) == mth(leaves)
        for wrong in ([*proof, leaves[0]], proof[:-1] if proof else [leaves[0]]):
            with pytest.raises(NotConsistent):
                root_of_inclusion(leaves[index], index, size, wrong)
        for other in range(size):
            if other != index:
                with contextlib.suppress(NotConsistent):
                    assert root_of_inclusion(leaves[index], other, size, proof) != mth(leaves)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 32, 33])
def test_consistency(size):
    leaves = leaves_of(size)
    for old in range(size + 1):
        proof = consistency_proof(reader(leaves), old, size)
        check_consistency(old, mth(leaves[:old]), size, mth(leaves), proof)
        with pytest.raises(NotConsistent):
            check_consistency(old, mth(leaves[:old]), size, mth(leaves), [*proof, leaves[0]])
        if old:
            with pytest.raises(NotConsistent):
                check_consistency(old, leaf_hash(b"another"), size, mth(leaves), proof)


def test_a_smaller_tree_is_never_consistent():
    with pytest.raises(NotConsistent):
        check_consistency(3, mth(leaves_of(3)), 2, mth(leaves_of(2)), [])


@given(st.integers(0, 60).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size), st.integers(0, size))))
def test_a_range_is_covered_by_whole_nodes(case):
    size, one, other = case
    first, end = min(one, other), max(one, other)
    leaves = leaves_of(size)
    left, right = range_proof(reader(leaves), first, end, size)
    assert len(left) + len(right) <= 2 * max(size, 1).bit_length()
    for nodes, start, stop in ((subtrees(0, first), 0, first), (subtrees(end, size), end, size)):
        covered = [number for level, index in nodes for number in range(index << level, (index + 1) << level)]
        assert covered == list(range(start, stop))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_an_edge_that_grows_by_the_nodes_of_one_range_after_another_has_the_root_of_the_tree(lengths):
    ends = [sum(lengths[:number]) for number in range(len(lengths) + 1)]
    leaves = leaves_of(ends[-1])
    read, edge = reader(leaves), []
    for first, end in pairwise(ends):
        edge = grown(edge, [((level, index), read(level, index)) for level, index in subtrees(first, end)])
        assert folded([node for _place, node in edge]) == mth(leaves[:end])


def test_nodes_that_do_not_stand_side_by_side_make_no_edge():
    with pytest.raises(NotConsistent):
        grown([((0, 2), leaf_hash(b"2"))], [((1, 1), leaf_hash(b"23"))])
