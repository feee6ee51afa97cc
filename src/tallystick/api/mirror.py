"""Serves the files of a mirror (storage/mirror.py) of a running node's ledger, or of a file's."""

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from tallystick.api.proving import Proofs
from tallystick.ledger.certificate_index import CertificateIndex, Place
from tallystick.ledger.encoding import encode
from tallystick.ledger.state import State, genesis_state
from tallystick.node.checkpoints import Countersigned
from tallystick.problems import NotThere
from tallystick.storage.log_tiles import Tree
from tallystick.storage.mirror import (
    ENTRIES,
    HEADERS,
    IDS,
    MirroredHeader,
    Part,
    Series,
    bundle,
    id_rows,
    parse_path,
    parse_state_path,
    tile_series,
)
from tallystick.storage.proving import signed_note
from tallystick.storage.store import Store

if TYPE_CHECKING:
    from tallystick.api.reader import Thread

_MOST_BYTES_AT_HAND: Final = 32 * 1024 * 1024
_MOST_LATELY: Final = 64
"""A minute of checkpoints at least: a reader may take as long."""
_BLOCKS_AT_ONCE: Final = 16
_ID_BYTES: Final = 32
_COSTS: Final = {"tallystick/ids/": 40, "tallystick/headers/": 10, "tallystick/state/": 10}
"""Beside 1: ids are sorted, headers read out of many blocks, a state is all of two tries."""

Span = tuple[int, int, int]
"""A block, the first of its certificates that is wanted, and how many are."""


class NoSuchFile(NotThere):
    """A mirror has no file of this name, or not yet."""

    code = "no-such-file"


class Mirror:
    """The files of one ledger's mirror, as far as its newest countersigned checkpoint goes."""

    def __init__(self, index: CertificateIndex, store: Store, read: "Thread", proofs: Proofs) -> None:
        """`read`: the thread that `store` and `proofs` are for."""
        self._index, self._store, self._read, self._proofs = index, store, read, proofs
        self._at_hand = OrderedDict[str, bytes]()
        """What was asked for lately; none of it ever changes."""
        self._bytes_at_hand = 0
        self._lately = OrderedDict[int, Countersigned]()
        """Checkpoints that were told, by size: who heard of one comes back for its state."""

    async def checkpoint(self) -> bytes:
        """The newest one, a signed note. Raises `NotYet`, `NotThere`."""
        return signed_note(self._store.genesis, await self._newest()).encoded.encode()

    def at_hand(self, path: str) -> bytes | None:
        """One that never changes, if it was asked for lately."""
        found = self._at_hand.get(path)
        if found is not None:
            self._at_hand.move_to_end(path)
        return found

    @staticmethod
    def cost(path: str) -> int:
        """What it takes to make a file that is not at hand, in requests that a source may spend."""
        return next((cost for beginning, cost in _COSTS.items() if path.startswith(beginning)), 0)

    async def file(self, path: str) -> bytes:
        """One that never changes, by its path. Raises `NoSuchFile`, `NotYet`, `NotThere`, `DamagedStore`."""
        made = await self._made(path)
        self._hold(path, made)
        return made

    async def _newest(self) -> Countersigned:
        at = await self._proofs.newest()
        self._lately[at.state.log.size] = at
        while len(self._lately) > _MOST_LATELY:
            self._lately.popitem(last=False)
        return at

    async def _made(self, path: str) -> bytes:
        part, size = parse_path(path), parse_state_path(path)
        if part is None and size is None:
            raise NoSuchFile("a mirror has no file of this name; docs/mirrors.md lists what it has")
        newest = await self._newest()
        if part is None:
            at = self._lately.get(size or 0)
            if at is None:
                told = f"the state at {size} certificates is not at hand"
                raise NoSuchFile(f"{told}: begin anew with /checkpoint, which covers {newest.state.log.size}")
            return encode(await self._read(self._proofs.prover.mirrored, at))
        count = _counts(newest.state).get(part.series, 0)
        if part.end > count:
            raise NoSuchFile(f"{part.series.folder} has {count} items by the newest checkpoint, not {part.end}")
        if part.series == IDS and not part.is_full and not self._is_exact(part):
            raise NoSuchFile(f"no checkpoint of late has {part.end} items in {part.series.folder}: begin anew")
        if part.series == ENTRIES:
            return await self._read(self._entries, self._spans(part))
        if part.series == HEADERS:
            return await self._headers(part)
        if part.series == IDS:
            return await self._read(_rows, self._index.ids(part.first, part.width))
        return await self._read(self._hashes, part)

    def _is_exact(self, part: Part) -> bool:
        """Whether a checkpoint that was told lately ends with this file: others would cost much to make, for nobody."""
        return part.end in self._lately

    def _hold(self, path: str, data: bytes) -> None:
        self._bytes_at_hand += len(data) - len(self._at_hand.pop(path, b""))
        self._at_hand[path] = data
        while self._bytes_at_hand > _MOST_BYTES_AT_HAND:
            _, dropped = self._at_hand.popitem(last=False)
            self._bytes_at_hand -= len(dropped)

    def _spans(self, part: Part) -> list[Span]:
        """Where the certificates of a bundle stand."""
        spans, at = list[Span](), part.first
        while at < part.end:
            block_index, position = self._index.place_at(at)
            count = min(part.end, self._log_size(block_index)) - at
            spans.append((block_index, position, count))
            at += count
        return spans

    async def _headers(self, part: Part) -> bytes:
        """A few blocks at a time: they may be large, and others want to read, too."""
        items, indexes = list[bytes](), range(part.first, part.end)
        for start in range(0, len(indexes), _BLOCKS_AT_ONCE):
            some = [(index, self._log_size(index)) for index in indexes[start : start + _BLOCKS_AT_ONCE]]
            items += await self._read(self._some_headers, some)
        return bundle(items)

    def _log_size(self, block_index: int) -> int:
        """After a block."""
        return self._index.number_of(Place(block_index + 1, 0))

    # ---- on the thread that reads -----------------------------------------------------------------------------

    def _entries(self, spans: list[Span]) -> bytes:
        items = list[bytes]()
        for block_index, position, count in spans:
            block = self._store.outline(block_index)
            found = block.certificates[position : position + count] if block is not None else ()
            if len(found) != count:
                raise self._store.hash_tiles.damaged(Tree.LOG)
            items += map(bytes, found)
        return bundle(items)

    def _some_headers(self, sizes: list[tuple[int, int]]) -> list[bytes]:
        return [self._header(index, log_size) for index, log_size in sizes]

    def _header(self, index: int, log_size: int) -> bytes:
        if index == 0:
            state = genesis_state(self._store.genesis)
            return MirroredHeader(state.tip, 0, state.members_hash).encoded
        block = self._store.outline(index)
        if block is None:
            raise self._store.hash_tiles.damaged(Tree.HEADERS)
        return MirroredHeader(block.header, log_size, self._store.members_hash(index)).encoded

    def _hashes(self, part: Part) -> bytes:
        folder, _, level = part.series.folder.rpartition("/")
        tree = Tree.LOG if folder == "tile" else Tree.HEADERS
        return self._store.hash_tiles.row(tree, int(level), part.number, part.width)


def _counts(state: State) -> dict[Series, int]:
    """How many items each series has at a checkpoint."""
    headers = {HEADERS: state.index, **dict(tile_series(state.index, Tree.HEADERS))}
    return {ENTRIES: state.log.size, IDS: state.log.size, **dict(tile_series(state.log.size)), **headers}


def _rows(ids: bytes) -> bytes:
    return id_rows([ids[at : at + _ID_BYTES] for at in range(0, len(ids), _ID_BYTES)])
