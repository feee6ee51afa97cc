"""The RFC 6962 hashes of a ledger's two trees, as tiles: an audit path of any leaf is made from a few rows.

The geometry is that of C2SP tlog-tiles: a tile of level 0 holds 256 leaf hashes, one of the next level the roots of
256 tiles. Only full tiles are kept, and they never change. What fills no tile yet is the edge of a tree: of the roots
of tiles, and of leaves, which are read from the last blocks once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from functools import partial
from typing import Final, NamedTuple

from tallystick.ledger.block import Block, block_codec, genesis_block
from tallystick.ledger.errors import Refused
from tallystick.ledger.fields import MAX_INDEX
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.merkle import HASH_BYTES, Frontier, audit_path, leaf_hash, risen, tree_root
from tallystick.problems import DamagedStore
from tallystick.storage.payload_tables import is_hash
from tallystick.storage.sqlite_file import Database, decode_column

TILE_HEIGHT: Final = 8
_TILES_AT_HAND: Final = 256
_NODES_AT_HAND: Final = 16_384
_BLOCKS_AT_ONCE: Final = 16
_HASHES_AT_ONCE: Final = 1024


class Tree(IntEnum):
    """What stands at the leaves."""

    LOG = 0
    """All certificates, in order."""
    HEADERS = 1
    """The encoded headers, from block 0 on."""


Leaves = Callable[[Tree, int], Iterable[tuple[int, Sequence[bytes]]]]
"""Indexes of the kept blocks from one on, up to the first that is missing, each with the leaf hashes it brings."""


def leaves_of(block: Block) -> dict[Tree, list[bytes]]:
    """The leaf hashes that a block adds to each tree."""
    return {
        Tree.LOG: [one.leaf_hash for one in block.certificates],
        Tree.HEADERS: [leaf_hash(block.header.encoded)],
    }


def kept_leaves(database: Database, genesis: Genesis, tree: Tree, start: int) -> Iterator[tuple[int, list[bytes]]]:
    """The `Leaves` of the blocks in a file. Raises `DamagedStore` at a row that is not what it should be."""
    if start == 0:
        yield 0, leaves_of(genesis_block(genesis))[tree]
        start = 1
    column, at_once = ("encoded", _BLOCKS_AT_ONCE) if tree is Tree.LOG else ("header_leaf", _HASHES_AT_ONCE)
    sql = f"SELECT block_index, {column} FROM blocks WHERE block_index >= ? ORDER BY block_index LIMIT ?"  # noqa: S608  a column
    while rows := database.select(sql, (start, at_once)):
        for index, value in rows:
            if index != start:
                return
            yield index, _log_leaves(database, index, value) if tree is Tree.LOG else [value]
            start += 1


def _log_leaves(database: Database, index: int, encoded: object) -> list[bytes]:
    try:
        return leaves_of(decode_column(block_codec, encoded))[Tree.LOG]
    except Refused as refused:
        raise DamagedStore(f"{database.path}: block {index} was altered: {refused}", refused) from None


class Tile(NamedTuple):
    """A row of the table."""

    tree: int
    level: int
    number: int
    block_index: int
    position: int
    """Where its last leaf stands: its block, and the place among the leaves that the block brings."""
    root: bytes
    middle: bytes
    """The hashes half-way up: so a path through the tile takes some 20 hashings, not 250."""
    hashes: bytes


class Edge:
    """What fills no tile yet of a tree, level by level."""

    def __init__(self, tree: Tree, height: int) -> None:
        self.tree, self.height = tree, height
        self.full = [0]
        """How many tiles are full."""
        self.hashes = [bytearray()]
        """Those after the full tiles, fewer than make one."""
        self.next_block = self.position = 0
        """Where the next leaf comes from: the block, and the place among the leaves that the block brings."""

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return (self.full[0] << self.height) + len(self.hashes[0]) // HASH_BYTES

    def frontier(self) -> Frontier:
        """The tree's frontier: each of its peaks stands over hashes of the edge."""
        peaks = list[bytes]()
        for hashes in reversed(self.hashes):
            at, count = 0, len(hashes) // HASH_BYTES
            for rising in range(self.height - 1, -1, -1):
                if count >> rising & 1:
                    end = at + (HASH_BYTES << rising)
                    peaks.append(risen(bytes(hashes[at:end]), rising))
                    at = end
        return Frontier(self.size, tuple(peaks))

    def add(self, block_index: int, leaf_hashes: Sequence[bytes]) -> list[Tile]:
        """Add what the next block brings; the tiles that are full now."""
        tiles: list[Tile] = []
        while self.position < len(leaf_hashes):
            end = self.position + (1 << self.height) - len(self.hashes[0]) // HASH_BYTES
            self.hashes[0] += b"".join(leaf_hashes[self.position : end])
            self.position, level = end, 0
            while len(self.hashes[level]) == HASH_BYTES << self.height:
                tiles.append(self._taken_off(level, block_index, end - 1))
                level += 1
        self.next_block, self.position = block_index + 1, 0
        return tiles

    def _taken_off(self, level: int, block_index: int, position: int) -> Tile:
        """What is one tile now leaves the edge; its root comes to the level above."""
        hashes, half = bytes(self.hashes[level]), self.height // 2
        middle = risen(hashes, half)
        root = risen(middle, self.height - half)
        number, self.full[level], self.hashes[level] = self.full[level], self.full[level] + 1, bytearray()
        self.add_level(level + 1)
        self.hashes[level + 1] += root
        return Tile(self.tree, level, number, block_index, position, root, middle, hashes)

    def add_level(self, level: int) -> None:
        """Have this level, which comes after those there are, or is one of them."""
        if level == len(self.full):
            self.full.append(0)
            self.hashes.append(bytearray())


class HashTiles:
    """The derived table `tiles`."""

    def __init__(self, database: Database, leaves: Leaves, height: int = TILE_HEIGHT) -> None:
        self._database = database
        self._leaves = leaves
        self._height = height
        self._edges: dict[Tree, Edge] = {}
        self._tiles: dict[tuple[Tree, int, int], tuple[bytes, bytes]] = {}
        self._nodes: dict[tuple[Tree, int, int], bytes] = {}
        """Hashes of full subtrees by height and number: they never change."""

    def root(self, tree: Tree, size: int) -> bytes:
        """The tree head over the first `size` leaves. Raises as `path` does."""
        self._reach(tree, size)
        return tree_root(size, partial(self._node, tree))

    def path(self, tree: Tree, index: int, size: int) -> list[bytes]:
        """The audit path of a leaf in the tree of the first `size` leaves, leaf upward (`ledger/merkle.py`).

        Raises `IndexError` when the kept blocks have no such tree or leaf, `DamagedStore` when a tile was altered.
        """
        self._reach(tree, size)
        return audit_path(index, size, partial(self._node, tree))

    def row(self, tree: Tree, level: int, number: int, width: int) -> bytes:
        """The first `width` hashes of a tile, full or not. Raises as `path` does."""
        self._reach(tree, ((number << self._height) + width) << (self._height * level))
        edge = self._edges[tree]
        row = bytes(edge.hashes[level]) if number == edge.full[level] else self._tile(tree, level, number)[1]
        return row[: HASH_BYTES * width]

    def forget(self) -> None:
        """Hold nothing in memory: the file may have less than was added."""
        self._edges.clear()
        self._tiles.clear()
        self._nodes.clear()

    # ---- within a transaction -------------------------------------------------------------------------------

    def append(self, tree: Tree, block_index: int, leaf_hashes: Sequence[bytes]) -> None:
        """Add the leaves of a block that is kept by now."""
        edge = self._edges.get(tree)
        if edge is not None and edge.next_block == block_index:
            self._keep(edge.add(block_index, leaf_hashes))
        else:
            self._catch_up(tree)

    def catch_up(self) -> None:
        """Add what the kept blocks bring, up to the first that is missing."""
        for tree in Tree:
            self._catch_up(tree)

    def rebuild(self) -> None:
        """Derive all anew."""
        self._database.execute("DELETE FROM tiles")
        self.forget()
        self.catch_up()

    def are_as_derived(self, blocks: Iterable[Block]) -> bool:
        """Whether the table holds what follows from the blocks, block 0 among them, and nothing else."""
        count, edges = 0, {tree: Edge(tree, self._height) for tree in Tree}
        for block in blocks:
            for tree, leaf_hashes in leaves_of(block).items():
                for tile in edges[tree].add(block.index, leaf_hashes):
                    sql = "SELECT * FROM tiles WHERE (tree, level, number) = (?, ?, ?)"
                    if self._database.select(sql, tile[:3]) != [tile]:
                        return False
                    count += 1
        return self._database.select("SELECT count(*) FROM tiles") == [(count,)]

    # ---- inside ---------------------------------------------------------------------------------------------

    def _keep(self, tiles: Sequence[Tile]) -> None:
        self._database.execute_many("INSERT OR REPLACE INTO tiles VALUES (?, ?, ?, ?, ?, ?, ?, ?)", tiles)

    def _catch_up(self, tree: Tree) -> None:
        edge = self._edge_in_file(tree)
        for tiles in self._read_on(edge):
            self._keep(tiles)
        self._edges[tree] = edge

    def _reach(self, tree: Tree, size: int) -> None:
        """Have so many leaves in the tree, at least: another process may have added to the file."""
        if size < 0:
            raise IndexError(f"a tree of {size} leaves")
        edge = self._edges.get(tree)
        if edge is not None and size <= edge.size:
            return
        last = self._last(tree, 0)
        if edge is None or edge.full[0] != (last[0] + 1 if last else 0):
            edge = self._edge_in_file(tree)
        for _ in self._read_on(edge):
            pass  # whoever added the leaves kept their tiles
        self._edges[tree] = edge
        if size > edge.size:
            raise IndexError(f"a tree of {size} leaves, {edge.size} are kept")

    def _read_on(self, edge: Edge) -> Iterator[list[Tile]]:
        """Add to an edge what the kept blocks bring beyond it; the tiles that are full then, block by block."""
        for block_index, leaf_hashes in self._leaves(edge.tree, edge.next_block):
            if not all(map(is_hash, leaf_hashes)):
                raise self.damaged(edge.tree)
            yield edge.add(block_index, leaf_hashes)

    def _edge_in_file(self, tree: Tree) -> Edge:
        """The edge behind the last tiles, still without leaves, of one moment: the node may add a tile meanwhile."""
        with self._database.frozen():
            return self._edge_of_now(tree)

    def _edge_of_now(self, tree: Tree) -> Edge:
        edge = Edge(tree, self._height)
        last = self._last(tree, 0)
        if last is not None:
            edge.full[0], edge.next_block, edge.position = last[0] + 1, last[1], last[2] + 1
        while edge.full[-1]:
            level, below = len(edge.full), edge.full[-1]
            edge.add_level(level)
            last = self._last(tree, level)
            edge.full[level] = last[0] + 1 if last else 0
            first = edge.full[level] << self._height
            sql = "SELECT root FROM tiles WHERE (tree, level) = (?, ?) AND number >= ? ORDER BY number LIMIT ?"
            roots = [row[0] for row in self._database.select(sql, (tree, level - 1, first, 1 << self._height))]
            if len(roots) != below - first or len(roots) >> self._height or not all(map(is_hash, roots)):
                raise self.damaged(tree)
            edge.hashes[level] += b"".join(roots)
        return edge

    def _last(self, tree: Tree, level: int) -> tuple[int, int, int] | None:
        """Of the last tile of a level: its number, and where its last leaf stands."""
        sql = (
            "SELECT number, block_index, position FROM tiles WHERE (tree, level) = (?, ?) ORDER BY number DESC LIMIT 1"
        )
        for number, block_index, position in self._database.select(sql, (tree, level)):
            if not all(isinstance(one, int) and 0 <= one <= MAX_INDEX for one in (number, block_index, position)):
                raise self.damaged(tree)
            return number, block_index, position
        return None

    def _node(self, tree: Tree, height: int, number: int) -> bytes:
        """The hash of a full subtree, as the functions of `ledger/merkle.py` ask for it."""
        key = tree, height, number
        found = self._nodes.get(key)
        if found is None:
            if len(self._nodes) >= _NODES_AT_HAND:
                self._nodes.clear()
            found = self._nodes[key] = self._read_node(tree, height, number)
        return found

    def _read_node(self, tree: Tree, height: int, number: int) -> bytes:
        level, rising = divmod(height, self._height)
        tile, place = divmod(number, 1 << (self._height - rising))
        edge, half = self._edges[tree], self._height // 2
        if level < len(edge.full) and tile == edge.full[level]:
            row = bytes(edge.hashes[level])
        else:
            middle, row = self._tile(tree, level, tile)
            if rising >= half:
                row, rising = middle, rising - half
        size = HASH_BYTES << rising
        return risen(row[size * place : size * (place + 1)], rising)

    def _tile(self, tree: Tree, level: int, number: int) -> tuple[bytes, bytes]:
        """The two rows of hashes of a full tile."""
        key = tree, level, number
        found = self._tiles.pop(key, None)
        if found is None:
            rows = self._database.select(
                "SELECT middle, hashes FROM tiles WHERE (tree, level, number) = (?, ?, ?)", key
            )
            sizes = [HASH_BYTES << (self._height - self._height // 2), HASH_BYTES << self._height]
            if [len(one) if isinstance(one, bytes) else 0 for row in rows for one in row] != sizes:
                raise self.damaged(tree)
            found = rows[0]
            if len(self._tiles) >= _TILES_AT_HAND:
                del self._tiles[next(iter(self._tiles))]
        self._tiles[key] = found  # the last to be dropped
        return found

    def damaged(self, tree: Tree) -> DamagedStore:
        """What to raise when the hashes, or leaves, of a tree are not those that were kept."""
        what = f"{self._database.path}: the hashes of its {tree.name.lower()} were altered"
        return DamagedStore(f"{what}; check and repair it, or restore it from a backup")
