"""What the chain had come to, kept in its file so that a node need not replay it (docs/adr/0016, docs/adr/0037).

The ids of certificates are added as rows that never change, one for a stretch of blocks. The oldest certificates leave
the memory for runs (`IdRuns`); a start reads the rows of the others, and of the oldest what belongs in memory. The
state stands in one row that is replaced, with the digest of all that a start reads, and of the digests of what it does
not. So a snapshot costs what came since the last one.
"""

from collections.abc import Callable
from hashlib import sha256
from struct import error as StructError  # noqa: N812
from struct import pack, unpack
from typing import Final

import msgspec

from tallystick.ledger.blockchain import Blockchain, Snapshot
from tallystick.ledger.certificate_index import CertificateIndex
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused
from tallystick.ledger.genesis import Genesis
from tallystick.problems import DamagedStore, StoreError
from tallystick.storage.id_runs import IdRuns, Layout
from tallystick.storage.kept_ids import IdRow, KeptIds, id_rows
from tallystick.storage.sqlite_file import Database
from tallystick.storage.state_codec import decode_state, encode_state

_BLOCKS_BETWEEN: Final = 64
_CERTIFICATES_BETWEEN: Final = 16_384
_CERTIFICATES_IN_MEMORY: Final = 32_768
"""Of the latest, at least; a dictionary takes 205 bytes for each."""
_RUN_CERTIFICATES: Final = 65_536
"""When there are so many more, they make a run."""
_WRITTEN: Final = 8
"""About how many bytes are written for each byte of an id, merges included."""
_ROWS_AT_ONCE: Final = 8
_HEADS_AT_ONCE: Final = 1_024
_SELECT_HEADS: Final = (
    "SELECT last_block, first, digest, counts FROM ids WHERE last_block > ? ORDER BY last_block LIMIT ?"
)
_SELECT_ROWS: Final = "SELECT * FROM ids WHERE last_block > ? ORDER BY last_block LIMIT ?"
_DAMAGE: Final = (DamagedStore, Refused, ValueError, TypeError, ArithmeticError, LookupError, StructError)
"""What reading a damaged row raises."""
_layout: Final = msgspec.msgpack.Decoder(Layout)


class Snapshots:
    """The derived tables `ids`, `id_runs` and `snapshot`."""

    def __init__(self, database: Database, genesis: Genesis, open_reader: Callable[[], Database]) -> None:
        """`open_reader` opens the same file once more, to read."""
        self._database = database
        self._genesis = genesis
        self._runs = IdRuns(database)
        self.kept_ids = KeptIds(self._runs, open_reader)
        self._certificates_since = 0
        self._is_behind = False
        """Whether runs were grown that are not in the file: what it has is read before they grow again."""
        self._know(0)

    def _know(self, kept_to: int) -> None:
        self._kept_to = kept_to
        """The last block whose ids are known to be kept well; later rows are replaced."""
        self._heads = sha256()
        """Of the heads of all rows up to it."""

    def added(self, certificates: int) -> None:
        """A block with so many certificates was kept."""
        self._certificates_since += certificates

    def is_due(self, tip_index: int) -> bool:
        """Whether so much came since the last snapshot that replaying it would be felt."""
        return tip_index - self._kept_to >= _BLOCKS_BETWEEN or self._certificates_since >= _CERTIFICATES_BETWEEN

    def read(self) -> Snapshot | None:
        """The snapshot, if there is one of a block on the kept chain and all that is read of it is as it was written.

        What is left for look-ups to read is compared with its digest then.
        """
        self._know(0)
        self._is_behind = False
        try:
            snapshot = self._read()
        except _DAMAGE:
            snapshot = None
        if snapshot is None:
            self._know(0)
            self._runs.clear()
        return snapshot

    def _read(self) -> Snapshot | None:
        rows = self._database.select("SELECT block_index, encoded, runs, digest FROM snapshot")
        if len(rows) != 1:
            return None
        block_index, encoded, runs, digest = rows[0]
        self._runs.read(_layout.decode(runs))
        index = self._read_index()
        if digest != _digest_of(self._heads.digest(), encoded, runs) or block_index != index.last_block:
            return None
        state = decode_state(encoded, self._genesis)
        kept = self._database.select("SELECT block_hash FROM blocks WHERE block_index = ?", (block_index,))
        if state.index != block_index or kept != [(state.tip.hash,)] or state.log.size != len(index):
            return None
        self._kept_to = block_index
        return Snapshot(state, index)

    def _read_index(self) -> CertificateIndex:
        """The index: of certificates on runs the counts alone. Raises what reading a damaged row raises."""
        counts, size, last_block = list[int](), 0, 0
        while size < self._runs.size:
            rows = self._database.select(_SELECT_HEADS, (last_block, _HEADS_AT_ONCE))
            if not rows:
                raise ValueError("rows of ids are missing")
            for row in rows:
                size += self._take_head(counts, *row) if size < self._runs.size else 0
            last_block = len(counts)
        index = CertificateIndex(self.kept_ids, counts)
        while rows := self._database.select(_SELECT_ROWS, (index.last_block, _ROWS_AT_ONCE)):
            for row in map(IdRow._make, rows):
                counts = []
                self._take_head(counts, *row[:4])
                if not row.is_as_written:
                    raise ValueError(f"the ids up to block {row.last_block} are not what was written")
                index.extend(row.ids, counts, row.issuers)
        return index

    def _take_head(self, counts: list[int], last_block: int, first: int, digest: bytes, packed: bytes) -> int:
        """Add the counts of a row, and return how many certificates it has."""
        self._heads.update(_head(last_block, first, digest, packed))
        found = unpack(f"<{len(packed) // 4}I", packed)
        counts.extend(found)
        return sum(found)

    def write(self, chain: Blockchain) -> None:
        """Keep what the chain has come to, which is the kept one at its last block; of the genesis nothing.

        What it keeps of the oldest certificates leaves the chain's memory.
        """
        state, index = chain.state, chain.certificate_index
        if state.index == 0:
            return
        kept = self._database.select("SELECT block_index, block_hash FROM blocks ORDER BY block_index DESC LIMIT 1")
        if kept != [(state.index, state.tip.hash)] or index.last_block != state.index:
            raise StoreError(f"{self._database.path} does not end with block {state.index} of this chain")
        ids, counts, issuers = index.between(self._kept_to, state.index)
        encoded, heads = encode_state(state), self._heads.copy()
        try:
            with self._database.transaction(_WRITTEN * len(ids) + len(encoded)):
                self._database.execute("DELETE FROM ids WHERE last_block > ?", (self._kept_to,))
                if not self._kept_to:
                    self._database.execute("DELETE FROM id_runs")
                for row in id_rows(len(index) - len(issuers), self._kept_to, ids, counts, issuers):
                    heads.update(_head(*row[:4]))
                    self._database.execute("INSERT INTO ids VALUES (?, ?, ?, ?, ?, ?)", row)
                self._grow_runs(index, len(issuers))
                runs = encode(self._runs.layout())
                self._database.execute("DELETE FROM snapshot")
                kept_row = (state.index, encoded, runs, _digest_of(heads.digest(), encoded, runs))
                self._database.execute("INSERT INTO snapshot VALUES (?, ?, ?, ?)", kept_row)
        except BaseException:
            self._is_behind = True
            raise
        self._runs.publish()
        index.let_go(self.kept_ids, self._runs.size)
        self._kept_to, self._heads, self._certificates_since = state.index, heads, 0

    def _grow_runs(self, index: CertificateIndex, came: int) -> None:
        """Make runs of the oldest certificates in memory when these are many, each of whole rows."""
        if self._is_behind:
            kept = self._database.select("SELECT runs FROM snapshot")
            self._runs.read(_layout.decode(kept[0][0]) if kept else Layout([], [], [], 1))
            self._is_behind = False
        while len(index) - (size := self._runs.size) > _CERTIFICATES_IN_MEMORY + _RUN_CERTIFICATES:
            until = size + _RUN_CERTIFICATES
            ((end,),) = self._database.select("SELECT min(first) FROM ids WHERE first >= ?", (until,))
            self._runs.add(index.ids(size, end - size))
        self._runs.merge(came)

    def are_as_derived(self, index: CertificateIndex) -> bool:
        """Whether the tables say what this index says, all of which is in memory, as far as the snapshot goes."""
        before = 0
        try:
            while rows := self._database.select(_SELECT_ROWS, (before, _ROWS_AT_ONCE)):
                for row in map(IdRow._make, rows):
                    ids, counts, issuers = index.between(before, row.last_block)
                    if [row] != list(id_rows(row.first, before, ids, counts, issuers)):
                        return False
                    before = row.last_block
            return self._runs.are_as_derived(index.ids)
        except _DAMAGE:
            return False

    def drop(self) -> None:
        """Forget the snapshot, within a transaction: the next start replays everything."""
        for table in ("snapshot", "ids", "id_runs"):
            self._database.execute(f"DELETE FROM {table}")  # noqa: S608
        self._know(0)
        self._runs.clear()


def _head(last_block: int, first: int, digest: bytes, packed: bytes) -> bytes:
    return b"".join((pack("<QQQ", last_block, first, len(packed)), digest, packed))


def _digest_of(heads: bytes, encoded: bytes, runs: bytes) -> bytes:
    return sha256(b"".join((heads, sha256(encoded).digest(), runs))).digest()
