"""The trie: its root against the definition, its entries against a dict, and what is no proof refused."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tallystick.ledger.encoding import Codec
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.merkle import EMPTY_ROOT
from tallystick.ledger.trie import Trie, TrieProof, proven_value

ZERO, ONES = bytes(32), b"\xff" * 32


def bit_key(*bits):
    """The key with these bits set; bit 0 is the first."""
    return sum(1 << (255 - bit) for bit in set(bits)).to_bytes(32, "big")


# Keys that fall together as well as keys that do not: few bits set, or any at all.
KEYS = st.one_of(
    st.lists(st.sampled_from([0, 1, 7, 8, 9, 127, 128, 254, 255]), max_size=4).map(lambda bits: bit_key(*bits)),
    st.binary(min_size=32, max_size=32),
)
ENTRIES = st.dictionaries(KEYS, st.binary(max_size=40), max_size=24)
FEW = {bit_key(0): b"a", bit_key(1): b"b", bit_key(1, 9): b"c", bit_key(1, 9, 255): b"d", bit_key(200): b"e"}
MANY = {sha256(bytes([number])).digest(): bytes([number]) * (number % 7) for number in range(200)}


def trie_of(entries):
    trie = Trie()
    for key, value in dict(entries).items():
        trie = trie.set(key, value)
    return trie


def defined_root(entries):
    """docs/protocol.md, section 2, word for word."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        ((key, value),) = entries.items()
        return sha256(b"\x00" + key + value).digest()
    bits = {key: f"{int.from_bytes(key, 'big'):0256b}" for key in entries}
    first = next(bit for bit in range(256) if len({text[bit] for text in bits.values()}) == 2)
    sides = [{key: value for key, value in entries.items() if bits[key][first] == side} for side in "01"]
    return sha256(b"\x01" + bytes([first]) + b"".join(map(defined_root, sides))).digest()


def refused(proof, key, root):
    with pytest.raises(Refused) as caught:
        proven_value(proof, key, root)
    assert caught.value.rule is Rule.T1
    return caught.value.reason


def test_an_empty_trie_has_the_empty_root():
    trie = Trie()
    assert trie.root() == EMPTY_ROOT == sha256(b"").digest()
    assert (len(trie), list(trie.items()), trie.get(ZERO)) == (0, [], None)
    assert trie.prove(ZERO) == TrieProof(None, None, ())
    assert proven_value(trie.prove(ZERO), ZERO, EMPTY_ROOT) is None


def test_one_entry_is_one_leaf():
    trie = Trie().set(ZERO, b"value")
    assert trie.root() == sha256(b"\x00" + ZERO + b"value").digest()
    assert (len(trie), list(trie.items())) == (1, [(ZERO, b"value")])
    assert (trie.get(ZERO), trie.get(ONES)) == (b"value", None)
    assert trie.prove(ZERO) == trie.prove(ONES) == TrieProof(ZERO, b"value", ())


@pytest.mark.parametrize("bit", [0, 7, 8, 254, 255])
def test_two_entries_part_at_the_first_bit_that_differs(bit):
    left, right = b"\x00" + ZERO + b"l", b"\x00" + bit_key(bit) + b"r"
    trie = Trie().set(bit_key(bit), b"r").set(ZERO, b"l")
    assert trie.root() == sha256(b"\x01" + bytes([bit]) + sha256(left).digest() + sha256(right).digest()).digest()
    assert trie.prove(ZERO) == TrieProof(ZERO, b"l", ((bit, sha256(right).digest()),))
    assert trie.prove(bit_key(bit)) == TrieProof(bit_key(bit), b"r", ((bit, sha256(left).digest()),))


def test_bit_0_is_the_most_significant_of_the_first_byte():
    assert Trie().set(ZERO, b"").set(b"\x80" + bytes(31), b"").prove(ZERO).path[0][0] == 0
    assert Trie().set(ZERO, b"").set(bytes(31) + b"\x01", b"").prove(ZERO).path[0][0] == 255


@given(ENTRIES)
def test_the_root_is_that_of_the_definition(entries):
    assert trie_of(entries).root() == defined_root(entries)


@given(ENTRIES.flatmap(lambda entries: st.tuples(st.just(entries), st.permutations(list(entries.items())))))
def test_the_root_does_not_depend_on_the_order(drawn):
    entries, shuffled = drawn
    one, other = trie_of(entries), trie_of(shuffled)
    assert one.root() == other.root()
    assert one == other
    assert hash(one) == hash(other)
    assert list(one.items()) == list(other.items()) == sorted(entries.items())


@given(st.lists(st.tuples(KEYS, st.binary(max_size=3), st.booleans()), max_size=40), st.lists(KEYS, max_size=5))
def test_it_holds_what_a_dict_holds(changes, others):
    """Roots are asked for now and then, so that some nodes have their hash when they are shared and some do not."""
    trie = Trie()
    model: dict[bytes, bytes] = {}
    for key, value, is_asked in changes:
        trie, model = trie.set(key, value), {**model, key: value}
        assert len(trie) == len(model)
        if is_asked:
            assert trie.root() == defined_root(model)
    assert list(trie.items()) == sorted(model.items())
    assert trie.root() == defined_root(model)
    for key in [*model, *others]:
        assert trie.get(key) == model.get(key)
        assert proven_value(trie.prove(key), key, trie.root()) == model.get(key)


@given(ENTRIES, KEYS, st.binary(max_size=3), st.booleans())
def test_a_change_leaves_the_old_trie_as_it_was(entries, key, value, is_asked_first):
    old = trie_of(entries)
    if is_asked_first:
        assert old.root() == defined_root(entries)
    new = old.set(key, value)
    assert new.root() == defined_root({**entries, key: value})
    assert old.root() == defined_root(entries)
    assert (len(old), list(old.items())) == (len(entries), sorted(entries.items()))
    assert old.get(key) == entries.get(key)
    assert (old == new) == (entries == {**entries, key: value})


@given(ENTRIES)
def test_built_at_once_it_is_the_same_trie(entries):
    ascending = sorted(entries.items())
    made = Trie.of(ascending)
    assert (made.root(), len(made), list(made.items())) == (trie_of(entries).root(), len(entries), ascending)


@pytest.mark.parametrize("keys", [(bit_key(0), ZERO), (ZERO, ZERO), (b"short",)])
def test_what_is_built_at_once_has_to_ascend(keys):
    with pytest.raises(ValueError, match="ascend"):
        Trie.of((key, b"") for key in keys)


def test_a_value_is_replaced_and_put_back():
    old = trie_of(FEW)
    new = old.set(bit_key(1, 9), b"another")
    assert (len(new), new.get(bit_key(1, 9)), old.get(bit_key(1, 9))) == (5, b"another", b"c")
    assert new.root() == defined_root({**FEW, bit_key(1, 9): b"another"}) != old.root()
    assert new.set(bit_key(1, 9), b"c") == old
    assert old.set(bit_key(1, 9), b"c") is old, "nothing to hash anew"


def test_a_change_hashes_its_own_path_alone(monkeypatch):
    hashed = []

    def count(bit, sides):
        hashed.append(bit)
        return sha256(bytes([bit]) + b"".join(sides)).digest()

    trie, key = trie_of(MANY), min(MANY)
    trie.root()
    changed = trie.set(key, b"changed")
    monkeypatch.setattr("tallystick.ledger.trie._branch_hash", count)
    assert changed.root() == changed.root() != trie.root()
    assert hashed[::-1] == [bit for bit, _ in trie.prove(key).path]


def test_tries_are_equal_to_tries_alone():
    assert Trie() == Trie()
    assert Trie() != Trie().set(ZERO, b"")
    assert Trie() != EMPTY_ROOT
    assert len({Trie(), Trie(), Trie().set(ZERO, b"")}) == 2


def test_the_deepest_trie_has_256_steps_and_a_proof_of_each_key():
    entries = {ZERO: b"bottom", **{bit_key(bit): bytes([bit]) for bit in range(256)}}
    for order in (entries, dict(reversed(entries.items()))):
        trie = trie_of(order)
        assert [bit for bit, _ in trie.prove(ZERO).path] == list(range(256))
        for key, value in entries.items():
            assert proven_value(trie.prove(key), key, trie.root()) == value
        assert proven_value(trie.prove(ONES), ONES, trie.root()) is None


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_key_has_32_bytes(key):
    for trie in (Trie(), trie_of(FEW)):
        for ask in (trie.get, trie.prove, lambda one, trie=trie: trie.set(one, b"")):
            with pytest.raises(ValueError, match=f"32 bytes, not {len(key)}"):
                ask(key)
        assert "32 expected" in refused(trie.prove(ZERO), key, trie.root())


def test_a_proof_is_encoded_and_decoded():
    codec: Codec[TrieProof] = Codec(TrieProof, 2**16, "trie proof")
    trie = trie_of({ZERO: b"", **{bit_key(bit): b"" for bit in range(256)}})
    for proof in (trie.prove(ZERO), trie.prove(ONES), Trie().prove(ZERO), Trie().set(ZERO, b"").prove(ZERO)):
        assert codec.decode(proof.encoded) == proof
    path = trie.prove(ZERO).path
    for wrong in (
        TrieProof(ZERO, b"", ((-1, ZERO),)),
        TrieProof(ZERO, b"", ((256, ZERO),)),
        TrieProof(ZERO, b"", ((0, bytes(31)),)),
        TrieProof(ZERO, b"", (*path, path[0])),
        TrieProof(bytes(31), b""),
    ):
        with pytest.raises(Refused, match="E2"):
            codec.decode(wrong.encoded)


@given(ENTRIES.filter(bool), st.data())
def test_a_proof_shows_one_value_of_one_key_in_one_trie(entries, data):
    trie = trie_of(entries)
    root = trie.root()
    key = data.draw(st.one_of(st.sampled_from(sorted(entries)), KEYS))
    proof = trie.prove(key)
    assert proven_value(proof, key, root) == entries.get(key)
    refused(proof, key, EMPTY_ROOT)
    refused(proof, key, root[:31])
    refused(proof, key, trie.set(key, b"other value, longer than any of the entries").root())
    refused(replace(proof, leaf_value=proof.leaf_value + b"\x00"), key, root)
    refused(replace(proof, leaf_key=None), key, root)
    refused(replace(proof, leaf_value=None), key, root)
    refused(TrieProof(None, None, proof.path), key, root)
    refused(TrieProof(None, None), key, root)
    for other in entries:
        if other != proof.leaf_key:
            refused(replace(proof, leaf_key=other), key, root)
            refused(replace(proof, leaf_key=other, leaf_value=entries[other]), key, root)


def tampered(path):
    """Every path that is one mistake away."""
    for place, (bit, sibling) in enumerate(path):
        before, after = path[:place], path[place + 1 :]
        yield before + after
        yield (*before, path[place], *path[place:])
        for other in {-1, 0, bit - 1, bit + 1, bit + 8, 255, 256, bit - 256, bit + 256} - {bit}:
            yield (*before, (other, sibling), *after)
        for changed in (bytes([sibling[0] ^ 1]) + sibling[1:], sibling[:31], sibling + b"\x00", b"", EMPTY_ROOT):
            yield (*before, (bit, changed), *after)
        if after:
            (next_bit, next_sibling), *rest = after
            yield (*before, after[0], path[place], *rest)
            yield (*before, (bit, next_sibling), (next_bit, sibling), *rest)
    last = path[-1][0] if path else -1
    yield (*path, (min(last + 1, 255), EMPTY_ROOT))
    yield ((0, EMPTY_ROOT), *path)
    yield path[::-1] if len(path) > 1 else (*path, *path, (255, ZERO))


@pytest.mark.parametrize("entries", [FEW, MANY, dict(list(MANY.items())[:1])], ids=["few", "many", "one"])
def test_every_tampered_path_is_refused(entries):
    trie = trie_of(entries)
    root, absent = trie.root(), [sha256(b"absent %d" % number).digest() for number in range(20)]
    for key in [*entries, ZERO, ONES, *absent]:
        proof = trie.prove(key)
        assert proven_value(proof, key, root) == entries.get(key)
        for path in tampered(proof.path):
            refused(replace(proof, path=path), key, root)


def test_a_key_that_is_there_is_not_shown_to_be_absent():
    """By another entry's leaf: the search for the key does not end there."""
    trie = trie_of(MANY)
    some = sorted(MANY)[::10]
    for key in some:
        for other in some:
            if other != key:
                assert "does not end at its leaf" in refused(trie.prove(other), key, trie.root())


def test_the_end_of_a_key_does_not_pass_for_the_value():
    """Both are hashed one after the other, so only the key's length parts them."""
    key, value = bit_key(1, 9), FEW[bit_key(1, 9)]
    trie = trie_of(FEW)
    path = trie.prove(key).path
    for length in (2, 31):
        refused(TrieProof(key[:length], key[length:] + value, path), key, trie.root())
    refused(TrieProof(key + value, b"", path), key, trie.root())


def test_an_inner_node_is_no_leaf():
    """Domain separation: or what stands below a branch could be passed off as an entry."""
    trie = trie_of({ZERO: b"", ONES: b""})
    inner = b"\x00" + b"".join(sha256(b"\x00" + key).digest() for key in (ZERO, ONES))
    refused(TrieProof(inner[:32], inner[32:]), inner[:32], trie.root())


def hashed_to(proof, key):
    """The root that leaf and path lead to, whatever they are: sides go by the bits of the key."""
    node = sha256(b"\x00" + proof.leaf_key + proof.leaf_value).digest()
    for bit, sibling in reversed(proof.path):
        is_right = int.from_bytes(key, "big") >> (255 - bit % 256) & 1
        node = sha256(b"\x01" + bytes([bit % 256]) + (sibling + node if is_right else node + sibling)).digest()
    return node


def test_the_leaf_agrees_with_the_key_at_every_bit_of_the_path():
    """Each of these hashes to the root that it is held against: a trie in which a leaf stands at the wrong place."""
    bits = (0, 3, 9, 255)
    proof = TrieProof(ZERO, b"value", tuple((bit, EMPTY_ROOT) for bit in bits))
    for wrong in bits:
        for key in (bit_key(wrong), bit_key(wrong, 100)):
            assert "does not end at its leaf" in refused(proof, key, hashed_to(proof, key))
    for key in (bit_key(1), bit_key(4, 100, 254)):
        assert proven_value(proof, key, hashed_to(proof, key)) is None
    assert proven_value(proof, ZERO, hashed_to(proof, ZERO)) == b"value"


def test_the_indexes_of_a_path_rise_within_a_key():
    """Each of these hashes to the root that it is held against, so nothing but its indexes refuses it."""
    for bits in ([5, 4], [5, 5], [-1], [256], [3, 256], [*range(256), 255], [0] * 257, [*range(257)]):
        proof = TrieProof(ZERO, b"", tuple((bit, ONES) for bit in bits))
        assert "do not rise within 0 to 255" in refused(proof, ZERO, hashed_to(proof, ZERO))
    rising = TrieProof(ZERO, b"", tuple((bit, ONES) for bit in range(256)))
    assert proven_value(rising, ZERO, hashed_to(rising, ZERO)) == b""
    assert "leads to" in refused(rising, ZERO, ONES)


def test_an_empty_proof_holds_for_the_empty_trie_alone():
    empty = Trie().prove(ZERO)
    assert proven_value(empty, ONES, EMPTY_ROOT) is None
    for root in (trie_of(FEW).root(), ZERO, b""):
        assert "proves the empty trie alone" in refused(empty, ZERO, root)
    for proof in (TrieProof(None, b""), TrieProof(ZERO, None), TrieProof(None, None, ((0, EMPTY_ROOT),))):
        assert "proves the empty trie alone" in refused(proof, ZERO, EMPTY_ROOT)
