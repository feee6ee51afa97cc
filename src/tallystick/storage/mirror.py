"""What a mirror of a ledger holds: C2SP tlog-tiles of its log, and what proofs of this ledger need besides.

A node's HTTP door serves these paths, and `tallystick export` writes them as files (docs/mirrors.md). All of it is
public, and nothing of it is believed: whoever reads it checks it against the countersigned checkpoint. Nothing that
is named by a number ever changes.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Annotated, Final, NamedTuple

from msgspec import Meta

from tallystick.ledger.bundle import MAX_FOLLOWING, FinalVotes, HandOver
from tallystick.ledger.encoding import Codec, Encoded
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import MAX_INDEX, Digest, Index, Version
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import Header
from tallystick.ledger.merkle import HASH_BYTES
from tallystick.ledger.roots import LogRoots, MemberRoots
from tallystick.storage.log_tiles import Tree

VERSION: Final = 1
CHECKPOINT_PATH: Final = "checkpoint"
MAX_STATE_BYTES: Final = 64 * 1024 * 1024
MAX_HEADER_BYTES: Final = 1_024
TILE_WIDTH: Final = 256
"""Hashes of a tile, and items of a bundle."""
IDS_WIDTH: Final = 65_536
ID_ROW_BYTES: Final = 12
_MAX_ENTRY_BYTES: Final = 65_535
"""In any log; a certificate has its own bound."""
ID_START_BYTES: Final = 8
_MOST_LEVEL: Final = 6
"""With tiles of so high a level a tree has more leaves than a ledger can number."""
_MOST_PATH: Final = 64
_SIGNATURE_BYTES: Final = 66
"""With which an encoded certificate ends, and which its id does not cover."""

_Entries = tuple[tuple[Digest, bytes], ...]


class MirroredHeader(Encoded):
    """A block's header, and what opens its state root as far as the log; the other roots follow from the tiles."""

    header: Header
    log_size: Index
    """After the block."""
    members_hash: Digest
    """After the block (`LogRoots`)."""


class MirroredState(Encoded):
    """What all proofs at one checkpoint have in common, and the tries that they show entries of."""

    version: Version
    genesis: Genesis
    header: Header
    """Of the checkpoint's block."""
    votes: FinalVotes
    """For the block, or for the last of `following`."""
    following: Annotated[tuple[Header, ...], Meta(max_length=MAX_FOLLOWING)]
    hand_over: HandOver
    """From the voters of the genesis on."""
    log: LogRoots
    """Its headers root is that of the tree of the headers before the checkpoint's block, which the tiles are of."""
    of_members: MemberRoots
    directory: _Entries
    """All entries of the directory trie, keys ascending."""
    status: _Entries
    """All entries of the status trie, keys ascending."""


header_codec: Final[Codec[MirroredHeader]] = Codec(MirroredHeader, MAX_HEADER_BYTES, "mirrored header")
state_codec: Final[Codec[MirroredState]] = Codec(MirroredState, MAX_STATE_BYTES, "mirrored state")


# ---- paths ------------------------------------------------------------------------------------------------------


class Series(NamedTuple):
    """Items in order, cut into files of the same number of items; the last file may hold fewer."""

    folder: str
    span: int
    """Items of a full file."""


ENTRIES: Final = Series("tile/entries", TILE_WIDTH)
"""The certificates of the log, in bundles."""
HEADERS: Final = Series("tallystick/headers", TILE_WIDTH)
"""`MirroredHeader`s of the blocks before the checkpoint's, from block 0 on, in bundles: as many as headers in the tree.
"""
IDS: Final = Series("tallystick/ids", IDS_WIDTH)
"""Where the certificates with an id stand."""


def tiles(level: int, tree: Tree = Tree.LOG) -> Series:
    """The hashes of a tree 8 * `level` above its leaves, each the root of as many full subtrees as there are."""
    return Series(f"{'tile' if tree is Tree.LOG else 'tallystick/tile'}/{level}", TILE_WIDTH)


class Part(NamedTuple):
    """One file of a series."""

    series: Series
    number: int
    width: int
    """How many items it has."""

    @property
    def path(self) -> str:
        """Where it stands: groups of three digits, all but the last with an `x` (C2SP tlog-tiles)."""
        digits = f"{self.number:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        path = "/".join([self.series.folder, *(f"x{one}" for one in groups[:-1]), groups[-1]])
        return path if self.is_full else f"{path}.p/{self.width}"

    @property
    def is_full(self) -> bool:
        """Whether it has all items that it ever will."""
        return self.width == self.series.span

    @property
    def first(self) -> int:
        """The index of its first item."""
        return self.number * self.series.span

    @property
    def end(self) -> int:
        """The index after its last item."""
        return self.first + self.width


def parts_of(series: Series, count: int, since: int = 0) -> Iterator[Part]:
    """The files of the first `count` items, from that with item `since` on."""
    for number in range(since // series.span, -(-count // series.span)):
        yield Part(series, number, min(series.span, count - number * series.span))


def part_with(series: Series, index: int, count: int) -> Part:
    """The file with an item, while there are `count` of them. Raises `IndexError` outside."""
    if not 0 <= index < count:
        raise IndexError(f"item {index} of {count} in {series.folder}")
    return next(parts_of(series, count, index))


def tile_path(level: int, number: int, width: int = TILE_WIDTH, tree: Tree = Tree.LOG) -> str:
    """Where a tile of hashes stands."""
    return Part(tiles(level, tree), number, width).path


def tile_series(size: int, tree: Tree = Tree.LOG) -> Iterator[tuple[Series, int]]:
    """The levels of tiles that a tree of this size has, from the leaves on, and how many hashes each has."""
    level, count = 0, size
    while count:
        yield tiles(level, tree), count
        level, count = level + 1, count // TILE_WIDTH


def state_path(log_size: int) -> str:
    """Where the `MirroredState` of the checkpoint of so large a log stands."""
    return f"tallystick/state/{log_size}"


_NUMBERED: Final = {
    **{one.folder: one for one in (ENTRIES, HEADERS, IDS)},
    **{one.folder: one for tree in Tree for one in (tiles(level, tree) for level in range(_MOST_LEVEL + 1))},
}
_PART: Final = re.compile(
    r"([a-z]+(?:/[a-z]+)*(?:/[0-9])?)/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,4}))?", re.A
)
_STATE: Final = re.compile(r"tallystick/state/([1-9][0-9]{0,15})", re.ASCII)


def parse_path(path: str) -> Part | None:
    """The file that stands there, if there is one in a large enough mirror. A path has one form: no other is one."""
    found = _PART.fullmatch(path) if len(path) <= _MOST_PATH else None
    series = _NUMBERED.get(found[1]) if found is not None else None
    if found is None or series is None:
        return None
    number, width = int(found[2].replace("x", "").replace("/", "")), int(found[3] or series.span)
    part = Part(series, number, width)
    is_one = width <= series.span and part.end <= MAX_INDEX and part.path == path
    return part if is_one else None


def parse_state_path(path: str) -> int | None:
    """The size of the log whose state stands there, if one does."""
    found = _STATE.fullmatch(path)
    return int(found[1]) if found is not None and int(found[1]) <= MAX_INDEX else None


# ---- what stands in the files -----------------------------------------------------------------------------------


def bundle(items: Iterable[bytes]) -> bytes:
    """Items of less than 64 KiB, each after its length in 2 bytes, big-endian (C2SP tlog-tiles, entry bundle)."""
    return b"".join([len(one).to_bytes(2, "big") + one for one in items])


def max_bytes(part: Part) -> int:
    """The most that a file may hold."""
    if part.series in (ENTRIES, HEADERS):
        most = _MAX_ENTRY_BYTES if part.series == ENTRIES else MAX_HEADER_BYTES
        return part.width * (2 + most)
    return part.width * (ID_ROW_BYTES if part.series == IDS else HASH_BYTES)


def items_in(part: Part, data: bytes) -> list[bytes]:
    """The items of a bundle, or the hashes of a tile. Raises `Refused` (E1, E2) unless it has its width of them."""
    if len(data) > (most := max_bytes(part)):
        raise Refused(Rule.E1, f"{part.path} has {len(data)} bytes, {most} allowed")
    if part.series not in (ENTRIES, HEADERS):
        size = ID_ROW_BYTES if part.series == IDS else HASH_BYTES
        found = [data[at : at + size] for at in range(0, len(data), size)]
        whole = len(found) * size
    else:
        found, whole = [], 0
        while whole < len(data):
            start = whole + 2
            whole = start + int.from_bytes(data[whole:start], "big")
            found.append(data[start:whole])
    if whole != len(data) or len(found) != part.width:
        raise Refused(Rule.E2, f"{part.path} does not hold {part.width} items, and nothing else")
    return found


def id_starts(certificates: Iterable[bytes]) -> list[bytes]:
    """How the ids of encoded certificates begin (`Certificate.id`)."""
    return [sha256(one[:-_SIGNATURE_BYTES]).digest()[:ID_START_BYTES] for one in certificates]


def id_rows(ids: Iterable[bytes]) -> bytes:
    """A file of `IDS`: of each certificate how its id begins (8 bytes), and its place among these (4), ascending."""
    rows = [one[:ID_START_BYTES] + place.to_bytes(4, "big") for place, one in enumerate(ids)]
    return b"".join(sorted(rows))


def places_in(part: Part, data: bytes, certificate_id: bytes) -> list[int]:
    """The log indexes of the certificates whose ids begin as this one. Raises `Refused` (E1, E2)."""
    rows, start = items_in(part, data), certificate_id[:ID_START_BYTES]
    found, at = list[int](), bisect_left(rows, start)
    while at < len(rows) and rows[at].startswith(start):
        place = int.from_bytes(rows[at][ID_START_BYTES:], "big")
        if place >= part.width:
            raise Refused(Rule.E2, f"{part.path} tells of place {place}")
        found.append(part.first + place)
        at += 1
    return found
