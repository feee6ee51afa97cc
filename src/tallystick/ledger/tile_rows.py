"""What fills no tile yet of a growing tree: from it follow the tree's head, and each tile once it is full.

Tiles are those of C2SP tlog-tiles v0.1.0: 256 hashes; one of level L + 1 has the roots of 256 tiles of level L.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from tallystick.ledger.merkle import HASH_BYTES, risen, tree_root

TILE_HEIGHT: Final = 8
_TILE_BYTES: Final = HASH_BYTES << TILE_HEIGHT


class FullTile(NamedTuple):
    """A tile with all its hashes."""

    level: int
    number: int
    hashes: bytes


class TileRows:
    """The right edge of a tree of `size` leaves, a row of hashes for each level, fewer than a tile has."""

    def __init__(self, size: int = 0, rows: Iterable[bytes] = ()) -> None:
        """`rows`: from the leaves on, as the last tile of each level begins."""
        self.size = size
        self.rows = [bytearray(one) for one in rows] or [bytearray()]

    def add(self, hashes: Iterable[bytes]) -> Iterator[FullTile]:
        """Append leaves; gives each tile that is full then. It has to be gone through to the end."""
        for one in hashes:
            self.rows[0] += one
            self.size += 1
            level = 0
            while len(self.rows[level]) == _TILE_BYTES:
                full = bytes(self.rows[level])
                yield FullTile(level, (self.size >> TILE_HEIGHT * (level + 1)) - 1, full)
                self.rows[level].clear()
                level += 1
                if level == len(self.rows):
                    self.rows.append(bytearray())
                self.rows[level] += risen(full, TILE_HEIGHT)

    def root(self) -> bytes:
        """The tree head (RFC 6962, 2.1)."""
        return tree_root(self.size, self._subtree)

    def _subtree(self, height: int, number: int) -> bytes:
        level, above = divmod(height, TILE_HEIGHT)
        first = (number << above) & ((1 << TILE_HEIGHT) - 1)
        return risen(bytes(self.rows[level][first * HASH_BYTES : (first + (1 << above)) * HASH_BYTES]), above)
