"""RFC 6962 by the word, over all leaves in memory: heads, audit paths, and consistency proofs, which anybody verifies.

Section numbers are RFC 6962's unless another RFC is named.
"""

from collections.abc import Sequence

from tallystick.ledger.merkle import Frontier, node_hash


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The tree head over these leaves (2.1)."""
    return Frontier().extend(leaf_hashes).root()


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of leaf `index`, leaf upward (2.1.1). Raises `IndexError` outside the tree."""
    if not 0 <= index < len(leaf_hashes):
        raise IndexError(f"leaf {index} of a tree of {len(leaf_hashes)}")
    path: list[bytes] = []
    start, end = 0, len(leaf_hashes)
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            path.append(root(leaf_hashes[split:end]))
            end = split
        else:
            path.append(root(leaf_hashes[start:split]))
            start = split
    return path[::-1]


def consistency_proof(leaf_hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """The proof that the tree over the first `old_size` leaves is a prefix of this one (2.1.2).

    Raises `IndexError` when `old_size` is not from 1 to the number of leaves.
    """
    if not 0 < old_size <= len(leaf_hashes):
        raise IndexError(f"old size {old_size} of a tree of {len(leaf_hashes)}")
    path: list[bytes] = []
    start, end, old_end, old_is_whole = 0, len(leaf_hashes), old_size, True
    while old_end != end:
        split = start + _split(end - start)
        if old_end <= split:
            path.append(root(leaf_hashes[split:end]))
            end = split
        else:
            path.append(root(leaf_hashes[start:split]))
            start, old_is_whole = split, False
    if not old_is_whole:
        path.append(root(leaf_hashes[start:end]))
    return path[::-1]


def verify_consistency(old_size: int, old_root: bytes, size: int, tree_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the old tree is a prefix of the new one (RFC 9162, 2.1.4.2)."""
    if not 0 < old_size <= size:
        return False
    if old_size == size:
        return not proof and old_root == tree_root
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    node, last = old_size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_result = result = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_result, result = node_hash(sibling, old_result), node_hash(sibling, result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old_result == old_root and result == tree_root


def _split(size: int) -> int:
    """The largest power of two smaller than `size` (size > 1)."""
    return 1 << ((size - 1).bit_length() - 1)
