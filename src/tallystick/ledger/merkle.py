"""RFC 6962 Merkle tree: its head, and the frontier that a node carries.

Hashes are 32 bytes. Leaf hash: SHA-256(0x00, data); node hash: SHA-256(0x01, left, right). Section numbers
are RFC 6962's.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf (2.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node (2.1)."""
    return sha256(b"\x01" + left + right).digest()


class Frontier(NamedTuple):
    """The roots of the full subtrees of a growing tree, largest first: all that appending needs.

    `peaks[i]` covers the i-th highest bit set in `size`.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def extend(self, leaf_hashes: Iterable[bytes]) -> "Frontier":
        """The frontier after appending these leaves, in order; this one stays as it is."""
        size, peaks = self.size, list(self.peaks)
        for leaf in leaf_hashes:
            node, merging = leaf, size
            while merging & 1:
                node = node_hash(peaks.pop(), node)
                merging >>= 1
            peaks.append(node)
            size += 1
        return Frontier(size, tuple(peaks))

    def root(self) -> bytes:
        """The tree head (2.1) over all leaves so far."""
        root = self.peaks[-1] if self.peaks else EMPTY_ROOT
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root
