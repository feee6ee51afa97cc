"""How the files of a mirror follow from the blocks of a chain, from the genesis or from where a mirror ends."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.merkle import HASH_BYTES, Frontier, leaf_hashes
from tallystick.ledger.roots import LogRoots
from tallystick.ledger.state import genesis_state
from tallystick.storage.log_tiles import TILE_HEIGHT, Edge, Tree
from tallystick.storage.mirror import (
    ENTRIES,
    HEADERS,
    ID_START_BYTES,
    IDS,
    TILE_WIDTH,
    MirroredHeader,
    MirroredState,
    Part,
    Series,
    bundle,
    header_codec,
    id_rows,
    id_starts,
    items_in,
    part_with,
    tile_series,
    tiles,
)
from tallystick.storage.outline import Outline

Read = Callable[[Part], bytes]
"""The bytes of a mirror's file. May raise `OSError`."""
File = tuple[Part, bytes]

_PACK: Final = {ENTRIES: bundle, HEADERS: bundle, IDS: id_rows}


class _Filling:
    """What fills no file yet of a series."""

    def __init__(self, series: Series, count: int = 0, items: Sequence[bytes] = ()) -> None:
        """`count`: of all items so far; `items`: the last of them."""
        self._series, self._number, self._items = series, count // series.span, list(items)

    def add(self, items: Sequence[bytes]) -> Iterator[File]:
        """Add items; the files that are full now."""
        self._items += items
        while len(self._items) >= self._series.span:
            yield self._file(self._items[: self._series.span])
            del self._items[: self._series.span]
            self._number += 1

    def rest(self) -> Iterator[File]:
        """The file that is not full, if anything stands in it."""
        if self._items:
            yield self._file(self._items)

    def _file(self, items: Sequence[bytes]) -> File:
        return Part(self._series, self._number, len(items)), _PACK[self._series](items)


class Growth:
    """A mirror as far as it has come: at first with no certificate, and the genesis block alone."""

    def __init__(self, genesis: Genesis) -> None:
        state = genesis_state(genesis)
        self.next_block = 1
        self._tip = MirroredHeader(state.tip, 0, state.members_hash)
        """Of the last block; those before it are in the mirror."""
        self._edges = {tree: Edge(tree, TILE_HEIGHT) for tree in Tree}
        self._frontiers = dict.fromkeys(Tree, Frontier())
        self._filling = {one: _Filling(one) for one in (ENTRIES, HEADERS, IDS)}

    @classmethod
    def resumed(cls, state: MirroredState, read: Read) -> "Growth":
        """Go on where a mirror ends. Raises `Refused` (E1, E2, T2), `OSError` if its last files are not as they were.

        Its hashes are held to the checkpoint's roots, its last certificates and headers to the hashes.
        """
        sizes = {Tree.LOG: state.log.log_size, Tree.HEADERS: state.header.index}
        roots = {Tree.LOG: state.log.log_root, Tree.HEADERS: state.log.headers_root}
        growth = cls(state.genesis)
        growth.next_block = state.header.index + 1
        growth._tip = MirroredHeader(state.header, state.log.log_size, state.log.members_hash)
        growth._edges = {tree: _edge_in(tree, size, read) for tree, size in sizes.items()}
        growth._frontiers = {tree: edge.frontier() for tree, edge in growth._edges.items()}
        if {tree: one.root() for tree, one in growth._frontiers.items()} != roots:
            raise Refused(Rule.T2, "its last tiles do not lead to its checkpoint")
        for series, tree in ((ENTRIES, Tree.LOG), (HEADERS, Tree.HEADERS)):
            items = _rest_in(series, sizes[tree], read)
            leaves = items if series == ENTRIES else [_header_in(one) for one in items]
            if b"".join(leaf_hashes(leaves)) != bytes(growth._edges[tree].hashes[0]):
                raise Refused(Rule.T2, f"what stands last in {series.folder} does not lead to its tiles")
            growth._filling[series] = _Filling(series, sizes[tree], items)
        starts = _id_starts(_rest_in(IDS, sizes[Tree.LOG], read))
        growth._filling[IDS] = _Filling(IDS, sizes[Tree.LOG], starts)
        return growth

    @property
    def size(self) -> int:
        """How many certificates there are."""
        return self._frontiers[Tree.LOG].size

    @property
    def log(self) -> tuple[int, bytes]:
        """Size and root of the log."""
        return self._frontiers[Tree.LOG].size, self._frontiers[Tree.LOG].root()

    @property
    def headers_root(self) -> bytes:
        """Root of the headers before the last block's."""
        return self._frontiers[Tree.HEADERS].root()

    def add(self, block: Outline, members_hash: bytes) -> Iterator[File]:
        """Add the next block; the files that are full now. Raises `Refused` (B12) unless it has its state root."""
        certificates = [bytes(one) for one in block.certificates]
        yield from self._filling[HEADERS].add([self._tip.encoded])
        yield from self._add_leaves(Tree.HEADERS, block.index, leaf_hashes([self._tip.header.encoded]))
        yield from self._filling[ENTRIES].add(certificates)
        yield from self._filling[IDS].add(id_starts(certificates))
        yield from self._add_leaves(Tree.LOG, block.index, leaf_hashes(certificates))
        roots = LogRoots(*self.log, self.headers_root, members_hash)
        if roots.hash != block.header.state_root:
            raise Refused(Rule.B12, f"what is derived of block {block.index} does not lead to its state root")
        self._tip, self.next_block = MirroredHeader(block.header, roots.log_size, members_hash), block.index + 1

    def _add_leaves(self, tree: Tree, block_index: int, leaves: Sequence[bytes]) -> Iterator[File]:
        frontier, full = self._frontiers[tree], list[bytes]()
        for tile in self._edges[tree].add(block_index, leaves):
            series = tiles(tile.level, tree)
            yield Part(series, tile.number, series.span), tile.hashes
            if tile.level == 0:
                full.append(tile.root)
        first = min(-frontier.size % TILE_WIDTH, len(leaves))
        if first:
            frontier, full = frontier.extend(leaves[:first]), full[1:]
        if full:
            frontier = frontier.extend(full, TILE_HEIGHT)
        self._frontiers[tree] = frontier.extend(leaves[first + TILE_WIDTH * len(full) :])

    def rest(self) -> Iterator[File]:
        """The files that are not full."""
        for filling in self._filling.values():
            yield from filling.rest()
        for tree, edge in self._edges.items():
            for level, hashes in enumerate(edge.hashes):
                if hashes:
                    number, width = edge.full[level], len(hashes) // HASH_BYTES
                    yield Part(tiles(level, tree), number, width), bytes(hashes)


def parts_at_end(state: MirroredState) -> Iterator[Part]:
    """The files of a mirror that are not full, at a checkpoint."""
    log_size, headers = state.log.log_size, state.header.index
    of_log = [(ENTRIES, log_size), (IDS, log_size), *tile_series(log_size)]
    for series, count in (*of_log, (HEADERS, headers), *tile_series(headers, Tree.HEADERS)):
        if count % series.span:
            yield part_with(series, count - 1, count)


def _edge_in(tree: Tree, size: int, read: Read) -> Edge:
    """The edge of a tree of this size."""
    edge = Edge(tree, TILE_HEIGHT)
    for level, (series, count) in enumerate(tile_series(size, tree)):
        edge.add_level(level)
        edge.full[level] = count // series.span
        edge.hashes[level] += b"".join(_rest_in(series, count, read))
    return edge


def _rest_in(series: Series, count: int, read: Read) -> list[bytes]:
    """What stands in the file that is not full."""
    if count % series.span == 0:
        return []
    part = part_with(series, count - 1, count)
    return items_in(part, read(part))


def _header_in(encoded: bytes) -> bytes:
    return header_codec.decode(encoded).header.encoded


def _id_starts(rows: Sequence[bytes]) -> list[bytes]:
    """How ids begin, by place. Raises `Refused` (E2) unless there is one row for each place."""
    places = {int.from_bytes(row[ID_START_BYTES:], "big"): row[:ID_START_BYTES] for row in rows}
    if sorted(places) != list(range(len(rows))):
        raise Refused(Rule.E2, f"{IDS.folder} does not tell of each place once")
    return [places[place] for place in range(len(rows))]
