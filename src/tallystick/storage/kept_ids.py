"""The oldest certificates of a chain, read from its file: their ids in the order of the log, and who issued them."""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from struct import pack, unpack
from threading import Lock
from typing import Any, Final, NamedTuple

import msgspec

from tallystick.ledger.encoding import encode
from tallystick.problems import DamagedStore
from tallystick.storage.id_runs import IdRuns
from tallystick.storage.sqlite_file import Database

_ID_BYTES: Final = 32
_ROW_CERTIFICATES: Final = 512
_ROW_AT: Final = "SELECT * FROM ids WHERE first <= ? ORDER BY first DESC, last_block DESC LIMIT 1"
_issuers: Final = msgspec.msgpack.Decoder(tuple[list[bytes], bytes])


class IdRow(NamedTuple):
    """A row of the derived table `ids`: the certificates of some blocks, which never change."""

    last_block: int
    first: int
    """The number of the first certificate."""
    digest: bytes
    counts: bytes
    """How many certificates each block has, in 4 bytes."""
    ids: bytes
    packed_issuers: bytes

    @property
    def end(self) -> int:
        """The number of the first certificate behind it."""
        return self.first + len(self.ids) // _ID_BYTES

    @property
    def is_as_written(self) -> bool:
        """Whether it has its digest, and as many ids as it counts."""
        parts = (self.counts, self.ids, self.packed_issuers)
        return all(isinstance(one, bytes) for one in parts) and self.digest == _digest(*parts)

    @property
    def issuers(self) -> list[bytes]:
        """Of each certificate; empty: it is no statement. Raises what decoding raises."""
        keys, numbers = _issuers.decode(self.packed_issuers)
        return [keys[number] for number in unpack(f"<{len(numbers) // 4}I", numbers)]


def id_rows(
    first: int, last_block: int, ids: bytes, counts: Sequence[int], issuers: Sequence[bytes]
) -> Iterator[IdRow]:
    """Rows of the blocks after `last_block`, cut at the ends of blocks; what they hold is as `extend` takes it."""
    start = end = done = 0
    for place, count in enumerate(counts, start=1):
        end += count
        if end - start >= _ROW_CERTIFICATES or place == len(counts):
            packed = pack(f"<{place - done}I", *counts[done:place])
            some, keys = ids[_ID_BYTES * start : _ID_BYTES * end], _packed(issuers[start:end])
            yield IdRow(last_block + place, first + start, _digest(packed, some, keys), packed, some, keys)
            start, done = end, place


def _packed(issuers: Sequence[bytes]) -> bytes:
    """Each key once, and for each certificate the number of its issuer's, in 4 bytes."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(issuers))}
    return encode((list(numbers), pack(f"<{len(issuers)}I", *[numbers[one] for one in issuers])))


def _digest(counts: bytes, ids: bytes, issuers: bytes) -> bytes:
    lengths = len(counts).to_bytes(8, "big") + len(ids).to_bytes(8, "big")
    return sha256(b"".join((lengths, counts, ids, issuers))).digest()


class KeptIds:
    """An `Older` (ledger/certificate_index.py). Raises `DamagedStore` where a row is not what was written.

    It reads over a connection of its own, which any thread may use: what is looked up for a reader of the ledger is on
    the thread that reads.
    """

    def __init__(self, runs: IdRuns, open_reader: Callable[[], Database]) -> None:
        self._runs, self._open_reader = runs, open_reader
        self._lock = Lock()
        self._reads: Database | None = None
        self._row: IdRow | None = None
        """The last one that was read: who looks up one certificate looks up its neighbours."""

    def close(self) -> None:
        """Close its connection, if it has one by now; the next look-up opens another."""
        with self._lock:
            if self._reads is not None:
                self._reads.close()
            self._reads = None

    def may_have(self, certificate_id: bytes) -> bool:
        """As of an `Older`."""
        return self._runs.may_have(certificate_id)

    def number_of(self, certificate_id: bytes) -> int | None:
        """As of an `Older`."""
        try:
            candidates = self._runs.candidates(certificate_id, self._select)
        except ValueError as error:
            raise self._damaged(error) from None
        for number in candidates:  # nearly always there is none
            if self.ids(number, 1) == certificate_id:
                return number
        return None

    def with_prefix(self, prefix: str) -> list[int]:
        """As of an `Older`."""
        try:
            numbers = sorted(self._runs.with_prefix(prefix, self._select))
        except ValueError as error:
            raise self._damaged(error) from None
        return [number for number in numbers if self.ids(number, 1).hex().startswith(prefix)]

    def ids(self, first: int, count: int) -> bytes:
        """As of an `Older`."""
        found = b""
        while len(found) < _ID_BYTES * count:
            at = first + len(found) // _ID_BYTES
            row = self._row_with(at)
            found += row.ids[_ID_BYTES * (at - row.first) :]
        return found[: _ID_BYTES * count]

    def issuer_of(self, number: int) -> bytes:
        """As of an `Older`."""
        row = self._row_with(number)
        return row.issuers[number - row.first]

    def _row_with(self, number: int) -> IdRow:
        row = self._row
        if row is None or not row.first <= number < row.end:
            found = self._select(_ROW_AT, (number,))
            row = IdRow(*found[0]) if found else None
            if row is None or not row.is_as_written or number >= row.end:
                raise self._damaged(f"the row with the id of certificate {number} is not what was written")
            self._row = row
        return row

    def _select(self, sql: str, values: tuple[int, ...]) -> list[Any]:
        with self._lock:
            if self._reads is None:
                self._reads = self._open_reader()
            return self._reads.select(sql, values)

    def _damaged(self, reason: object) -> DamagedStore:
        path = self._reads.path if self._reads is not None else "the file"
        return DamagedStore(f"{path}: the index of certificates was altered: {reason}; run: tallystick check --repair")
