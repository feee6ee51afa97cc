"""Derives a log again from its entries, and a ledger's headers from them: what a mirror's hashes are worth.

Memory is bounded by a few files of the mirror, however large the log is.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from tallystick.client.mirror import Mirror
from tallystick.ledger.certificate import certificate_codec, check_signed
from tallystick.ledger.encoding import digest
from tallystick.ledger.errors import Refused
from tallystick.ledger.header import Header
from tallystick.ledger.keys import is_signed
from tallystick.ledger.merkle import HASH_BYTES, leaf_hash
from tallystick.ledger.params import MAX_BLOCK_CERTIFICATES
from tallystick.ledger.roots import LogRoots
from tallystick.ledger.state import genesis_state
from tallystick.ledger.tile_rows import TILE_HEIGHT, FullTile, TileRows
from tallystick.problems import ExitCode, Problem
from tallystick.proof.members import Anchor
from tallystick.storage.log_tiles import Tree
from tallystick.storage.mirror import (
    ENTRIES,
    HEADERS,
    IDS,
    TILE_WIDTH,
    MirroredHeader,
    MirroredState,
    Part,
    Series,
    header_codec,
    id_starts,
    items_in,
    part_with,
    parts_of,
    tile_series,
    tiles,
)

_PARTS_AT_ONCE: Final = 8

OnDone = Callable[[int], object]
"""Told how many entries are done."""


class IllegalRecord(Problem):
    """The log's signers have signed what no rule of the ledger allows."""

    code, exit_code = "illegal-record", ExitCode.NOT_PROVEN


class _DerivedTree:
    """One of the trees of a mirror, derived again from its leaves on; each tile is compared with the mirror's."""

    def __init__(self, mirror: Mirror, tree: Tree, size: int, since: int) -> None:
        """What stands before leaf `since` is taken from the tiles: the head over it tells whether it may be."""
        self._mirror, self._tree, self._size = mirror, tree, size
        self.rows = TileRows(since, self._rows(since))

    def _rows(self, since: int) -> list[bytes]:
        rows = list[bytes]()
        for level, (series, count) in enumerate(tile_series(self._size, self._tree)):
            end = since >> TILE_HEIGHT * level
            width = end % TILE_WIDTH
            held = self._mirror.items(part_with(series, end - 1, count))[:width] if width else []
            rows.append(b"".join(held))
        return rows

    def add(self, leaf_hashes: Iterable[bytes]) -> None:
        """The next leaves. Raises `DamagedStore` where a tile of the mirror is another."""
        for one in self.rows.add(leaf_hashes):
            self._compare(one)

    def finish(self, root: bytes) -> None:
        """Compare what fills no tile, and the head. Raises `DamagedStore`."""
        for level, row in enumerate(self.rows.rows):
            if row:
                self._compare(FullTile(level, self._size >> TILE_HEIGHT * (level + 1), bytes(row)))
        if self.rows.root() != root:
            what = f"the {self._tree.name.lower()} of {self._size:,} does not lead to the root that was signed"
            raise self._mirror.damaged(what)

    def _compare(self, derived: FullTile) -> None:
        part = Part(tiles(derived.level, self._tree), derived.number, len(derived.hashes) // HASH_BYTES)
        if b"".join(self._mirror.items(part)) != derived.hashes:
            raise self._mirror.damaged(f"{part.path} is not what follows from what it is of")


def rederive_log(mirror: Mirror, size: int, root: bytes, since: int, on_done: OnDone) -> None:
    """Derive any log from its entries, from entry `since` on. Raises `DamagedStore`."""
    log = _DerivedTree(mirror, Tree.LOG, size, since)
    for items in _items(mirror, ENTRIES, size, since):
        log.add(map(leaf_hash, items))
        on_done(log.rows.size - since)
    log.finish(root)


def rederive_ledger(mirror: Mirror, state: MirroredState, before: Anchor | None, since: int, on_done: OnDone) -> int:
    """Derive a ledger's log and headers, from the checkpoint after block `before` on; returns how many blocks.

    `since` is the size of the log then. Each certificate is well-formed and signed by its issuer, each header follows
    from the one before, and its state root from log and headers. Raises `DamagedStore`, `IllegalRecord`.
    """
    return _DerivedLedger(mirror, state, before, since).derive(on_done)


class _DerivedLedger:
    def __init__(self, mirror: Mirror, state: MirroredState, before: Anchor | None, since: int) -> None:
        self._mirror, self._state, self._since = mirror, state, since
        self._ledger_id = state.genesis.ledger_id
        self._parent = before.block_hash if before is not None else None
        self._first = before.index + 1 if before is not None else 0
        self._log = _DerivedTree(mirror, Tree.LOG, state.log.log_size, since)
        self._headers = _DerivedTree(mirror, Tree.HEADERS, state.header.index, min(self._first, state.header.index))
        self._illegal: str | None = None
        """What was found first that no rule allows."""

    def derive(self, on_done: OnDone) -> int:
        """See `rederive_ledger`."""
        leaves, header = self._leaves(), self._state.header
        blocks = range(self._first, header.index + 1)
        for one in self._blocks():
            self._add(one, list(islice(leaves, self._count_in(one))))
            on_done(self._log.rows.size - self._since)
        if next(leaves, None) is not None:
            raise self._mirror.damaged("its log has certificates of no block")
        self._log.finish(self._state.log.log_root)
        if self._parent != header.hash:
            raise self._mirror.damaged("its headers do not lead to that of the checkpoint")
        if self._illegal is not None:
            advice = "those who countersigned it are to explain that: show it to the ledger's members"
            raise IllegalRecord(f"the log that was signed holds what is not legal: {self._illegal}; {advice}")
        return len(blocks)

    def _count_in(self, one: MirroredHeader) -> int:
        """How many certificates a block says to have. Raises `DamagedStore` if no block has so many."""
        count, left = one.log_size - self._log.rows.size, self._state.log.log_size - self._log.rows.size
        if not 0 <= count <= min(left, MAX_BLOCK_CERTIFICATES):
            what = f"block {one.header.index} is said to have {count:,} certificates, {left:,} are left in the log"
            raise self._mirror.damaged(f"{what}, and a block has {MAX_BLOCK_CERTIFICATES:,} at most")
        return count

    def _blocks(self) -> Iterator[MirroredHeader]:
        """From the first on, with the checkpoint's own last."""
        header, log = self._state.header, self._state.log
        if self._first > header.index:
            return
        for items in _items(self._mirror, HEADERS, header.index, self._first):
            for item in items:
                yield self._mirror.decoded(header_codec, item, HEADERS.folder)
        self._headers.finish(log.headers_root)
        yield MirroredHeader(header, log.log_size, log.members_hash)

    def _add(self, one: MirroredHeader, leaf_hashes: list[bytes]) -> None:
        header, log, headers = one.header, self._log, self._headers
        self._check_follows(header)
        log.add(leaf_hashes)
        if log.rows.size != one.log_size:
            raise self._mirror.damaged(f"block {header.index} ends at another place of the log")
        if digest(b"".join(leaf_hashes)) != header.certificates_hash:
            self._illegal = self._illegal or f"[B7] the header of block {header.index:,} covers other certificates"
        roots = LogRoots(one.log_size, log.rows.root(), headers.rows.root(), one.members_hash)
        if roots.hash != header.state_root:
            raise self._mirror.damaged(f"log and headers do not lead to the state root of block {header.index}")
        if header.index < self._state.header.index:
            headers.add([leaf_hash(header.encoded)])
        self._parent = header.hash

    def _check_follows(self, header: Header) -> None:
        """Raise `DamagedStore` unless it is of this ledger, and the next one."""
        if self._parent is None:
            follows = header == genesis_state(self._state.genesis).tip
        else:
            follows = (header.ledger_id, header.parent_hash) == (self._ledger_id, self._parent)
        if not follows:
            raise self._mirror.damaged(f"block {header.index} does not follow from the one before it")

    def _leaves(self) -> Iterator[bytes]:
        """The leaf hash of each certificate, which is checked by itself."""
        size, index, ids = self._state.log.log_size, self._since, list[bytes]()
        for items in _items(self._mirror, ENTRIES, size, self._since):
            for item in items:
                self._check(index, item)
                ids += id_starts([item])
                yield leaf_hash(item)
                index += 1
                if index == size or index % IDS.span == 0:
                    self._compare_ids(part_with(IDS, index - 1, size), ids)
                    ids.clear()

    def _check(self, index: int, item: bytes) -> None:
        """Note what is illegal: it is told once it is known that it was signed."""
        try:
            check_signed(certificate_codec.decode(item), self._ledger_id, is_signed)
        except Refused as refused:
            self._illegal = self._illegal or f"certificate {index:,} of the log: {refused}"

    def _compare_ids(self, part: Part, ids: list[bytes]) -> None:
        """Raise `DamagedStore` unless the ids up to the end of the part are told as they are."""
        first = part.width - len(ids)
        rows = {one + place.to_bytes(4, "big") for place, one in enumerate(ids, start=first)}
        read, data = self._mirror.file(part)
        told = self._mirror.checked(lambda: items_in(read, data))
        if told != sorted(told) or not rows <= set(told):
            raise self._mirror.damaged(f"{part.path} tells other ids than the certificates have")


def _items(mirror: Mirror, series: Series, count: int, since: int) -> Iterator[list[bytes]]:
    """The items of a series, from one on, a file's at a time; a few files are read at once."""
    parts = parts_of(series, count, since)
    while ahead := list(islice(parts, _PARTS_AT_ONCE)):
        for part, items in zip(ahead, mirror.items_of_all(ahead), strict=True):
            yield items[max(0, since - part.first) :]
