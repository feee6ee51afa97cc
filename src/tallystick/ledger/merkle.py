"""RFC 6962 Merkle tree: its head, the frontier that a node carries, and audit paths, made and checked.

Hashes are 32 bytes. Leaf hash: SHA-256(0x00, data); node hash: SHA-256(0x01, left, right). Section numbers
are RFC 6962's unless another RFC is named.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from tallystick.ledger.errors import Refused, Rule

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

FullSubtree = Callable[[int, int], bytes]
"""The hash of a subtree that is full: of height h and number n, over the leaves n * 2^h up to (n + 1) * 2^h - 1."""


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf (2.1)."""
    return sha256(b"\x00" + data).digest()


def leaf_hashes(items: Iterable[bytes]) -> list[bytes]:
    """Hashes of many leaves."""
    return [sha256(b"\x00" + one).digest() for one in items]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node (2.1)."""
    return sha256(b"\x01" + left + right).digest()


def risen(row: bytes, levels: int) -> bytes:
    """The hashes (2.1) so many levels above a row of them, each row one hash after the other, without gaps."""
    pair = 2 * HASH_BYTES
    for _ in range(levels):
        row = b"".join([sha256(b"\x01" + row[at : at + pair]).digest() for at in range(0, len(row), pair)])
    return row


class Frontier(NamedTuple):
    """The roots of the full subtrees of a growing tree, largest first: all that appending needs.

    `peaks[i]` covers the i-th highest bit set in `size`.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def extend(self, hashes: Iterable[bytes], height: int = 0) -> "Frontier":
        """The frontier after appending these leaves, in order; this one stays as it is.

        Or full subtrees of this height, by their roots: then as many leaves as one has divide the size so far.
        """
        size, peaks = self.size >> height, list(self.peaks)
        for one in hashes:
            node, merging = one, size
            while merging & 1:
                node = node_hash(peaks.pop(), node)
                merging >>= 1
            peaks.append(node)
            size += 1
        return Frontier(size << height, tuple(peaks))

    def root(self) -> bytes:
        """The tree head (2.1) over all leaves so far."""
        return _head_of(self.peaks)


def tree_root(size: int, subtree: FullSubtree) -> bytes:
    """The tree head (2.1) over the first `size` leaves."""
    return _head_of(_peaks(size, size.bit_length(), subtree))


def audit_path(index: int, size: int, subtree: FullSubtree) -> list[bytes]:
    """The audit path (2.1.1) of leaf `index` in the tree of the first `size` leaves, leaf upward.

    Raises `IndexError` outside the tree.
    """
    if not 0 <= index < size:
        raise IndexError(f"leaf {index} of a tree of {size}")
    path: list[bytes] = []
    for height in range((size - 1).bit_length()):
        sibling = (index >> height) ^ 1
        if (sibling + 1) << height <= size:
            path.append(subtree(height, sibling))
        elif sibling << height < size:  # the right edge, whose leaves are the last of the tree
            path.append(_head_of(_peaks(size, height, subtree)))
    return path


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The tree head to which an audit path leads from a leaf hash (RFC 9162, 2.1.3.2).

    Raises `Refused` (T2) unless the path has the form of one of leaf `index` in a tree of `size` leaves.
    """
    if not 0 <= index < size:
        raise Refused(Rule.T2, f"leaf {index} of a tree of {size}")
    # The height at which the leaf's way up meets that of the last leaf: from there on, siblings stand on the left.
    shared = (index ^ (size - 1)).bit_length()
    length = shared + (index >> shared).bit_count()
    if len(path) != length:
        raise Refused(Rule.T2, f"{len(path)} hashes, {length} expected for leaf {index} of {size}")
    if any(len(one) != HASH_BYTES for one in (leaf, *path)):
        raise Refused(Rule.T2, f"a hash in it is not of {HASH_BYTES} bytes")
    node = leaf
    for height, sibling in enumerate(path):
        is_right = height >= shared or index >> height & 1
        node = node_hash(sibling, node) if is_right else node_hash(node, sibling)
    return node


def _peaks(size: int, below: int, subtree: FullSubtree) -> list[bytes]:
    """The largest full subtrees, of less than this height, over the end of the first `size` leaves; largest first."""
    heights = (height for height in reversed(range(below)) if size >> height & 1)
    return [subtree(height, (size >> height) - 1) for height in heights]


def _head_of(peaks: Sequence[bytes]) -> bytes:
    """The tree head (2.1) over full subtrees, each smaller than the one before it."""
    head = peaks[-1] if peaks else EMPTY_ROOT
    for peak in reversed(peaks[:-1]):
        head = node_hash(peak, head)
    return head
