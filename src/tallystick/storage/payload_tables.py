"""The payloads in the file of a chain, and what follows: which are awaited, and which files they are about."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Final

from tallystick.ledger.block import Block
from tallystick.ledger.certificate import Payload, payload_codec
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.file_statement import file_statement_in
from tallystick.problems import DamagedStore
from tallystick.storage.sqlite_file import Database, decode_column

_COLUMNS: Final = {
    "awaited": "payload_hash, block_index, position",
    "files": "sha256, block_index, position, payload_hash",
}
_HASH_BYTES: Final = 32
_Row = tuple[str, tuple[bytes | int, ...]]
"""Table and values."""


def is_hash(value: object) -> bool:
    """Whether a column holds a hash; a changed row may hold anything."""
    return isinstance(value, bytes) and len(value) == _HASH_BYTES


class PayloadTables:
    """The tables `payloads` and `erased`, and the derived ones `awaited` and `files`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, payload_hash: bytes) -> Payload | None:
        """The payload with this hash. Raises `DamagedStore` when the row is not the payload it should be."""
        rows = self._database.select("SELECT encoded FROM payloads WHERE payload_hash = ?", (payload_hash,))
        return self._decode(payload_hash, rows[0][0]) if rows else None

    def erased(self) -> list[bytes]:
        """The hashes of the payloads erased so far, ascending."""
        rows = self._database.select("SELECT payload_hash FROM erased ORDER BY payload_hash")
        return [row[0] for row in rows if is_hash(row[0])]

    def is_erased(self, payload_hash: bytes) -> bool:
        """Whether the payload with this hash was erased here."""
        return bool(self._database.select("SELECT 1 FROM erased WHERE payload_hash = ?", (payload_hash,)))

    def awaited(self, most: int) -> list[bytes]:
        """What was neither kept nor erased of the payloads that certificates cover: the latest, in order."""
        rows = self._database.select(
            "SELECT payload_hash FROM awaited ORDER BY block_index DESC, position DESC LIMIT ?", (most,)
        )
        return list(dict.fromkeys(row[0] for row in reversed(rows) if is_hash(row[0])))

    def places_of_file(self, sha256: bytes) -> list[tuple[int, int, bytes]]:
        """Where certificates about a file with this hash stand, in order, each with the hash of its payload."""
        sql = "SELECT block_index, position, payload_hash FROM files WHERE sha256 = ? ORDER BY block_index, position"
        return self._database.select(sql, (sha256,))

    # ---- within a transaction -------------------------------------------------------------------------------

    def keep(self, payload: Payload) -> None:
        """Keep a payload, unless it was erased; certificates that awaited it do so no longer."""
        payload_hash = payload.hash()
        if not self._store(payload_hash, payload):
            return
        places = "SELECT block_index, position FROM awaited WHERE payload_hash = ?"
        for block_index, position in self._database.select(places, (payload_hash,)):
            self._add(self._rows_of(payload_hash, payload, block_index, position))
        self._database.execute("DELETE FROM awaited WHERE payload_hash = ?", (payload_hash,))

    def add_block(self, block: Block, payloads: Iterable[Payload]) -> None:
        """Keep the payloads that came with a new block, and note for its certificates what is there and what is not."""
        kept = {one: payload for payload in payloads if self._store(one := payload.hash(), payload)}
        self._add(self._derived(block, kept))

    def erase(self, payload_hash: bytes) -> None:
        """Forget a payload, and all that tells what was in it."""
        try:
            payload = self.get(payload_hash)
            statement = file_statement_in(payload) if payload else None
        except DamagedStore:
            self._database.execute("DELETE FROM files WHERE payload_hash = ?", (payload_hash,))
        else:
            if statement is not None:
                values = (statement.sha256, payload_hash)
                self._database.execute("DELETE FROM files WHERE sha256 = ? AND payload_hash = ?", values)
        for table in ("payloads", "awaited"):
            self._database.execute(f"DELETE FROM {table} WHERE payload_hash = ?", (payload_hash,))  # noqa: S608
        self._database.execute("INSERT OR IGNORE INTO erased VALUES (?)", (payload_hash,))

    def rebuild(self, blocks: Iterable[Block]) -> None:
        """Derive what follows from payloads and blocks anew."""
        self._database.execute("DELETE FROM awaited")
        self._database.execute("DELETE FROM files")
        for block in blocks:
            self.add_block(block, ())

    def are_as_derived(self, blocks: Iterable[Block]) -> bool:
        """Whether `awaited` and `files` hold what follows from payloads and blocks, and nothing else."""
        counts = dict.fromkeys(_COLUMNS, 0)
        for table, row in chain.from_iterable(self._derived(block, {}) for block in blocks):
            sql = f"SELECT 1 FROM {table} WHERE ({_COLUMNS[table]}) = ({', '.join('?' * len(row))})"  # noqa: S608
            if not self._database.select(sql, row):
                return False
            counts[table] += 1
        sizes = {table: self._database.select(f"SELECT count(*) FROM {table}")[0][0] for table in counts}  # noqa: S608
        return sizes == counts

    # ---- inside ---------------------------------------------------------------------------------------------

    def _store(self, payload_hash: bytes, payload: Payload) -> bool:
        """Whether the payload is kept now; what was erased is not kept again."""
        if self.is_erased(payload_hash):
            return False
        self._database.execute("INSERT OR IGNORE INTO payloads VALUES (?, ?)", (payload_hash, encode(payload)))
        return True

    def _derived(self, block: Block, at_hand: Mapping[bytes, Payload]) -> Iterator[_Row]:
        """What follows from a block and the payloads; those at hand are kept, and need not be read."""
        for position, certificate in enumerate(block.certificates):
            payload_hash = certificate.payload_hash
            if payload_hash is not None:
                payload = at_hand.get(payload_hash) or self.get(payload_hash)
                yield from self._rows_of(payload_hash, payload, block.index, position)

    def _rows_of(self, payload_hash: bytes, payload: Payload | None, index: int, position: int) -> Iterator[_Row]:
        if payload is not None:
            statement = file_statement_in(payload)
            if statement is not None:
                yield "files", (statement.sha256, index, position, payload_hash)
        elif not self.is_erased(payload_hash):
            yield "awaited", (payload_hash, index, position)

    def _add(self, rows: Iterable[_Row]) -> None:
        for table, row in rows:
            self._database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608

    def _decode(self, payload_hash: bytes, encoded: object) -> Payload:
        try:
            payload = decode_column(payload_codec, encoded)
            if payload.hash() != payload_hash:
                raise Refused(Rule.C3, "its hash is another")
        except Refused as refused:
            what = f"{self._database.path}: payload {payload_hash.hex()[:16]}… was altered"
            raise DamagedStore(f"{what}: {refused}", refused) from None
        return payload
