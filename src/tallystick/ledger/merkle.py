"""RFC 6962 Merkle tree: its head, the frontier that a node carries, audit paths and consistency proofs.

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
    return _siblings(index, 0, size, subtree)


def consistency_path(old_size: int, size: int, subtree: FullSubtree) -> list[bytes]:
    """The consistency proof (2.1.2) that the tree of the first `size` leaves goes on from that of `old_size`.

    Raises `IndexError` for a tree without leaves, or one that is larger.
    """
    if not 0 < old_size <= size:
        raise IndexError(f"a tree of {old_size} leaves before one of {size}")
    if old_size == size:
        return []
    height, number = _last_peak(old_size)
    peak = [subtree(height, number)] if number else []
    return peak + _siblings(number, height, size, subtree)


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The tree head to which an audit path leads from a leaf hash (RFC 9162, 2.1.3.2).

    Raises `Refused` (T2) unless the path has the form of one of leaf `index` in a tree of `size` leaves.
    """
    if not 0 <= index < size:
        raise Refused(Rule.T2, f"leaf {index} of a tree of {size}")
    shared, length = _way_up(index, size - 1)
    if len(path) != length:
        raise Refused(Rule.T2, f"{len(path)} hashes, {length} expected for leaf {index} of {size}")
    if any(len(one) != HASH_BYTES for one in (leaf, *path)):
        raise Refused(Rule.T2, f"a hash in it is not of {HASH_BYTES} bytes")
    node = leaf
    for height, sibling in enumerate(path):
        is_right = height >= shared or index >> height & 1
        node = node_hash(sibling, node) if is_right else node_hash(node, sibling)
    return node


def root_from_consistency(old_root: bytes, old_size: int, size: int, path: Sequence[bytes]) -> bytes:
    """The tree head over `size` leaves, by a consistency proof from the head over `old_size` (RFC 9162, 2.1.4.2).

    Raises `Refused` (T3) unless the proof has the form of one between these sizes, and leads to the old head, too.
    """
    if not 0 < old_size <= size:
        raise Refused(Rule.T3, f"from {old_size} leaves to {size}")
    height, number = _last_peak(old_size)
    shared, length = _way_up(number, (size - 1) >> height)
    expected = 0 if old_size == size else length + (number > 0)
    if len(path) != expected:
        raise Refused(Rule.T3, f"{len(path)} hashes, {expected} expected from {old_size} leaves to {size}")
    if any(len(one) != HASH_BYTES for one in (old_root, *path)):
        raise Refused(Rule.T3, f"a hash in it is not of {HASH_BYTES} bytes")
    if old_size == size:
        return old_root
    first, siblings = (path[0], path[1:]) if number else (old_root, path)
    old = new = first
    for level, sibling in enumerate(siblings):
        if level >= shared or number >> level & 1:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    if old != old_root:
        raise Refused(Rule.T3, f"it leads from another root of {old_size} leaves")
    return new


def _last_peak(size: int) -> tuple[int, int]:
    """Height and number of the smallest of the full subtrees that a tree of so many leaves consists of."""
    height = (size & -size).bit_length() - 1
    return height, (size >> height) - 1


def _way_up(number: int, last: int) -> tuple[int, int]:
    """At which level above a node its way up meets that of the last node of its row, and how many siblings it has.

    From that level on siblings stand on the left.
    """
    shared = (number ^ last).bit_length()
    return shared, shared + (number >> shared).bit_count()


def _siblings(number: int, height: int, size: int, subtree: FullSubtree) -> list[bytes]:
    """What stands beside the way up from a full subtree to the head over `size` leaves, upward."""
    path: list[bytes] = []
    for level in range(height, (size - 1).bit_length()):
        sibling = (number >> (level - height)) ^ 1
        if (sibling + 1) << level <= size:
            path.append(subtree(level, sibling))
        elif sibling << level < size:  # the right edge, whose leaves are the last of the tree
            path.append(_head_of(_peaks(size, level, subtree)))
    return path


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
