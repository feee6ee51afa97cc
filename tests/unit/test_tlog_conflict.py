"""Evidence that a log has two histories: made, written, read again, and judged by nothing but itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import refuses
from tests.log_proofs import root
from tests.tiled_log import TiledLog

from tallystick.ledger.checkpoint import Checkpoint
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.merkle import leaf_hash
from tallystick.ledger.note import Note, NoteKey
from tallystick.ledger.tile_rows import TileRows
from tallystick.ledger.tlog_conflict import MAX_CONFLICT_BYTES, TlogConflict, make_conflict, parse_conflict

LOG = TiledLog().grow(9)
FORK = LOG.fork(5).grow(12, "other")
OF_ONE_SIZE = make_conflict(LOG.note(), FORK.note(9), [LOG.key])
GROWN = make_conflict(FORK.note(), LOG.note(), [LOG.key], (FORK.root(9), tuple(FORK.proof(9))))


@pytest.mark.parametrize("conflict", [OF_ONE_SIZE, GROWN], ids=["of one size", "of two sizes"])
def test_a_conflict_is_written_and_read_again(conflict):
    read = parse_conflict(conflict.encoded.encode())
    assert read == conflict
    read.check()
    assert read.signers(read.keys) == {LOG.wallet.public_key}
    assert read.encoded.startswith("tallystick/tlog-conflict@v1\nkey log.example/one+")


@given(st.integers(1, 40), st.integers(0, 30), st.data())
def test_a_fork_is_shown_whatever_the_sizes(old_size, more, data):
    """The later history shows which root it has at the earlier size."""
    log = TiledLog().grow(old_size)
    fork = log.fork(data.draw(st.integers(0, old_size - 1))).grow(old_size + more, "other")
    shown = (fork.root(old_size), tuple(fork.proof(old_size))) if more else None
    conflict = make_conflict(log.note(), fork.note(), [log.key], shown)
    assert parse_conflict(conflict.encoded.encode()) == conflict


@given(st.integers(1, 40), st.integers(1, 30))
def test_a_log_that_only_grew_is_no_conflict(old_size, more):
    log = TiledLog().grow(old_size + more)
    proof = tuple(log.proof(old_size))
    with refuses(Rule.A2):
        make_conflict(log.note(old_size), log.note(), [log.key], (log.root(old_size), proof))
    with pytest.raises(Refused) as refused:  # another root, which nothing leads from
        make_conflict(log.note(old_size), log.note(), [log.key], (bytes(32), proof))
    assert refused.value.rule in (Rule.A2, Rule.T3)


def test_two_notes_of_one_checkpoint_are_no_conflict():
    with refuses(Rule.A2, "of the same log"):
        make_conflict(LOG.note(), LOG.note(), [LOG.key])


@pytest.mark.parametrize("kind", [0x00, 0x02, 0x05, 0xFF])
def test_a_signature_of_an_unknown_type_is_nobodys(kind):
    key = NoteKey(LOG.key.name, kind, bytes(32))
    line = key.signature(bytes(72))
    first, second = (
        one._replace(signatures=(*one.signatures, line)) for one in (OF_ONE_SIZE.first, OF_ONE_SIZE.second)
    )
    judged = OF_ONE_SIZE._replace(keys=(LOG.key, key), first=first, second=second)
    assert judged.signers(judged.keys) == {LOG.wallet.public_key}


def test_who_signed_only_one_is_not_told():
    other = TiledLog("log.example/one", bytes([1]) * 32)
    both = TlogConflict(None, (LOG.key, other.key), None, (), *sorted((LOG.note(), FORK.note(9, other))))
    assert both.signers(both.keys) == frozenset()
    assert make_conflict(LOG.note(), FORK.note(9, other), [LOG.key, other.key]).keys == ()


def test_a_signature_in_a_key_s_name_that_is_not_good_counts_for_nothing():
    text = FORK.checkpoint(9).text
    forged = Note(text, (LOG.key.signature(bytes(64)),))
    assert make_conflict(LOG.note(), forged, [LOG.key]).keys == ()


def test_the_key_of_another_name_is_another_key():
    """One key in the names of two logs: what it signs of the one says nothing of the other (A3)."""
    renamed = NoteKey("log.example/two", LOG.key.type, LOG.key.public_key)
    assert OF_ONE_SIZE.signers([renamed]) == frozenset(), Rule.A3


BROKEN = {
    "no text": b"\xff",
    "too long": b"x" * (MAX_CONFLICT_BYTES + 1),
    "another first line": GROWN.encoded.replace("@v1", "@v2"),
    "one note": GROWN.encoded.rpartition("\n\nlog.example")[0] + "\n",
    "two logs": GROWN.encoded.replace("log.example/one\n12", "log.example/two\n12"),
    "the larger first": TlogConflict(None, (), GROWN.root, GROWN.path, GROWN.second, GROWN.first).encoded,
    "hashes of one size": TlogConflict(None, (), None, (bytes(32),), OF_ONE_SIZE.first, OF_ONE_SIZE.second).encoded,
    "64 hashes": TlogConflict(None, (), bytes(32), (bytes(32),) * 64, GROWN.first, GROWN.second).encoded,
    "a key twice": GROWN._replace(keys=GROWN.keys * 2).encoded,
    "a key that is none": GROWN.encoded.replace("\nkey ", "\nkey x"),
    "an empty line more": GROWN.encoded.replace("\nroot ", "\n\nroot "),
    "a line behind": GROWN.encoded + "x\n",
    "no end": GROWN.encoded[:-1],
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_is_no_conflict_file_is_refused(broken):
    with refuses(Rule.A1):
        parse_conflict(broken.encode() if isinstance(broken, str) else broken)


@given(st.data())
def test_no_changed_byte_makes_another_conflict_of_the_same_signers(data):
    """Whatever is changed: it is no such file, shows nothing, or is signed by nobody."""
    encoded = bytearray(GROWN.encoded.encode())
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        changed = parse_conflict(bytes(encoded))
        changed.check()
    except Refused:
        return
    assert not changed.signers([LOG.key]) or changed.signers(changed.keys) <= {LOG.wallet.public_key}


# ---- the right edge of tiles ------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 400), max_size=4), st.integers(0, 300))
def test_tiles_and_heads_follow_from_leaves_that_come_in_any_steps(steps, more):
    leaves = [leaf_hash(b"%d" % number) for number in range(sum(steps) + more)]
    rows, size, full = TileRows(), 0, []
    for step in steps:
        full += list(rows.add(leaves[size : size + step]))
        size += step
        assert (rows.size, rows.root()) == (size, root(leaves[:size]))
    again = TileRows(size, [bytes(one) for one in rows.rows])
    full += list(again.add(leaves[size:]))
    assert again.root() == root(leaves)
    assert [one.hashes for one in full if one.level == 0] == [
        b"".join(leaves[at : at + 256]) for at in range(0, len(leaves) - 255, 256)
    ]


def test_a_full_tile_of_the_next_level_has_the_roots_of_256():
    leaves = [leaf_hash(b"%d" % number) for number in range(65_536 + 3)]
    rows = TileRows()
    full = list(rows.add(leaves))
    above = [one for one in full if one.level == 1]
    assert [(one.number, len(one.hashes)) for one in above] == [(0, 8192)]
    assert above[0].hashes[:32] == root(leaves[:256])
    assert rows.root() == root(leaves)
    assert [len(one) // 32 for one in rows.rows] == [3, 0, 1]


def test_checkpoints_are_read_from_the_notes():
    assert GROWN.checkpoints == (Checkpoint("log.example/one", 9, LOG.root()), FORK.checkpoint())
