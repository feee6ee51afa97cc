"""A mirror of a `ProvenLedger` as files, as it should be, written from the ledger's blocks alone."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tallystick.ledger.merkle import HASH_BYTES, leaf_hash, risen
from tallystick.ledger.state import genesis_state
from tallystick.node.checkpoints import Countersigned
from tallystick.storage.log_tiles import TILE_HEIGHT, Tree
from tallystick.storage.mirror import (
    CHECKPOINT_PATH,
    ENTRIES,
    HEADERS,
    IDS,
    TILE_WIDTH,
    VERSION,
    MirroredHeader,
    MirroredState,
    Series,
    bundle,
    id_rows,
    parts_of,
    state_path,
    tiles,
)
from tallystick.storage.proving import signed_note
from tests.proving import ProvenLedger, read


def write_mirror(ledger: ProvenLedger, at: Countersigned, folder: Path) -> None:
    """All files of the checkpoint."""
    for path, data in mirror_files(ledger, at).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def mirror_files(ledger: ProvenLedger, at: Countersigned) -> dict[str, bytes]:
    """All files of the checkpoint by their paths."""
    state, blocks = at.state, [ledger.block(index) for index in range(at.state.index)]
    certificates = [one for block in [*blocks, ledger.block(state.index)] for one in block.certificates]
    sizes, headers = [0], list[bytes]()
    for block in blocks:
        sizes.append(sizes[-1] + len(block.certificates))
        parts = ledger.store.members_hash(block.index) if block.index else genesis_state(ledger.genesis).members_hash
        headers.append(MirroredHeader(block.header, sizes[-1], parts).encoded)
    files = {CHECKPOINT_PATH: signed_note(ledger.genesis, at).encoded.encode()}
    files |= _bundles(ENTRIES, [one.encoded for one in certificates]) | _bundles(HEADERS, headers)
    ids = [one.id for one in certificates]
    files |= {one.path: id_rows(ids[one.first : one.end]) for one in parts_of(IDS, len(ids))}
    files |= _tiles(Tree.LOG, (one.leaf_hash for one in certificates))
    files |= _tiles(Tree.HEADERS, (leaf_hash(block.header.encoded) for block in blocks))
    some = read(ledger.prove(certificates[0], at))
    files[state_path(state.log.size)] = MirroredState(
        version=VERSION,
        genesis=ledger.genesis,
        header=state.tip,
        votes=some.extra.votes,
        following=some.extra.following,
        hand_over=some.hand_over,
        log=state.roots.of_log,
        of_members=state.roots.of_members,
        directory=tuple(state.directory.trie.items()),
        status=tuple(state.status.trie.items()),
    ).encoded
    return files


def _bundles(series: Series, items: Sequence[bytes]) -> dict[str, bytes]:
    return {one.path: bundle(items[one.first : one.end]) for one in parts_of(series, len(items))}


def _tiles(tree: Tree, leaves: Iterable[bytes]) -> dict[str, bytes]:
    files, level, row = dict[str, bytes](), 0, b"".join(leaves)
    while row:
        count = len(row) // HASH_BYTES
        for one in parts_of(tiles(level, tree), count):
            files[one.path] = row[HASH_BYTES * one.first : HASH_BYTES * one.end]
        row = risen(row[: count // TILE_WIDTH * TILE_WIDTH * HASH_BYTES], TILE_HEIGHT)
        level += 1
    return files
