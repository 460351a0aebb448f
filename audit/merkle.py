"""The Merkle tree of a log as RFC 6962 section 2.1 defines it: growing it, and proofs from its nodes. Pure.

A node is named `(level, index)`: the hash over the leaves from `index * 2**level` up to `(index + 1) * 2**level`, all of
them there. Whoever wants a proof says how such a node is read; tiles are `audit.tiles`.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

Node = tuple[int, int]
PlacedNode = tuple[Node, bytes]
ReadNode = Callable[[int, int], bytes]


class NotConsistent(ValueError):
    """A proof does not lead from what is known to what is claimed."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry. The prefix keeps leaves and inner nodes apart, so that neither can pose as the other."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two neighbors."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes."""
    frontier = Frontier()
    for _ in frontier.append(hashes):
        pass
    return frontier.root()


@dataclass(slots=True)
class Frontier:
    """The right edge of a growing tree: enough to append and to know the root, and log2(size) hashes large."""

    size: int = 0
    hashes: list[bytes] = field(default_factory=list)

    def append(self, leaves: Iterable[bytes]) -> Iterator[PlacedNode]:
        """Add leaf hashes; yields every inner node that became complete, in the order of its completion.

        Nothing is added but what is consumed: exhaust it.
        """
        sha256, hashes, size = hashlib.sha256, self.hashes, self.size
        for leaf in leaves:
            node, index, level = leaf, size, 0
            while index & 1:
                node = sha256(b"\x01" + hashes.pop() + node).digest()
                index >>= 1
                level += 1
                yield (level, index), node
            hashes.append(node)
            size += 1
            self.size = size

    def root(self) -> bytes:
        """The root of the tree so far."""
        return folded(self.hashes) if self.hashes else EMPTY_ROOT

    def to_bytes(self) -> bytes:
        """How it is stored beside its checkpoint, which knows the size."""
        return b"".join(self.hashes)

    @classmethod
    def of(cls, size: int, stored: bytes) -> Self:
        """What `to_bytes` gave for a tree of this size. Raises ValueError when it is not one."""
        if len(stored) != size.bit_count() * HASH_BYTES:
            raise ValueError(
                f"a tree of {size} leaves has {size.bit_count()} hashes at its edge, not {len(stored)} bytes"
            )
        return cls(size, [stored[start : start + HASH_BYTES] for start in range(0, len(stored), HASH_BYTES)])


def subtrees(first: int, end: int) -> list[Node]:
    """The fewest whole nodes that cover the leaves from `first` up to `end`, from left to right."""
    nodes = []
    while first < end:
        # As high as the start allows and the end permits.
        level = min((first & -first).bit_length() - 1 if first else end.bit_length(), (end - first).bit_length() - 1)
        nodes.append((level, first >> level))
        first += 1 << level
    return nodes


def range_root(read: ReadNode, first: int, end: int) -> bytes:
    """MTH of the leaves from `first` up to `end`, as one subtree of the RFC's recursion: `first` must begin one."""
    return folded([read(level, index) for level, index in subtrees(first, end)])


def folded(hashes: Sequence[bytes]) -> bytes:
    """The root over whole nodes that stand side by side, as `subtrees` names them."""
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def grown(edge: Sequence[PlacedNode], nodes: Iterable[PlacedNode]) -> list[PlacedNode]:
    """The right edge of a tree with these nodes appended: two of one level and parent become it."""
    found = list(edge)
    for (level, index), value in nodes:
        node = (level, index), value
        while node[0][1] & 1:
            (below, _left), left = found.pop()
            if below != node[0][0]:
                raise NotConsistent("the nodes do not fit together")
            node = (below + 1, node[0][1] >> 1), node_hash(left, node[1])
        found.append(node)
    return found


def inclusion_proof(read: ReadNode, index: int, size: int) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962 section 2.1.1, from the leaf's sibling up."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    proof, first, end = [], 0, size
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            proof.append(range_root(read, middle, end))
            end = middle
        else:
            proof.append(range_root(read, first, middle))
            first = middle
    return proof[::-1]


def root_of_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to. Raises `NotConsistent` for a proof of another length."""
    if not 0 <= index < size:
        raise NotConsistent(f"there is no leaf {index} in a tree of {size}")
    rest = list(proof)
    root = _climb(leaf, index, size, rest)
    if rest:
        raise NotConsistent("the proof is too long")
    return root


def consistency_proof(read: ReadNode, old: int, size: int) -> list[bytes]:
    """PROOF(old, D[size]) of RFC 6962 section 2.1.2; empty for an old size of 0 or of the same size."""
    if not 0 <= old <= size:
        raise ValueError(f"a tree of {old} leaves does not come before one of {size}")
    if old in {0, size}:
        return []
    proof: list[bytes] = []
    first, end, is_whole = 0, size, True
    while end - first and old != end:
        middle = first + _split(end - first)
        if old <= middle:
            proof.append(range_root(read, middle, end))
            end = middle
        else:
            proof.append(range_root(read, first, middle))
            first, is_whole = middle, False
    # The old tree itself is known to whoever asks; any other subtree that it ends with is not.
    if not is_whole:
        proof.append(range_root(read, first, end))
    return proof[::-1]


def check_consistency(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Raise `NotConsistent` unless the proof shows that the new tree begins with the old one."""
    if not 0 <= old <= size:
        raise NotConsistent(f"a tree of {old} leaves does not come before one of {size}")
    rest = list(proof)
    found = (EMPTY_ROOT, root) if old == 0 else _both_roots(old, old_root, size, rest, is_whole=True)
    if rest:
        raise NotConsistent("the proof is too long")
    if found != (old_root, root):
        raise NotConsistent(f"the tree of {size} leaves does not begin with that of {old}")


def range_proof(read: ReadNode, first: int, end: int, size: int) -> tuple[list[bytes], list[bytes]]:
    """What shows that a run of leaves stands at `first` in a tree of `size`: nodes left of it and nodes right of it.

    Both from left to right, as `subtrees(0, first)` and `subtrees(end, size)` name them; at most log2(size) each.
    """
    if not 0 <= first <= end <= size:
        raise ValueError(f"{first} up to {end} is no range of a tree of {size}")
    left = [read(level, index) for level, index in subtrees(0, first)]
    return left, [read(level, index) for level, index in subtrees(end, size)]


def _split(leaves: int) -> int:
    """The largest power of two below the number of leaves: where the RFC divides a tree."""
    return 1 << (leaves - 1).bit_length() - 1


def _taken(proof: list[bytes]) -> bytes:
    """The next hash from the top of the tree down: proofs are written from the leaf up."""
    if not proof:
        raise NotConsistent("the proof is too short")
    return proof.pop()


def _climb(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    if size == 1:
        return leaf
    sibling, middle = _taken(proof), _split(size)
    if index < middle:
        return node_hash(_climb(leaf, index, middle, proof), sibling)
    return node_hash(sibling, _climb(leaf, index - middle, size - middle, proof))


def _both_roots(old: int, old_root: bytes, size: int, proof: list[bytes], *, is_whole: bool) -> tuple[bytes, bytes]:
    """The roots of the old and the new tree that the proof leads to, by the recursion that made it."""
    if old == size:
        known = old_root if is_whole else _taken(proof)
        return known, known
    sibling, middle = _taken(proof), _split(size)
    if old <= middle:
        before, after = _both_roots(old, old_root, middle, proof, is_whole=is_whole)
        return before, node_hash(after, sibling)
    before, after = _both_roots(old - middle, old_root, size - middle, proof, is_whole=False)
    return node_hash(sibling, before), node_hash(sibling, after)
