"""The store: one node's copy of the chain in one SQLite file (docs/adr/0006-sqlite-store.md).

`schema.py` tells the tables that hold what was given from those that are derived. `addresses` is where peers were
found. `names` is the owner's own address book, which nobody vouches for.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from tallystick.ledger.address import AddressRecord, address_codec
from tallystick.ledger.block import Block, block_codec
from tallystick.ledger.blockchain import Blockchain, Snapshot
from tallystick.ledger.certificate import AnyCertificate, Payload, certificate_codec
from tallystick.ledger.checkpoint import Cosignature, cosignature_codec
from tallystick.ledger.encoding import Codec, encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import MAX_INDEX
from tallystick.ledger.finality import FinalHeader, Members, members_codec
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import Header
from tallystick.ledger.merkle import leaf_hash
from tallystick.ledger.messages import Entry
from tallystick.ledger.roots import StateRoots
from tallystick.ledger.vote import FINALIZE, Tally, tally_codec
from tallystick.node.events import PersistBlock, PersistCosignatures
from tallystick.problems import DamagedStore, StoreError
from tallystick.storage.decision_tables import DecisionTables
from tallystick.storage.log_tiles import HashTiles, kept_leaves, leaves_of
from tallystick.storage.outline import Outline, outline_codec
from tallystick.storage.payload_tables import PayloadTables, is_hash
from tallystick.storage.schema import check_format, read_genesis, write_schema
from tallystick.storage.snapshots import Snapshots
from tallystick.storage.sqlite_file import (
    Connect,
    Database,
    check_is_database,
    connect,
    decode_column,
    explained,
    make_empty,
    remove_database,
)
from tallystick.storage.waiting_table import WaitingTable

_ROWS_AT_ONCE: Final = 16
_HASHES_AT_ONCE: Final = 1024

T = TypeVar("T")
BlockT = TypeVar("BlockT", Block, Outline)

_roots_codec: Codec[StateRoots] = Codec(StateRoots, 1024, "state roots")


class EpochEnd(NamedTuple):
    """What is kept with the last block of an epoch."""

    epoch: int
    roots: StateRoots
    members: Members | None
    """Of the next epoch, if they are others, or have other stakes."""


class Store:
    """A `FullArchive` that outlives its process. Every change is one transaction: all of it is on disk, or none.

    Whatever it does may raise `StoreError`: then nothing has changed. `StoreFailed` is the exception: nobody knows
    whether the change is on disk, the store refuses all that follows, and the process has to end.
    """

    def __init__(
        self, path: Path, database: Database, genesis: Genesis, tip_index: int, connect_to: Connect = connect
    ) -> None:
        """Use `create` or `open`."""
        self.path = path
        self.genesis = genesis
        self.tip_index = tip_index
        self.database = database
        self.payload_tables = PayloadTables(database)
        self.decision_tables = DecisionTables(database)
        self.waiting_table = WaitingTable(database)
        self.hash_tiles = HashTiles(database, partial(kept_leaves, database, genesis))
        self._snapshots = Snapshots(database, genesis, partial(_opened, path, connect_to))

    @classmethod
    def create(cls, path: Path, genesis: Genesis, connect_to: Connect = connect) -> "Store":
        """Make the file for a new chain. Raises `StoreError`; an existing file stays as it is."""
        make_empty(path)
        with _opening(path, connect_to, False) as database:
            database.prepare_to_write()
            with database.transaction():
                write_schema(database.connection)
                database.execute("INSERT INTO genesis VALUES (?)", (encode(genesis),))
        return cls(path, database, genesis, 0, connect_to)

    @classmethod
    def open(cls, path: Path, read_only: bool = False, connect_to: Connect = connect) -> "Store":
        """Open the file of a chain. Raises `StoreError`.

        This looks at the file's form only; `CheckedChain` and `Check` check again all that it holds.
        """
        check_is_database(path)
        with _opening(path, connect_to, read_only) as database:
            check_format(path, database.connection)
            genesis = read_genesis(path, database.connection)
            tip_index = _last_index(database)
            if not read_only:
                database.prepare_to_write()  # not before it is known to be ours
        return cls(path, database, genesis, tip_index, connect_to)

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; when nobody else has it open, all of it is then in this one file, fit to be copied."""
        self._snapshots.kept_ids.close()
        self.database.close()

    def delete(self) -> None:
        """Close the file and remove it. Raises `StoreError` when another process has it open."""
        self._snapshots.kept_ids.close()
        self.database.select("PRAGMA journal_mode = DELETE")
        self.database.close()
        remove_database(self.path)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Read one state of the file, whatever another process writes meanwhile; here nothing is written inside."""
        with self.database.frozen():
            self.tip_index = _last_index(self.database)
            yield

    @contextmanager
    def batch(self, kept_bytes: int = 0) -> Iterator[None]:
        """Make all changes within one transaction: they are durable on leaving, together, or none of them is.

        `kept_bytes`: about how much is written at once, and not by further calls.
        """
        tip_index, is_outermost = self.tip_index, not self.database.connection.in_transaction
        try:
            with self.database.transaction(kept_bytes):
                yield
                if is_outermost:
                    self.waiting_table.write()
        except BaseException:
            self.tip_index = tip_index
            self.hash_tiles.forget()
            self.waiting_table.forget()
            raise

    # ---- the archive ----------------------------------------------------------------------------------------

    def append(self, kept: PersistBlock) -> None:
        block, execute = kept.block, self.database.execute
        if block.index != self.tip_index + 1:
            raise StoreError(f"{self.path} ends at block {self.tip_index}; block {block.index} does not come next")
        with self.batch(len(block.encoded)):
            self.add_block(block)
            if kept.finalization is not None:
                execute("INSERT INTO finalizations VALUES (?, ?)", (block.index, encode(kept.finalization)))
            if kept.roots is not None:
                self.keep_epoch_end(block.index, EpochEnd(block.header.epoch, kept.roots, kept.members))
            execute("DELETE FROM votes WHERE epoch < ?", (kept.oldest_epoch,))
            execute("DELETE FROM proposals WHERE block_index <= ?", (block.index,))
            self.waiting_table.settle([one.id for one in block.certificates])
            self.payload_tables.add_block(block, kept.payloads)
            self.decision_tables.add_block(block, dict(kept.decided))
            if kept.members_hash:
                self.keep_state_parts(block.index, kept.members_hash)
            for tree, leaf_hashes in leaves_of(block).items():
                self.hash_tiles.append(tree, block.index, leaf_hashes)
        self._snapshots.added(len(block.certificates))
        self.tip_index = block.index

    def add_block(self, block: Block) -> None:
        """Keep a block by itself, within a transaction: what is derived of it is for the caller to add."""
        row = (block.index, block.hash, leaf_hash(block.header.encoded), block.encoded)
        self.database.execute("INSERT INTO blocks VALUES (?, ?, ?, ?)", row)

    def keep_epoch_end(self, index: int, end: EpochEnd) -> None:
        """Keep what proves the next epoch's members with the last block of an epoch, within a transaction."""
        row = (end.epoch, index, encode(end.roots), None if end.members is None else encode(end.members))
        self.database.execute("INSERT OR REPLACE INTO epoch_ends VALUES (?, ?, ?, ?)", row)

    def keep_certificates(self, entries: Sequence[Entry]) -> None:
        with self.batch():
            self.waiting_table.keep([entry.certificate for entry in entries])
            for entry in entries:
                if entry.payload is not None:
                    self.payload_tables.keep(entry.payload)

    def forget_certificate(self, certificate_id: bytes) -> None:
        with self.batch():
            self.waiting_table.settle([certificate_id])

    def waiting(self) -> Iterator[Entry]:
        """Raises `DamagedStore` at a row that is no submission."""
        for certificate in self.waiting_table.certificates():
            yield Entry(certificate, self.payload(certificate.payload_hash) if certificate.payload_hash else None)

    def keep_votes(self, tallies: Sequence[Tally], blocks: Sequence[Block]) -> None:
        votes = [(one.ballot.epoch, one.ballot.view, encode(one)) for one in tallies]
        proposals = [(block.hash, block.index, block.encoded) for block in blocks]
        kept_bytes = sum(len(row[-1]) for rows in (votes, proposals) for row in rows)
        with self.database.transaction(kept_bytes):
            self.database.execute_many("INSERT INTO votes (epoch, view, encoded) VALUES (?, ?, ?)", votes)
            self.database.execute_many("INSERT OR IGNORE INTO proposals VALUES (?, ?, ?)", proposals)

    def votes(self, epoch: int) -> Iterator[Tally]:
        """Raises `DamagedStore` at a row that is not a tally."""
        return self._tallies(epoch, 0, MAX_INDEX)

    def votes_of(self, epoch: int, view: int) -> Iterator[Tally]:
        """Raises `DamagedStore` at a row that is not a tally."""
        return self._tallies(epoch, view, view)

    def view_certificates(self, epoch: int, first: int, last: int) -> Iterator[Tally]:
        """Raises `DamagedStore` at a row that is not a tally."""
        sql = "SELECT max(view) FROM votes WHERE epoch = ? AND view BETWEEN ? AND ?"
        while (view := self.database.select(sql, (epoch, first, last))[0][0]) is not None:
            yield from (one for one in self.votes_of(epoch, view) if one.ballot.kind != FINALIZE)
            last = view - 1

    def _tallies(self, epoch: int, first: int, last: int) -> Iterator[Tally]:
        """View by view, and of each view in the order they were kept; a few at a time."""
        sql = "SELECT view, number, encoded FROM votes WHERE epoch = ? AND (view, number) > (?, ?) AND view <= ? "
        place = (first, -1)
        while rows := self.database.select(sql + "ORDER BY view, number LIMIT ?", (epoch, *place, last, _ROWS_AT_ONCE)):
            for _, _, encoded in rows:
                yield self._decode(tally_codec, encoded, "a kept vote")
            place = rows[-1][:2]

    def proposals(self) -> Iterator[Block]:
        """Raises `DamagedStore` at a row that is not a block."""
        for (encoded,) in self.database.select("SELECT encoded FROM proposals ORDER BY block_index"):
            yield self._decode(block_codec, encoded, "a proposed block")

    def finalization(self, index: int) -> Tally | None:
        """Raises `DamagedStore` when the row is not a tally."""
        rows = self.database.select("SELECT encoded FROM finalizations WHERE block_index = ?", (index,))
        return self._decode(tally_codec, rows[0][0], f"the finalization of block {index}") if rows else None

    def keep_finalization(self, index: int, finalization: Tally) -> None:
        """Raises `StoreError`, and then nothing has changed."""
        with self.database.transaction():
            row = (encode(finalization), index)
            self.database.execute("UPDATE finalizations SET encoded = ? WHERE block_index = ?", row)

    def finalized_from(self, index: int) -> int | None:
        sql = "SELECT min(block_index) FROM finalizations WHERE block_index >= ?"
        found: int | None = self.database.select(sql, (index,))[0][0]
        return found

    def finalized_until(self) -> int:
        """The newest block that is final by what is kept; 0: none."""
        found: int | None = self.database.select("SELECT max(block_index) FROM finalizations")[0][0]
        return found or 0

    def final_header(self, index: int) -> FinalHeader | None:
        """Raises `DamagedStore` when a row is not what it should be."""
        finalization = self.finalization(index)
        block = self.outline(index) if finalization is not None else None
        if finalization is None or block is None:
            return None
        end = self.epoch_end(index)
        return FinalHeader(block.header, finalization, *(end[1:] if end else ()))

    def epoch_end(self, index: int) -> EpochEnd | None:
        """What was kept with the last block of an epoch. Raises `DamagedStore` when it is not what it should be."""
        rows = self.database.select("SELECT epoch, roots, members FROM epoch_ends WHERE block_index = ?", (index,))
        if not rows:
            return None
        (epoch, roots, members), what = rows[0], f"the state roots of block {index}"
        decoded = None if members is None else self._decode(members_codec, members, what)
        return EpochEnd(epoch, self._decode(_roots_codec, roots, what), decoded)

    def epoch_ends(self, epoch: int, most: int) -> list[int]:
        sql = "SELECT block_index FROM epoch_ends WHERE epoch >= ? ORDER BY epoch LIMIT ?"
        return [row[0] for row in self.database.select(sql, (epoch, most))]

    def keep_state_parts(self, first: int, hashes: bytes | bytearray) -> None:
        """Keep the `members_hash` of this block and of those after it, 32 bytes each, and no others from it on."""
        rows = [(first + at // 32, bytes(hashes[at : at + 32])) for at in range(0, len(hashes), 32)]
        self.database.execute("DELETE FROM state_parts WHERE block_index >= ?", (first,))
        self.database.execute_many("INSERT INTO state_parts VALUES (?, ?)", rows)

    def members_hash(self, index: int) -> bytes:
        """The part of a block's state root that is not about the log (`LogRoots`). Raises `DamagedStore`.

        That it leads to the block's state root is for who asks to see.
        """
        rows = self.database.select("SELECT members_hash FROM state_parts WHERE block_index = ?", (index,))
        if not rows or not is_hash(rows[0][0]):
            missing = f"a part of the state after block {index} is missing"
            raise DamagedStore(f"{self.path}: {missing}; run: tallystick check --repair")
        found: bytes = rows[0][0]
        return found

    def members_hashes(self, start: int) -> Iterator[bytes]:
        """`members_hash` of this block and of those after it. Raises `DamagedStore` where one is missing."""
        sql = "SELECT block_index, members_hash FROM state_parts WHERE block_index >= ? ORDER BY block_index LIMIT ?"
        while rows := self.database.select(sql, (start, _HASHES_AT_ONCE)):
            for index, found in rows:
                yield found if index == start and is_hash(found) else self.members_hash(start)
                start += 1

    def changes_of_voters(self, after: int, last: int) -> list[int]:
        """The epochs after one, and up to another, that have other voters than the epoch before; ascending."""
        sql = "SELECT epoch + 1 FROM epoch_ends WHERE members IS NOT NULL AND epoch >= ? AND epoch < ? ORDER BY epoch"
        return [row[0] for row in self.database.select(sql, (after, last))]

    def voters(self, epoch: int) -> Members | None:
        """Raises `DamagedStore` when the row is not a list of members."""
        sql = "SELECT members FROM epoch_ends WHERE epoch < ? AND members IS NOT NULL ORDER BY epoch DESC LIMIT 1"
        rows = self.database.select(sql, (epoch,))
        return self._decode(members_codec, rows[0][0], f"the members of epoch {epoch}") if rows else None

    def keep_payload(self, payload: Payload) -> None:
        """A payload once erased is not kept again."""
        with self.database.transaction():
            self.payload_tables.keep(payload)

    def erase_payload(self, payload_hash: bytes) -> None:
        """Its bytes are overwritten in the file, not only unlinked."""
        with self.database.transaction(overwrites=True):
            self.payload_tables.erase(payload_hash)

    def blocks(self, start: int = 1) -> Iterator[Block]:
        """Raises `DamagedStore` at a row that is not the block it should be."""
        return (self._decode_block(block_codec, *row) for row in self._column("encoded", start, _ROWS_AT_ONCE))

    def outlines(self, start: int = 1) -> Iterator[Outline]:
        """The same, at a tenth of the cost for large blocks."""
        return (self._decode_block(outline_codec, *row) for row in self._column("encoded", start, _ROWS_AT_ONCE))

    def headers(self, start: int = 1) -> Iterator[Header]:
        """The headers of the kept blocks from an index on. Raises `DamagedStore` where one is missing."""
        return (one.header for one in self.outlines(start))

    def block(self, index: int) -> Block | None:
        """The kept block with this index; block 0 is not kept. Raises `DamagedStore` where one is missing."""
        return self._read_block(block_codec, index)

    def outline(self, index: int) -> Outline | None:
        """The same, at a tenth of the cost for a large block."""
        return self._read_block(outline_codec, index)

    def certificate_in(self, block: Outline, position: int) -> AnyCertificate:
        """Raises `DamagedStore` when it is none."""
        what = f"certificate {position} of block {block.index}"
        return self._decode(certificate_codec, bytes(block.certificates[position]), what)

    def blocks_with(self, digest: bytes) -> list[int]:
        """The kept blocks in whose bytes a digest stands: all are looked through."""
        rows = self.database.select("SELECT block_index FROM blocks WHERE instr(encoded, ?) ORDER BY 1", (digest,))
        return [row[0] for row in rows]

    def hashes(self, start: int = 1) -> Iterator[bytes]:
        return (block_hash for _, block_hash in self._column("block_hash", start, _HASHES_AT_ONCE))

    def _column(self, name: str, start: int, most: int) -> Iterator[tuple[int, Any]]:
        """Index and a column of the kept blocks from an index on: one, then more at a time, as blocks may be large."""
        sql = f"SELECT block_index, {name} FROM blocks WHERE block_index >= ? ORDER BY block_index LIMIT ?"  # noqa: S608
        count = 1
        while rows := self.database.select(sql, (start, count)):
            for index, value in rows:
                if index != start:
                    raise self._damaged(f"block {start}", Refused(Rule.B1, f"block {index} stands in its place"))
                start += 1
                yield index, value
            count = min(2 * count, most)

    def payload(self, payload_hash: bytes) -> Payload | None:
        """Raises `DamagedStore` when the row is not the payload it should be."""
        return self.payload_tables.get(payload_hash)

    def erased(self) -> Iterator[bytes]:
        return iter(self.payload_tables.erased())

    def lacking(self, most: int) -> list[bytes]:
        return self.payload_tables.awaited(most)

    # ---- the snapshot ---------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot | None:
        """One that is damaged, or not of this chain, is none: everything is replayed then."""
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

    def is_snapshot_of(self, chain: Blockchain) -> bool:
        """Whether the tables of the snapshot say what this chain says, which was replayed from its genesis."""
        return self._snapshots.are_as_derived(chain.certificate_index)

    def drop_snapshot(self) -> None:
        """Forget the snapshot: the next start replays everything."""
        with self.database.transaction():
            self._snapshots.drop()

    def keep_address(self, record: AddressRecord) -> None:
        """Raises `StoreError`, and then nothing has changed."""
        with self.database.transaction():
            self.database.execute("INSERT OR REPLACE INTO addresses VALUES (?, ?)", (record.key, encode(record)))

    def addresses(self) -> Iterator[AddressRecord]:
        """A row that is no address record is left out: peers tell it again."""
        for (encoded,) in self.database.select("SELECT encoded FROM addresses ORDER BY public_key"):
            with suppress(Refused):
                yield decode_column(address_codec, encoded)

    def keep_cosignatures(self, kept: PersistCosignatures) -> None:
        """Raises `StoreError`, and then nothing has changed."""
        rows = [(one.size, one.member, encode(one)) for one in kept.cosignatures]
        with self.database.transaction():
            self.database.execute_many("INSERT OR REPLACE INTO cosignatures VALUES (?, ?, ?)", rows)
            self.database.execute("DELETE FROM cosignatures WHERE size < ?", (kept.since,))
            dropped = [(size,) for size in kept.dropped]
            self.database.execute_many("DELETE FROM cosignatures WHERE size = ?", dropped)

    def cosignatures(self) -> Iterator[Cosignature]:
        """A row that is no cosignature is left out: members tell it again."""
        for (encoded,) in self.database.select("SELECT encoded FROM cosignatures ORDER BY size, member"):
            with suppress(Refused):
                yield decode_column(cosignature_codec, encoded)

    # ---- the address book -----------------------------------------------------------------------------------

    def remember_names(self, names: Mapping[bytes, str]) -> None:
        """What the file's owner calls these keys; empty: nothing any more."""
        with self.database.transaction():
            self.database.execute_many("INSERT OR REPLACE INTO names VALUES (?, ?)", names.items())
            self.database.execute("DELETE FROM names WHERE name = ''")

    def names(self) -> dict[bytes, str]:
        """Names by public key. A row whose key is none is left out."""
        sql = "SELECT public_key, CAST(name AS BLOB) FROM names WHERE typeof(public_key) = 'blob' ORDER BY public_key"
        rows = self.database.select(sql)
        return {public_key: name.decode("utf-8", "replace") for public_key, name in rows}

    # ---- inside ---------------------------------------------------------------------------------------------

    def _read_block(self, codec: Codec[BlockT], index: int) -> BlockT | None:
        rows = self.database.select("SELECT encoded FROM blocks WHERE block_index = ?", (index,))
        if not rows and 0 < index <= self.tip_index:
            raise self._damaged(f"block {index}", Refused(Rule.B1, "it is missing"))
        return self._decode_block(codec, index, rows[0][0]) if rows else None

    def _decode_block(self, codec: Codec[BlockT], index: int, encoded: object) -> BlockT:
        block = self._decode(codec, encoded, f"block {index}")
        if block.index != index:
            raise self._damaged(f"block {index}", Refused(Rule.B1, f"the block says that its index is {block.index}"))
        return block

    def _decode(self, codec: Codec[T], encoded: object, what: str) -> T:
        try:
            return decode_column(codec, encoded)
        except Refused as refused:
            raise self._damaged(what, refused) from None

    def _damaged(self, what: str, refused: Refused) -> DamagedStore:
        return DamagedStore(f"{self.path}: {what} was altered: {refused}", refused)


@contextmanager
def _opening(path: Path, connect_to: Connect, read_only: bool) -> Iterator[Database]:
    """A file that stays open unless the block raises."""
    with explained(path):
        connection = connect_to(path, read_only)
        try:
            yield Database(path, connection)
        except BaseException:
            connection.close()
            raise


def _opened(path: Path, connect_to: Connect) -> Database:
    with _opening(path, connect_to, True) as database:
        return database


def _last_index(database: Database) -> int:
    ((index,),) = database.select("SELECT coalesce(max(block_index), 0) FROM blocks")
    return int(index)
