"""A Merkle trie: one root for a set of (key, value), and a proof of each key's value or of its absence.

Keys are 32 bytes. A branch stands at each bit at which keys that agree so far differ, and nowhere else (a crit-bit
trie), so the tree, and its root, follow from the set alone. Bit 0 is the most significant bit of byte 0. Hashes are
those of docs/protocol.md, section 2.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Final, TypeVar

from msgspec import Meta

from tallystick.ledger.encoding import Encoded
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import Digest
from tallystick.ledger.merkle import EMPTY_ROOT, leaf_hash

KEY_BYTES: Final = 32
KEY_BITS: Final = 8 * KEY_BYTES

T = TypeVar("T")


class TrieProof(Encoded):
    """The leaf at which the search for a key ends, and how the root follows from it.

    The leaf's key is the one searched for, or another: then that key is absent. The empty trie has no leaf.
    """

    leaf_key: Digest | None
    leaf_value: bytes | None
    path: Annotated[
        tuple[tuple[Annotated[int, Meta(ge=0, lt=KEY_BITS)], Digest], ...],
        Meta(max_length=KEY_BITS),
    ] = ()
    """Of each branch, from the root downwards: its bit index, and the hash of the side that is not searched."""


class _Leaf:
    """One entry."""

    __slots__ = ("_hash", "key", "value")

    def __init__(self, key: bytes, value: bytes) -> None:
        self.key, self.value = key, value
        self._hash: bytes | None = None

    def hash(self) -> bytes:
        """Worked out when it is first asked for."""
        if self._hash is None:
            self._hash = leaf_hash(self.key + self.value)
        return self._hash


class _Branch:
    """All keys below agree up to `bit`; those with a 0 there are on the left."""

    __slots__ = ("_hash", "bit", "left", "right")

    def __init__(self, bit: int, sides: "tuple[_Node, _Node]") -> None:
        self.bit = bit
        self.left, self.right = sides
        self._hash: bytes | None = None

    def hash(self) -> bytes:
        """Worked out when it is first asked for; that calls itself once a level, 256 times at most."""
        if self._hash is None:
            self._hash = _branch_hash(self.bit, (self.left.hash(), self.right.hash()))
        return self._hash


_Node = _Leaf | _Branch


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Trie:
    """An immutable set of entries; `Trie()` is empty. A change makes a new trie, which shares what stayed the same.

    Two tries are equal if their roots are. A key that is not 32 bytes long raises `ValueError`.
    """

    _top: _Node | None = None
    _size: int = 0

    @classmethod
    def of(cls, entries: Iterable[tuple[bytes, bytes]]) -> "Trie":
        """The trie of these entries, in linear time. Raises `ValueError` unless their keys ascend."""
        nodes, bits, size = list[_Node](), list[int](), 0
        before: bytes | None = None
        for key, value in entries:
            if len(key) != KEY_BYTES or (before is not None and key <= before):
                raise ValueError(f"the keys of a trie have {KEY_BYTES} bytes, and ascend here")
            if before is not None:
                _join(nodes, bits, bit := _first_difference(before, key))
                bits.append(bit)
            nodes.append(_Leaf(key, value))
            before, size = key, size + 1
        _join(nodes, bits, -1)
        return cls(nodes[0] if nodes else None, size)

    def __len__(self) -> int:
        return self._size

    def __eq__(self, other: object) -> bool:
        return self.root() == other.root() if isinstance(other, Trie) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.root())

    def root(self) -> bytes:
        """The hash that stands for all entries; only nodes that are new since it was last asked for are hashed."""
        return EMPTY_ROOT if self._top is None else self._top.hash()

    def get(self, key: bytes) -> bytes | None:
        """The value of the key, or `None`."""
        _, leaf = self._search(key)
        return leaf.value if leaf is not None and leaf.key == key else None

    def set(self, key: bytes, value: bytes) -> "Trie":
        """The trie with this entry, added or in place of the key's earlier one; this trie stays as it is."""
        path, leaf = self._search(key)
        node: _Node = _Leaf(key, value)
        if leaf is None:
            return Trie(node, 1)
        if leaf.key != key:
            bit = _first_difference(key, leaf.key)
            beside: _Node = leaf
            while path and path[-1].bit > bit:
                beside = path.pop()
            node = _Branch(bit, _sides(key, bit, node, beside))
        elif leaf.value == value:
            return self
        for branch in reversed(path):
            node = _Branch(branch.bit, _sides(key, branch.bit, node, _other_side(key, branch)))
        return Trie(node, self._size + (leaf.key != key))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries, by ascending key."""
        waiting = [] if self._top is None else [self._top]
        while waiting:
            node = waiting.pop()
            if isinstance(node, _Branch):
                waiting += (node.right, node.left)
            else:
                yield node.key, node.value

    def prove(self, key: bytes) -> TrieProof:
        """Proof of the key's value, or of its absence."""
        path, leaf = self._search(key)
        if leaf is None:
            return TrieProof(None, None)
        return TrieProof(leaf.key, leaf.value, tuple((one.bit, _other_side(key, one).hash()) for one in path))

    def _search(self, key: bytes) -> tuple[list[_Branch], _Leaf | None]:
        """The branches that the key leads through, and the leaf that it leads to."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key of a trie has {KEY_BYTES} bytes, not {len(key)}")
        path: list[_Branch] = []
        node = self._top
        while isinstance(node, _Branch):
            path.append(node)
            node = node.right if _bit(key, node.bit) else node.left
        return path, node


def proven_value(proof: TrieProof, key: bytes, root: bytes) -> bytes | None:
    """The key's value in the trie with this root, or `None`: it has no such key. Raises `Refused` (T1)."""
    if len(key) != KEY_BYTES:
        raise Refused(Rule.T1, f"a key of {len(key)} bytes, {KEY_BYTES} expected")
    bits = [bit for bit, _ in proof.path]
    if not all(before < bit < KEY_BITS for before, bit in pairwise([-1, *bits])):
        raise Refused(Rule.T1, f"the bit indexes of its path do not rise within 0 to {KEY_BITS - 1}")
    leaf_key, leaf_value = proof.leaf_key, proof.leaf_value
    if leaf_key is None or leaf_value is None:
        if (leaf_key, leaf_value, proof.path, root) != (None, None, (), EMPTY_ROOT):
            raise Refused(Rule.T1, "without a leaf it proves the empty trie alone")
        return None
    # Key and value are hashed one after the other: a shorter key would leave its end to the value.
    if len(leaf_key) != KEY_BYTES or any(_bit(leaf_key, bit) != _bit(key, bit) for bit in bits):
        raise Refused(Rule.T1, "the search for the key does not end at its leaf")
    node = leaf_hash(leaf_key + leaf_value)
    for bit, sibling in reversed(proof.path):
        node = _branch_hash(bit, _sides(key, bit, node, sibling))
    if node != root:
        raise Refused(Rule.T1, f"it leads to {node.hex()[:16]}…, not to {root.hex()[:16]}…")
    return leaf_value if leaf_key == key else None


def _join(nodes: list[_Node], bits: list[int], bit: int) -> None:
    """Put under branches what stands below `bit`; between two of the nodes stands the branch of one of the bits."""
    while bits and bits[-1] > bit:
        right, left = nodes.pop(), nodes.pop()
        nodes.append(_Branch(bits.pop(), (left, right)))


def _branch_hash(bit: int, sides: tuple[bytes, bytes]) -> bytes:
    left, right = sides
    return sha256(b"\x01" + bytes((bit,)) + left + right).digest()


def _bit(key: bytes, index: int) -> int:
    return key[index >> 3] >> (7 - (index & 7)) & 1


def _first_difference(one: bytes, other: bytes) -> int:
    """The first bit in which two keys differ."""
    return KEY_BITS - (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_length()


def _sides(key: bytes, bit: int, own: T, other: T) -> tuple[T, T]:
    """Left and right of a branch at this bit, whose side for the key is `own`."""
    return (other, own) if _bit(key, bit) else (own, other)


def _other_side(key: bytes, branch: _Branch) -> _Node:
    return branch.left if _bit(key, branch.bit) else branch.right
