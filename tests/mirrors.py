"""Mirrors as tests want them: of a ledger in a store, and read by a reader of their own that believes nothing."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tallystick.ledger.checkpoint import Checkpoint, parse_checkpoint
from tallystick.ledger.encoding import encode
from tallystick.ledger.merkle import Frontier, leaf_hash
from tallystick.ledger.note import parse_note
from tallystick.ledger.roots import LogRoots
from tallystick.ledger.trie import Trie
from tallystick.node.checkpoints import Countersigned
from tallystick.storage.log_tiles import Tree
from tallystick.storage.mirror import (
    ENTRIES,
    HEADERS,
    IDS,
    MirroredState,
    Series,
    header_codec,
    items_in,
    parts_of,
    places_in,
    state_codec,
    state_path,
    tile_series,
)
from tallystick.storage.mirror_files import MirrorFolder, Published
from tallystick.storage.proving import signed_note
from tests.builders import START_MS
from tests.proving import ProvenLedger

Read = Callable[[str], bytes]
"""The bytes at a path. Raises `FileNotFoundError`."""


def grow(ledger: ProvenLedger, *counts: int) -> None:
    """A block for each count, with so many statements."""
    for count in counts:
        start = ledger.scribe.state.log.size
        ledger.forge(*(ledger.scribe.statement("ada", f"sample {start + one}") for one in range(count)))


def head_of(ledger: ProvenLedger, at: Countersigned | None = None) -> tuple[str, bytes]:
    """The note and the state of the last block's checkpoint."""
    at = at or ledger.countersigned(time_s=START_MS // 1000)
    return signed_note(ledger.genesis, at).encoded, encode(ledger.prover.mirrored(at))


def publish(ledger: ProvenLedger, folder: Path, on_done: Callable[[int], object] = lambda done: None) -> Published:
    """As `tallystick export` does."""
    mirror = MirrorFolder(folder, ledger.store)
    with mirror.held():
        return mirror.publish(*head_of(ledger), on_done)


def write_mirror(ledger: ProvenLedger, at: Countersigned, folder: Path) -> None:
    """The mirror at this checkpoint; one that is there grows."""
    mirror = MirrorFolder(folder, ledger.store)
    with mirror.held():
        mirror.publish(*head_of(ledger, at))


def mirror_files(ledger: ProvenLedger, at: Countersigned) -> dict[str, bytes]:
    """All files of a new mirror at this checkpoint, by their paths."""
    with TemporaryDirectory() as folder:
        write_mirror(ledger, at, Path(folder))
        files = [one for one in Path(folder).rglob("*") if one.is_file() and not one.name.startswith(".")]
        return {str(one.relative_to(folder)): one.read_bytes() for one in files}


class Whole(NamedTuple):
    """A mirror of which everything that its checkpoint names was read and checked."""

    checkpoint: Checkpoint
    state: MirroredState
    entries: list[bytes]


def files_in(folder: Path) -> Read:
    return lambda path: (folder / path).read_bytes()


def read_whole(read: Read) -> Whole:
    """Everything is there, and leads to the checkpoint's root and to its block's state root; fails if not."""
    checkpoint = parse_checkpoint(parse_note(read("checkpoint").decode()).text)
    state = state_codec.decode(read(state_path(checkpoint.size)))
    assert (state.log.log_size, state.log.log_root) == checkpoint[1:]
    assert (state.log.hash, state.of_members.hash) == (state.header.state_root, state.log.members_hash)
    for entries, root in ((state.directory, state.of_members.directory), (state.status, state.of_members.status)):
        trie = Trie()
        for key, value in entries:
            trie = trie.set(key, value)
        assert trie.root() == root
        assert [key for key, _ in entries] == sorted({key for key, _ in entries})
    entries_read = _items(read, ENTRIES, checkpoint.size)
    _check_tree(read, Tree.LOG, entries_read, checkpoint.root)
    headers = [header_codec.decode(one) for one in _items(read, HEADERS, state.header.index)]
    assert [one.header.index for one in headers] == list(range(state.header.index))
    _check_tree(read, Tree.HEADERS, [one.header.encoded for one in headers], state.log.headers_root)
    log, seen = Frontier(), 0
    for index, one in enumerate(headers[1:], 1):
        log, seen = log.extend([leaf_hash(entry) for entry in entries_read[seen : one.log_size]]), one.log_size
        before = Frontier().extend([leaf_hash(header.header.encoded) for header in headers[:index]])
        assert LogRoots(one.log_size, log.root(), before.root(), one.members_hash).hash == one.header.state_root
    return Whole(checkpoint, state, entries_read)


def _items(read: Read, series: Series, count: int) -> list[bytes]:
    return [item for part in parts_of(series, count) for item in items_in(part, read(part.path))]


def _check_tree(read: Read, tree: Tree, leaves: list[bytes], root: bytes) -> None:
    row = [leaf_hash(one) for one in leaves]
    assert Frontier().extend(row).root() == root
    for series, count in tile_series(len(leaves), tree):
        assert _items(read, series, count) == row, series.folder
        row = [Frontier().extend(row[at : at + 256]).root() for at in range(0, len(row) - 255, 256)]


def index_of(read: Read, size: int, certificate_id: bytes) -> list[int]:
    """The log indexes that the rows of ids give."""
    return [at for part in parts_of(IDS, size) for at in places_in(part, read(part.path), certificate_id)]
