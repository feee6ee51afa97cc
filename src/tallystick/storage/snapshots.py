"""What the chain had come to, kept in its file so that a node need not replay it (docs/adr/0016).

The ids of certificates are added as rows that never change, one for a stretch of blocks, each with the hash of itself
and of the row before; the state stands in one row that is replaced. So a snapshot costs what came since the last one.
"""

from collections.abc import Iterator
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
from tallystick.storage.sqlite_file import Database
from tallystick.storage.state_codec import decode_state, encode_state

_BLOCKS_BETWEEN: Final = 64
_CERTIFICATES_BETWEEN: Final = 16_384
_ROW_CERTIFICATES: Final = 16_384
_ID_BYTES: Final = 32
_ROWS_AT_ONCE: Final = 8
_SELECT_IDS: Final = (
    "SELECT last_block, counts, ids, issuers, digest FROM ids WHERE last_block > ? ORDER BY last_block LIMIT ?"
)
_DAMAGE: Final = (DamagedStore, Refused, ValueError, TypeError, ArithmeticError, LookupError, StructError)
"""What reading a damaged row raises."""
_issuers: Final = msgspec.msgpack.Decoder(tuple[list[bytes], bytes])


class Snapshots:
    """The derived tables `ids` and `snapshot`."""

    def __init__(self, database: Database, genesis: Genesis) -> None:
        self._database = database
        self._genesis = genesis
        self._kept_to = 0
        """The last block whose ids are known to be kept well; later rows are replaced."""
        self._digest = b""
        self._certificates_since = 0

    def added(self, certificates: int) -> None:
        """A block with so many certificates was kept."""
        self._certificates_since += certificates

    def is_due(self, tip_index: int) -> bool:
        """Whether so much came since the last snapshot that replaying it would be felt."""
        return tip_index - self._kept_to >= _BLOCKS_BETWEEN or self._certificates_since >= _CERTIFICATES_BETWEEN

    def read(self) -> Snapshot | None:
        """The snapshot, if there is one and all of it is as it was written and of a block on the kept chain."""
        self._kept_to, self._digest = 0, b""
        try:
            return self._read()
        except _DAMAGE:
            return None

    def _read(self) -> Snapshot | None:
        rows = self._database.select("SELECT block_index, encoded, digest FROM snapshot")
        if len(rows) != 1:
            return None
        block_index, encoded, digest = rows[0]
        index, last_block, ids_digest = CertificateIndex(), 0, b""
        while rows := self._database.select(_SELECT_IDS, (last_block, _ROWS_AT_ONCE)):
            for last_block, packed, ids, issuers, row_digest in rows:  # noqa: B007
                ids_digest = _digest_of_ids(ids_digest, packed, ids, issuers)
                if ids_digest != row_digest:
                    return None
                index.extend(ids, unpack(f"<{len(packed) // 4}I", packed), _unpacked(issuers))
        if digest != _digest_of_state(ids_digest, encoded) or not block_index == last_block == index.last_block:
            return None
        state = decode_state(encoded, self._genesis)
        kept = self._database.select("SELECT block_hash FROM blocks WHERE block_index = ?", (block_index,))
        if state.index != block_index or kept != [(state.tip.hash,)] or state.log.size != len(index):
            return None
        self._kept_to, self._digest = block_index, ids_digest
        return Snapshot(state, index)

    def write(self, chain: Blockchain) -> None:
        """Keep what the chain has come to, which is the kept one at its last block; of the genesis nothing."""
        state, index = chain.state, chain.certificate_index
        if state.index == 0:
            return
        kept = self._database.select("SELECT block_index, block_hash FROM blocks ORDER BY block_index DESC LIMIT 1")
        if kept != [(state.index, state.tip.hash)] or index.last_block != state.index:
            raise StoreError(f"{self._database.path} does not end with block {state.index} of this chain")
        ids, counts, issuers = index.after(self._kept_to)
        encoded, digest, last_block = encode_state(state), self._digest, self._kept_to
        with self._database.transaction(len(ids) + len(encoded)):
            self._database.execute("DELETE FROM ids WHERE last_block > ?", (self._kept_to,))
            for part, packed, keys in _rows(ids, counts, issuers):
                last_block += len(packed) // 4
                digest = _digest_of_ids(digest, packed, part, keys)
                self._database.execute(
                    "INSERT INTO ids VALUES (?, ?, ?, ?, ?)", (last_block, packed, part, keys, digest)
                )
            self._database.execute("DELETE FROM snapshot")
            row = (state.index, encoded, _digest_of_state(digest, encoded))
            self._database.execute("INSERT INTO snapshot VALUES (?, ?, ?)", row)
        self._kept_to, self._digest, self._certificates_since = state.index, digest, 0

    def drop(self) -> None:
        """Forget the snapshot, within a transaction: the next start replays everything."""
        self._database.execute("DELETE FROM snapshot")
        self._database.execute("DELETE FROM ids")
        self._kept_to, self._digest = 0, b""


def _rows(ids: bytes, counts: list[int], issuers: list[bytes]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Cut into rows at the ends of blocks: ids of blocks, how many each of them has, in 4 bytes, and issuers."""
    start = end = first = 0
    for place, count in enumerate(counts, start=1):
        end += count * _ID_BYTES
        if end - start >= _ROW_CERTIFICATES * _ID_BYTES or place == len(counts):
            some = issuers[start // _ID_BYTES : end // _ID_BYTES]
            yield ids[start:end], pack(f"<{place - first}I", *counts[first:place]), _packed(some)
            start, first = end, place


def _packed(issuers: list[bytes]) -> bytes:
    """Each key once, and for each certificate the number of its issuer's, in 4 bytes."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(issuers))}
    return encode((list(numbers), pack(f"<{len(issuers)}I", *[numbers[one] for one in issuers])))


def _unpacked(packed: bytes) -> list[bytes]:
    keys, numbers = _issuers.decode(packed)
    return [keys[number] for number in unpack(f"<{len(numbers) // 4}I", numbers)]


def _digest_of_ids(before: bytes, counts: bytes, ids: bytes, issuers: bytes) -> bytes:
    lengths = len(counts).to_bytes(8, "big") + len(ids).to_bytes(8, "big")
    return sha256(b"".join((before, lengths, counts, ids, issuers))).digest()


def _digest_of_state(ids_digest: bytes, encoded: bytes) -> bytes:
    return sha256(ids_digest + encoded).digest()
