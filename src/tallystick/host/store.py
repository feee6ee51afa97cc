"""The store: one node's copy of the chain in one SQLite file (docs/adr/0006-sqlite-store.md).

`schema.py` tells the tables that hold what was given from those that are derived. `addresses` is where peers were
found. `names` is the owner's own address book, which nobody vouches for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from tallystick.host.backup import Progress, copy_database, unheard
from tallystick.host.errors import DamagedStore, StoreError
from tallystick.host.file_statement import FileStatement
from tallystick.host.payload_tables import FilePlace, PayloadTables
from tallystick.host.schema import check_format, read_genesis, write_schema
from tallystick.host.snapshots import Snapshots
from tallystick.host.sqlite_file import Connect, Database, check_is_database, connect, explained, make_empty
from tallystick.ledger.address import AddressRecord, address_codec
from tallystick.ledger.block import Block, block_codec
from tallystick.ledger.blockchain import Blockchain, Snapshot
from tallystick.ledger.certificate import Payload, certificate_codec
from tallystick.ledger.encoding import Codec, encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import Members, members_codec
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.messages import Entry
from tallystick.ledger.vote import Tally, Vote, tally_codec
from tallystick.node.archive import oldest_epoch

_BLOCKS_AT_ONCE: Final = 16
_HASHES_AT_ONCE: Final = 1024

T = TypeVar("T")


class Store:
    """An `Archive` that outlives its process. Every change is one transaction: all of it is on disk, or none.

    Whatever it does may raise `StoreError`: then nothing has changed. `StoreFailed` is the exception: nobody knows
    whether the change is on disk, the store refuses all that follows, and the process has to end.
    """

    def __init__(self, path: Path, database: Database, genesis: Genesis, tip_index: int) -> None:
        """Use `create` or `open`."""
        self.path = path
        self.genesis = genesis
        self.tip_index = tip_index
        self.database = database
        self.payload_tables = PayloadTables(database)
        self._snapshots = Snapshots(database, genesis)

    @classmethod
    def create(cls, path: Path, genesis: Genesis, connect_to: Connect = connect) -> "Store":
        """Make the file for a new chain. Raises `StoreError`; an existing file stays as it is."""
        make_empty(path)
        with explained(path):
            connection = connect_to(path, False)
            database = Database(path, connection)
            try:
                database.prepare_to_write()
                with database.transaction():
                    write_schema(connection)
                    database.execute("INSERT INTO genesis VALUES (?)", (encode(genesis),))
            except BaseException:
                connection.close()
                raise
        return cls(path, database, genesis, tip_index=0)

    @classmethod
    def open(
        cls, path: Path, ledger_id: bytes | None = None, read_only: bool = False, connect_to: Connect = connect
    ) -> "Store":
        """Open the file of a chain, of this ledger if one is named. Raises `StoreError`.

        This looks at the file's form only; `CheckedChain` and `Check` check again all that it holds.
        """
        check_is_database(path)
        with explained(path):
            connection = connect_to(path, read_only)
            database = Database(path, connection)
            try:
                check_format(path, connection)
                genesis = read_genesis(path, connection)
                if ledger_id not in (None, genesis.ledger_id):
                    other = f"{path} holds the ledger {genesis.name!r} ({genesis.ledger_id.hex()[:16]}…)"
                    raise StoreError(f"{other}, not the one asked for; name that ledger's file")
                tip_index = _last_index(database)
                if not read_only:
                    database.prepare_to_write()  # not before it is known to be ours
                return cls(path, database, genesis, tip_index)
            except BaseException:
                connection.close()
                raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; when nobody else has it open, all of it is then in this one file, fit to be copied."""
        self.database.close()

    def delete(self) -> None:
        """Close the file and remove it. Raises `StoreError` when another process has it open."""
        self.database.select("PRAGMA journal_mode = DELETE")
        self.database.close()
        try:
            self.path.unlink()
        except OSError as error:
            raise StoreError(f"{self.path} cannot be replaced: {error.strerror}; name another file") from None

    def backup(self, target: Path, progress: Progress = unheard) -> None:
        """Copy the file as it is now, while it is in use; see `copy_database`."""
        copy_database(self.path, target, progress)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Read one state of the file, whatever another process writes meanwhile; here nothing is written inside."""
        with self.database.frozen():
            self.tip_index = _last_index(self.database)
            yield

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Make all changes within one transaction: they are durable on leaving, together, or none of them is."""
        tip_index = self.tip_index
        try:
            with self.database.transaction():
                yield
        except BaseException:
            self.tip_index = tip_index
            self._snapshots = Snapshots(self.database, self.genesis)
            raise

    # ---- the archive ----------------------------------------------------------------------------------------

    def append(
        self,
        block: Block,
        payloads: Iterable[Payload],
        finalization: Tally | None = None,
        members: Members | None = None,
    ) -> None:
        """See `Archive`."""
        if block.index != self.tip_index + 1:
            raise StoreError(f"{self.path} ends at block {self.tip_index}; block {block.index} does not come next")
        with self.database.transaction(len(block.encoded)):
            self.database.execute("INSERT INTO blocks VALUES (?, ?, ?)", (block.index, block.hash, block.encoded))
            if finalization is not None:
                kept = (block.index, encode(finalization))
                self.database.execute("INSERT INTO finalizations VALUES (?, ?)", kept)
                for table in ("votes", "lost_votes"):
                    sql = f"DELETE FROM {table} WHERE epoch < ?"  # noqa: S608
                    self.database.execute(sql, (oldest_epoch(finalization),))
            if members is not None:
                self.database.execute("INSERT INTO members VALUES (?, ?)", (block.index, encode(members)))
            self.database.execute("DELETE FROM proposals WHERE block_index <= ?", (block.index,))
            ids = [(one.id,) for one in block.certificates]
            self.database.execute_many("DELETE FROM waiting WHERE certificate_id = ?", ids)
            self.payload_tables.add_block(block, payloads)
        self._snapshots.added(len(block.certificates))
        self.tip_index = block.index

    def keep_certificates(self, entries: Sequence[Entry]) -> None:
        """See `Archive`."""
        with self.database.transaction():
            kept = [(entry.certificate.id, entry.certificate.encoded) for entry in entries]
            self.database.execute_many("INSERT INTO waiting (certificate_id, encoded) VALUES (?, ?)", kept)
            for entry in entries:
                if entry.payload is not None:
                    self.payload_tables.keep(entry.payload)

    def forget_certificate(self, certificate_id: bytes) -> None:
        """See `Archive`."""
        with self.database.transaction():
            self.database.execute("DELETE FROM waiting WHERE certificate_id = ?", (certificate_id,))

    def waiting(self) -> Iterator[Entry]:
        """See `Archive`. Raises `DamagedStore` at a row that is not a certificate."""
        for (encoded,) in self.database.select("SELECT encoded FROM waiting ORDER BY number"):
            certificate = self._decode(certificate_codec, encoded, "a waiting certificate")
            yield Entry(certificate, self.payload(certificate.payload_hash) if certificate.payload_hash else None)

    def keep_votes(self, tally: Tally, block: Block | None) -> None:
        """See `Archive`."""
        epoch = tally.ballot.epoch
        with self.database.transaction(len(block.encoded) if block is not None else 0):
            self.database.execute("INSERT INTO votes (epoch, encoded) VALUES (?, ?)", (epoch, encode(tally)))
            if block is not None:
                kept = (block.hash, block.index, block.encoded)
                self.database.execute("INSERT OR IGNORE INTO proposals VALUES (?, ?, ?)", kept)
            if len(tally.signatures) == 1:  # its own: who may vote again has caught up, so no lost vote is of later
                self.database.execute("UPDATE lost_votes SET epoch = ? WHERE epoch IS NULL", (epoch,))

    def has_lost_votes(self) -> bool:
        """See `Archive`. True from a repair until the epochs that they can be of are long over."""
        return bool(self.database.select("SELECT 1 FROM lost_votes"))

    def note_lost_votes(self) -> None:
        """Some of the votes that were kept are lost, of whatever epoch."""
        with self.database.transaction():
            self.database.execute("DELETE FROM lost_votes")
            self.database.execute("INSERT INTO lost_votes VALUES (NULL)")

    def votes(self) -> Iterator[Vote]:
        """See `Archive`. Raises `DamagedStore` at a row that is not a tally."""
        for (encoded,) in self.database.select("SELECT encoded FROM votes ORDER BY number"):
            yield from self._decode(tally_codec, encoded, "a vote of this node").votes

    def proposals(self) -> Iterator[Block]:
        """See `Archive`. Raises `DamagedStore` at a row that is not a block."""
        for (encoded,) in self.database.select("SELECT encoded FROM proposals ORDER BY block_index"):
            yield self._decode(block_codec, encoded, "a proposed block")

    def finalization(self, index: int) -> Tally | None:
        """See `Archive`. Raises `DamagedStore` when the row is not a tally."""
        rows = self.database.select("SELECT encoded FROM finalizations WHERE block_index = ?", (index,))
        return self._decode(tally_codec, rows[0][0], f"the finalization of block {index}") if rows else None

    def members(self, index: int) -> Members | None:
        """See `Archive`. Raises `DamagedStore` when the row is not a list of members."""
        rows = self.database.select("SELECT encoded FROM members WHERE block_index = ?", (index,))
        return self._decode(members_codec, rows[0][0], f"the members after block {index}") if rows else None

    def keep_payload(self, payload: Payload) -> None:
        """See `Archive`. A payload once erased is not kept again."""
        with self.database.transaction():
            self.payload_tables.keep(payload)

    def erase_payload(self, payload_hash: bytes) -> None:
        """See `Archive`. Its bytes are overwritten in the file, not only unlinked."""
        with self.database.transaction(overwrites=True):
            self.payload_tables.erase(payload_hash)

    def blocks(self, start: int = 1) -> Iterator[Block]:
        """See `Archive`. Raises `DamagedStore` at a row that is not the block it should be."""
        while rows := self.database.select(
            "SELECT block_index, encoded FROM blocks WHERE block_index >= ? ORDER BY block_index LIMIT ?",
            (start, _BLOCKS_AT_ONCE),
        ):
            for block_index, encoded in rows:
                if block_index != start:
                    raise self._damaged(f"block {start}", Refused(Rule.B1, f"block {block_index} stands in its place"))
                block = self._decode_block(start, encoded)
                start += 1
                yield block

    def block(self, index: int) -> Block | None:
        """The kept block with this index; block 0 is not kept."""
        return next(self.blocks(index), None) if 0 < index <= self.tip_index else None

    def hashes(self, start: int = 1) -> Iterator[bytes]:
        """See `Archive`."""
        sql = "SELECT block_index, block_hash FROM blocks WHERE block_index >= ? ORDER BY block_index LIMIT ?"
        while rows := self.database.select(sql, (start, _HASHES_AT_ONCE)):
            for block_index, block_hash in rows:
                if block_index != start:
                    raise self._damaged(f"block {start}", Refused(Rule.B1, f"block {block_index} stands in its place"))
                start += 1
                yield block_hash

    def payload(self, payload_hash: bytes) -> Payload | None:
        """See `Archive`. Raises `DamagedStore` when the row is not the payload it should be."""
        return self.payload_tables.get(payload_hash)

    def erased(self) -> Iterator[bytes]:
        """See `Archive`."""
        return iter(self.payload_tables.erased())

    def lacking(self, most: int) -> list[bytes]:
        """See `Archive`."""
        return self.payload_tables.awaited(most)

    # ---- the snapshot ---------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot | None:
        """See `Archive`. One that is damaged, or not of this chain, is none: everything is replayed then."""
        return self._snapshots.read()

    @property
    def is_snapshot_due(self) -> bool:
        """Whether so much was appended since the last snapshot that replaying it would be felt at the next start."""
        return self._snapshots.is_due(self.tip_index)

    def keep_snapshot(self, chain: Blockchain) -> None:
        """Keep what the chain has come to; it is a node's that started from this store and whose blocks all are in it.

        For whenever `is_snapshot_due`, and before closing: then the next start replays nothing.
        """
        self._snapshots.write(chain)

    def drop_snapshot(self) -> None:
        """Forget the snapshot: the next start replays everything."""
        with self.database.transaction():
            self._snapshots.drop()

    def keep_address(self, record: AddressRecord) -> None:
        """See `Archive`. Raises `StoreError`, and then nothing has changed."""
        with self.database.transaction():
            self.database.execute("INSERT OR REPLACE INTO addresses VALUES (?, ?)", (record.key, encode(record)))

    def addresses(self) -> Iterator[AddressRecord]:
        """See `Archive`. A row that is no address record is left out: peers tell it again."""
        for (encoded,) in self.database.select("SELECT encoded FROM addresses ORDER BY public_key"):
            with suppress(Refused):
                yield address_codec.decode(encoded if isinstance(encoded, bytes) else b"")

    # ---- the index of files ---------------------------------------------------------------------------------

    def find_file(self, statement: FileStatement) -> list[FilePlace]:
        """Where certificates about these bytes stand, by the index alone: a hint, to be checked against the chain."""
        return self.payload_tables.places_of_file(statement.sha256)

    def rebuild_index(self) -> None:
        """Derive the index of files, and which payloads are awaited, anew from the blocks and payloads."""
        with self.database.transaction():
            self.payload_tables.rebuild(self.blocks())

    # ---- the address book -----------------------------------------------------------------------------------

    def remember_names(self, names: Mapping[bytes, str]) -> None:
        """What the file's owner calls these keys."""
        with self.database.transaction():
            self.database.execute_many("INSERT OR REPLACE INTO names VALUES (?, ?)", names.items())

    def names(self) -> dict[bytes, str]:
        """Names by public key."""
        rows = self.database.select("SELECT public_key, CAST(name AS BLOB) FROM names ORDER BY public_key")
        return {public_key: name.decode("utf-8", "replace") for public_key, name in rows}

    # ---- inside ---------------------------------------------------------------------------------------------

    def _decode_block(self, index: int, encoded: object) -> Block:
        block = self._decode(block_codec, encoded, f"block {index}")
        if block.index != index:
            raise self._damaged(f"block {index}", Refused(Rule.B1, f"the block says that its index is {block.index}"))
        return block

    def _decode(self, codec: Codec[T], encoded: object, what: str) -> T:
        try:
            return codec.decode(encoded if isinstance(encoded, bytes) else b"")
        except Refused as refused:
            raise self._damaged(what, refused) from None

    def _damaged(self, what: str, refused: Refused) -> DamagedStore:
        return DamagedStore(f"{self.path}: {what} was altered: {refused}", refused)


def _last_index(database: Database) -> int:
    ((index,),) = database.select("SELECT coalesce(max(block_index), 0) FROM blocks")
    return int(index)
