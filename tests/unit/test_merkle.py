"""The log's tree is RFC 6962's: known answers, and every proof against the definition itself."""

from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import refuses
from tests.log_proofs import consistency_proof, inclusion_proof, root, verify_consistency

from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    audit_path,
    consistency_path,
    leaf_hash,
    node_hash,
    risen,
    root_from_consistency,
    root_from_path,
    tree_root,
)

MOST = 70
DATA = [b"leaf %d" % number for number in range(MOST)]
LEAVES = [leaf_hash(data) for data in DATA]

# The inputs and heads of the Certificate Transparency reference tests.
CT_INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@cache
def head(start: int, end: int) -> bytes:
    """RFC 6962, 2.1, word for word, over `DATA[start:end]`."""
    if end - start == 0:
        return sha256(b"").digest()
    if end - start == 1:
        return sha256(b"\x00" + DATA[start]).digest()
    k = 1
    while k * 2 < end - start:
        k *= 2
    return sha256(b"\x01" + head(start, start + k) + head(start + k, end)).digest()


def test_the_heads_of_the_certificate_transparency_tests():
    leaves = [leaf_hash(bytes.fromhex(data)) for data in CT_INPUTS]
    assert [root(leaves[:size]).hex() for size in range(1, 9)] == CT_ROOTS
    assert root([]) == EMPTY_ROOT == sha256().digest()


def test_the_frontier_has_the_head_of_the_definition_at_every_size():
    frontier = Frontier()
    for size in range(MOST + 1):
        assert frontier.root() == head(0, size)
        assert frontier == Frontier().extend(LEAVES[:size])
        assert len(frontier.peaks) == size.bit_count()
        frontier = frontier.extend(LEAVES[size : size + 1])


@given(st.lists(st.integers(0, 20), max_size=8))
def test_a_frontier_does_not_depend_on_the_steps_it_grew_in(steps):
    steps = [step for place, step in enumerate(steps) if sum(steps[: place + 1]) <= MOST]
    frontier, size = Frontier(), 0
    for step in steps:
        before = frontier
        frontier = before.extend(iter(LEAVES[size : size + step]))
        assert before.root() == head(0, size)
        size += step
    assert frontier == Frontier().extend(LEAVES[:size])


def subtree(height: int, number: int) -> bytes:
    """As a reader of kept hashes finds it."""
    return head(number << height, (number + 1) << height)


@given(st.integers(0, 4), st.integers(0, 8), st.integers(0, 4))
def test_a_frontier_takes_full_subtrees_by_their_roots(height, before, count):
    size = min(before << height, MOST)
    size -= size % (1 << height)
    end = min(size + (count << height), MOST - MOST % (1 << height))
    roots = [risen(b"".join(LEAVES[at : at + (1 << height)]), height) for at in range(size, end, 1 << height)]
    assert Frontier().extend(LEAVES[:size]).extend(roots, height) == Frontier().extend(LEAVES[:end])


def test_the_rows_above_full_subtrees():
    row = b"".join(LEAVES[:64])
    for height in range(7):
        expected = [subtree(height, number) for number in range(64 >> height)]
        assert risen(row, height) == b"".join(expected)
    assert risen(b"", 3) == b""


def proves(leaf: bytes, index: int, size: int, path: list[bytes], top: bytes) -> bool:
    """Whether the path leads from this leaf hash, at this place in a tree of this size, to this head."""
    try:
        return root_from_path(leaf, index, size, path) == top
    except Refused as refused:
        return refused.rule is not Rule.T2


def test_every_leaf_of_every_tree_has_a_path():
    for size in range(1, MOST + 1):
        leaves, top = LEAVES[:size], head(0, size)
        assert tree_root(size, subtree) == top
        for index in range(size):
            path = audit_path(index, size, subtree)
            assert path == inclusion_proof(leaves, index)
            assert root_from_path(LEAVES[index], index, size, path) == top
            assert len(path) <= (size - 1).bit_length()
    assert tree_root(0, subtree) == EMPTY_ROOT


def test_a_path_shows_one_leaf_at_one_place_of_one_tree():
    for size in range(1, 20):
        top = head(0, size)
        for index in range(size):
            path = audit_path(index, size, subtree)
            assert not proves(LEAVES[size], index, size, path, top)
            assert not proves(LEAVES[index], index, size, path, head(0, size + 1))
            for other in (-1, *range(index), *range(index + 1, size + 2)):
                assert not proves(LEAVES[index], other, size, path, top)
            with refuses(Rule.T2, f"{len(path) + 1} hashes, {len(path)} expected"):
                root_from_path(LEAVES[index], index, size, [*path, EMPTY_ROOT])
            for place in range(len(path)):
                with refuses(Rule.T2, f"{len(path) - 1} hashes, {len(path)} expected"):
                    root_from_path(LEAVES[index], index, size, path[:place] + path[place + 1 :])
                changed = [*path[:place], bytes([path[place][0] ^ 1]) + path[place][1:], *path[place + 1 :]]
                assert not proves(LEAVES[index], index, size, changed, top)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (0, -1), (100, 3)])
def test_a_path_of_a_leaf_outside_the_tree_leads_nowhere(index, size):
    with refuses(Rule.T2, f"leaf {index} of a tree of {size}"):
        root_from_path(LEAVES[0], index, size, [])


def test_hashes_of_another_length_do_not_pass_for_two_that_meet_elsewhere():
    """What is hashed has no lengths in it: a longer leaf would take the beginning of its sibling with it."""
    longer, shorter = LEAVES[0] + LEAVES[1][:1], LEAVES[1][1:]
    assert node_hash(longer, shorter) == head(0, 2)
    with refuses(Rule.T2, "not of 32 bytes"):
        root_from_path(longer, 0, 2, [shorter])
    with refuses(Rule.T2, "not of 32 bytes"):
        root_from_path(LEAVES[0], 0, 2, [shorter])


def test_every_tree_is_shown_to_continue_every_earlier_one():
    for size in range(1, MOST + 1):
        for old_size in range(1, size + 1):
            proof = consistency_proof(LEAVES[:size], old_size)
            assert verify_consistency(old_size, head(0, old_size), size, head(0, size), proof)


def test_a_consistency_proof_shows_no_other_pair_of_trees():
    for size in range(2, 18):
        for old_size in range(1, size):
            old, new = head(0, old_size), head(0, size)
            proof = consistency_proof(LEAVES[:size], old_size)
            rewritten = root([EMPTY_ROOT, *LEAVES[1:old_size]])
            assert not verify_consistency(old_size, rewritten, size, new, proof)
            assert not verify_consistency(old_size, old, size, head(0, size + 1), proof)
            assert not verify_consistency(old_size, new, size, new, proof)
            assert not verify_consistency(old_size, old, size, new, [*proof, EMPTY_ROOT])
            assert not verify_consistency(old_size, old, size, new, [])
            for place in range(len(proof)):
                assert not verify_consistency(old_size, old, size, new, proof[:place] + proof[place + 1 :])
                changed = [*proof[:place], bytes([proof[place][0] ^ 1]) + proof[place][1:], *proof[place + 1 :]]
                assert not verify_consistency(old_size, old, size, new, changed)


def test_a_tree_is_consistent_with_itself_by_an_empty_proof_alone():
    assert verify_consistency(5, head(0, 5), 5, head(0, 5), [])
    assert not verify_consistency(5, head(0, 5), 5, head(0, 5), [EMPTY_ROOT])
    assert not verify_consistency(5, head(0, 4), 5, head(0, 5), [])
    assert not verify_consistency(6, head(0, 6), 5, head(0, 5), [])
    assert not verify_consistency(0, EMPTY_ROOT, 5, head(0, 5), [])


def test_an_inner_node_is_no_leaf():
    """Domain separation: or a tree of two leaves could be passed off as one leaf."""
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])


@pytest.mark.parametrize("index", [-1, 3, 100])
def test_there_is_no_path_of_a_leaf_outside_the_tree(index):
    for make in (lambda: audit_path(index, 3, subtree), lambda: inclusion_proof(LEAVES[:3], index)):
        with pytest.raises(IndexError, match=f"leaf {index} of a tree of 3"):
            make()


@pytest.mark.parametrize("old_size", [-1, 0, 4])
def test_there_is_no_consistency_proof_for_a_tree_that_never_was(old_size):
    with pytest.raises(IndexError):
        consistency_proof(LEAVES[:3], old_size)


# ---- consistency, made from subtrees and led to the later head ---------------------------------------------------


def continues(old_root: bytes, old_size: int, size: int, path: list[bytes], top: bytes) -> bool:
    """Whether the proof leads from the one head to the other."""
    try:
        return root_from_consistency(old_root, old_size, size, path) == top
    except Refused as refused:
        return refused.rule is not Rule.T3


def test_every_tree_leads_to_every_later_one():
    for size in range(1, MOST + 1):
        for old_size in range(1, size + 1):
            path = consistency_path(old_size, size, subtree)
            assert path == consistency_proof(LEAVES[:size], old_size)
            assert root_from_consistency(head(0, old_size), old_size, size, path) == head(0, size)
            assert len(path) <= (size - 1).bit_length() + 1


def test_a_tree_leads_to_no_other_by_no_other_proof():
    for size in range(1, 18):
        for old_size in range(1, size + 1):
            old, new, path = head(0, old_size), head(0, size), consistency_path(old_size, size, subtree)
            rewritten = root([EMPTY_ROOT, *LEAVES[1:old_size]])
            assert not continues(rewritten, old_size, size, path, new)
            assert not continues(old, old_size, size + 1, path, head(0, size + 1))
            with refuses(Rule.T3, f"{len(path) + 1} hashes, {len(path)} expected"):
                root_from_consistency(old, old_size, size, [*path, EMPTY_ROOT])
            for place in range(len(path)):
                assert not continues(old, old_size, size, path[:place] + path[place + 1 :], new)
                changed = [*path[:place], bytes([path[place][0] ^ 1]) + path[place][1:], *path[place + 1 :]]
                assert not continues(old, old_size, size, changed, new)


def test_consistency_says_the_same_as_the_algorithm_of_the_rfc_for_trees_of_any_size():
    """Whatever the hashes are, both accept, or both refuse: sizes up to what a number may be."""

    @given(st.integers(1, 2**53 - 1), st.integers(0, 2**53 - 1), st.data())
    def agrees(old_size, more, data):
        size = old_size + more
        made: dict[tuple[int, int], bytes] = {}

        def node(height: int, number: int) -> bytes:
            return made.setdefault((height, number), sha256(b"%d %d" % (height, number)).digest())

        path, old = consistency_path(old_size, size, node), tree_root(old_size, node)
        top = root_from_consistency(old, old_size, size, path)
        assert verify_consistency(old_size, old, size, top, path)
        wrong = data.draw(st.integers(0, len(path)))
        given_path = path[:wrong] + path[wrong + 1 :] if wrong < len(path) else [*path, EMPTY_ROOT]
        assert not verify_consistency(old_size, old, size, top, given_path)
        assert not continues(old, old_size, size, given_path, top)

    agrees()


@pytest.mark.parametrize(("old_size", "size"), [(0, 3), (-1, 3), (4, 3), (0, 0), (1, 0)])
def test_no_proof_leads_between_trees_of_these_sizes(old_size, size):
    with pytest.raises(IndexError):
        consistency_path(old_size, size, subtree)
    with refuses(Rule.T3, f"from {old_size} leaves to {size}"):
        root_from_consistency(EMPTY_ROOT, old_size, size, [])


def test_hashes_of_another_length_show_no_consistency():
    with refuses(Rule.T3, "not of 32 bytes"):
        root_from_consistency(head(0, 1)[:31], 1, 2, [LEAVES[1]])
    with refuses(Rule.T3, "not of 32 bytes"):
        root_from_consistency(head(0, 1), 1, 2, [LEAVES[1] + b"!"])
