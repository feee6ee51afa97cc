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
Root = Callable[[Tree, int], bytes]
"""The head of a tree of so many leaves. May raise `IndexError`."""
File = tuple[Part, bytes]

_TREE_OF: Final = {ENTRIES: Tree.LOG, HEADERS: Tree.HEADERS, IDS: Tree.LOG}
"""Whose leaves the items of a series are about."""
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
        self._filling = {one: _Filling(one) for one in _TREE_OF}

    @classmethod
    def resumed(cls, genesis: Genesis, last: MirroredHeader, read: Read, root: Root) -> "Growth":
        """Go on where a mirror ends, after the block `last`.

        Nothing that stands in it is believed: hashes are held to the roots, the last certificates and headers to the
        hashes, and each header to what opens its state root. Raises `Refused` (E1, E2, B12, T2), `IndexError` beyond
        the known trees, `OSError`.
        """
        sizes = {Tree.LOG: last.log_size, Tree.HEADERS: last.header.index}
        growth = cls(genesis)
        growth.next_block, growth._tip = last.header.index + 1, last
        growth._edges = {tree: _edge_in(tree, size, read) for tree, size in sizes.items()}
        growth._frontiers = {tree: edge.frontier() for tree, edge in growth._edges.items()}
        if any(one.root() != root(tree, one.size) for tree, one in growth._frontiers.items()):
            raise Refused(Rule.T2, "its last tiles do not lead to its checkpoint")
        rest = {one: _rest_in(one, sizes[tree], read) for one, tree in _TREE_OF.items()}
        headers = [header_codec.decode(one) for one in rest[HEADERS]]
        for one in [*headers, last]:
            _check_opened(one, root)
        leaves = {Tree.LOG: rest[ENTRIES], Tree.HEADERS: [one.header.encoded for one in headers]}
        for series, tree in _TREE_OF.items():
            if series != IDS and b"".join(leaf_hashes(leaves[tree])) != bytes(growth._edges[tree].hashes[0]):
                raise Refused(Rule.T2, f"what stands last in {series.folder} does not lead to its tiles")
        rest[IDS] = _id_starts(rest[IDS])
        growth._filling = {one: _Filling(one, sizes[tree], rest[one]) for one, tree in _TREE_OF.items()}
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


def _check_opened(block: MirroredHeader, root: Root) -> None:
    """Raise `Refused` (B12) unless what stands beside the header opens its state root."""
    log_root, headers_root = root(Tree.LOG, block.log_size), root(Tree.HEADERS, block.header.index)
    if LogRoots(block.log_size, log_root, headers_root, block.members_hash).hash != block.header.state_root:
        raise Refused(Rule.B12, f"what stands beside header {block.header.index} does not lead to its state root")


def _id_starts(rows: Sequence[bytes]) -> list[bytes]:
    """How ids begin, by place. Raises `Refused` (E2) unless there is one row for each place."""
    places = {int.from_bytes(row[ID_START_BYTES:], "big"): row[:ID_START_BYTES] for row in rows}
    if sorted(places) != list(range(len(rows))):
        raise Refused(Rule.E2, f"{IDS.folder} does not tell of each place once")
    return [places[place] for place in range(len(rows))]
