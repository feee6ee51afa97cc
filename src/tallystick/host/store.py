"""The store: one node's copy of the chain in one SQLite file (docs/adr/0006-sqlite-store.md).

The tables `blocks`, `payloads` and `erased` are the archive; `awaited` and `files` are derived from them and can be
rebuilt. `addresses` is where peers were found. `names` is the owner's own address book, which nobody vouches for.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from tallystick.host.errors import DamagedStore, StoreError
from tallystick.host.file_statement import FileStatement, file_statement_in
from tallystick.host.sqlite_file import check_is_database, connect, explained, prepare_to_write
from tallystick.ledger.address import AddressRecord, address_codec
from tallystick.ledger.block import Block, block_codec
from tallystick.ledger.certificate import Payload, certificate_codec, payload_codec
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import Members, members_codec
from tallystick.ledger.genesis import Genesis, decode_genesis
from tallystick.ledger.messages import Entry
from tallystick.ledger.vote import Tally, Vote, tally_codec
from tallystick.node.archive import oldest_epoch

FORMAT_VERSION: Final = 4
_APPLICATION_ID: Final = 0x74616C79  # "taly": marks the file as this program's
_BLOCKS_AT_ONCE: Final = 64

_TABLES: Final = """
CREATE TABLE genesis (encoded BLOB NOT NULL);
CREATE TABLE blocks (block_index INTEGER PRIMARY KEY CHECK (block_index > 0), encoded BLOB NOT NULL);
CREATE TABLE finalizations (block_index INTEGER PRIMARY KEY, encoded BLOB NOT NULL);
CREATE TABLE members (block_index INTEGER PRIMARY KEY, encoded BLOB NOT NULL);
CREATE TABLE votes (number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, encoded BLOB NOT NULL);
CREATE INDEX votes_by_epoch ON votes (epoch);
CREATE TABLE proposals (block_hash BLOB PRIMARY KEY, block_index INTEGER NOT NULL, encoded BLOB NOT NULL);
CREATE TABLE waiting (number INTEGER PRIMARY KEY, certificate_id BLOB UNIQUE NOT NULL, encoded BLOB NOT NULL);
CREATE TABLE payloads (payload_hash BLOB PRIMARY KEY, encoded BLOB NOT NULL);
CREATE TABLE erased (payload_hash BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE addresses (public_key BLOB PRIMARY KEY, encoded BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE names (public_key BLOB PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE awaited (payload_hash BLOB, block_index INTEGER, position INTEGER,
    PRIMARY KEY (payload_hash, block_index, position)) WITHOUT ROWID;
CREATE TABLE files (sha256 BLOB, block_index INTEGER, position INTEGER, payload_hash BLOB,
    PRIMARY KEY (sha256, block_index, position)) WITHOUT ROWID;
CREATE INDEX files_by_payload ON files (payload_hash);
"""


class FilePlace(NamedTuple):
    """Where a certificate about a file stands, and the hash of the payload that says so."""

    block_index: int
    position: int
    payload_hash: bytes


class Store:
    """An `Archive` that outlives its process. Every change is one transaction: all of it is on disk, or none."""

    def __init__(self, path: Path, connection: sqlite3.Connection, genesis: Genesis, tip_index: int) -> None:
        """Use `create` or `open`."""
        self.path = path
        self.genesis = genesis
        self.tip_index = tip_index
        self._connection = connection

    @classmethod
    def create(cls, path: Path, genesis: Genesis) -> "Store":
        """Make the file for a new chain. Raises `StoreError`; an existing file stays as it is."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            raise StoreError(f"{path} exists already; name another file, or move it away") from None
        except OSError as error:
            reason = f"{path} cannot be made: {error.strerror}"
            raise StoreError(f"{reason}; name a file in a folder that exists and that you may write to") from None
        with explained(path):
            connection = connect(path, read_only=False)
            try:
                prepare_to_write(connection)
                connection.executescript(f"BEGIN; {_TABLES}")
                connection.execute("INSERT INTO genesis VALUES (?)", (encode(genesis),))
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
        return cls(path, connection, genesis, tip_index=0)

    @classmethod
    def open(cls, path: Path, ledger_id: bytes | None = None, read_only: bool = False) -> "Store":
        """Open the file of a chain, of this ledger if one is named. Raises `StoreError`.

        This looks at the file's form only; `CheckedChain` checks again all that it holds.
        """
        check_is_database(path)
        with explained(path):
            connection = connect(path, read_only)
            try:
                _check_format(path, connection)
                genesis = _read_genesis(path, connection)
                if ledger_id not in (None, genesis.ledger_id):
                    other = f"{path} holds the ledger {genesis.name!r} ({genesis.ledger_id.hex()[:16]}…)"
                    raise StoreError(f"{other}, not the one asked for; name that ledger's file")
                (tip_index,) = connection.execute("SELECT coalesce(max(block_index), 0) FROM blocks").fetchone()
                if not read_only:
                    prepare_to_write(connection)  # not before it is known to be ours
                return cls(path, connection, genesis, tip_index)
            except BaseException:
                connection.close()
                raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; when nobody else has it open, all of it is then in this one file, fit to be copied."""
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()

    def delete(self) -> None:
        """Close the file and remove it. Raises `StoreError` when another process has it open."""
        with explained(self.path):
            self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()
        try:
            self.path.unlink()
        except OSError as error:
            raise StoreError(f"{self.path} cannot be replaced: {error.strerror}; name another file") from None

    # ---- the archive ----------------------------------------------------------------------------------------

    def append(
        self,
        block: Block,
        payloads: Iterable[Payload],
        finalization: Tally | None = None,
        members: Members | None = None,
    ) -> None:
        """See `Archive`. Raises `StoreError`, and then nothing has changed."""
        if block.index != self.tip_index + 1:
            raise StoreError(f"{self.path} ends at block {self.tip_index}; block {block.index} does not come next")
        with self._transaction():
            self._connection.execute("INSERT INTO blocks VALUES (?, ?)", (block.index, block.encoded))
            if finalization is not None:
                kept = (block.index, encode(finalization))
                self._connection.execute("INSERT INTO finalizations VALUES (?, ?)", kept)
                self._connection.execute("DELETE FROM votes WHERE epoch < ?", (oldest_epoch(finalization),))
            if members is not None:
                self._connection.execute("INSERT INTO members VALUES (?, ?)", (block.index, encode(members)))
            self._connection.execute("DELETE FROM proposals WHERE block_index <= ?", (block.index,))
            ids = [(one.id,) for one in block.certificates]
            self._connection.executemany("DELETE FROM waiting WHERE certificate_id = ?", ids)
            self._await_payloads(block)
            for payload in payloads:
                self._keep(payload)
        self.tip_index = block.index

    def keep_certificate(self, entry: Entry) -> None:
        """See `Archive`. Raises `StoreError`, and then nothing has changed."""
        with self._transaction():
            kept = (entry.certificate.id, entry.certificate.encoded)
            self._connection.execute("INSERT INTO waiting (certificate_id, encoded) VALUES (?, ?)", kept)
            if entry.payload is not None:
                self._keep(entry.payload)

    def forget_certificate(self, certificate_id: bytes) -> None:
        """See `Archive`. Raises `StoreError`, and then nothing has changed."""
        with self._transaction():
            self._connection.execute("DELETE FROM waiting WHERE certificate_id = ?", (certificate_id,))

    def waiting(self) -> Iterator[Entry]:
        """See `Archive`. Raises `DamagedStore` at a row that is not a certificate."""
        for (encoded,) in self._select("SELECT encoded FROM waiting ORDER BY number"):
            try:
                certificate = certificate_codec.decode(encoded if isinstance(encoded, bytes) else b"")
            except Refused as refused:
                raise self._damaged("a waiting certificate", refused) from None
            yield Entry(certificate, self.payload(certificate.payload_hash) if certificate.payload_hash else None)

    def keep_votes(self, tally: Tally, block: Block | None) -> None:
        """See `Archive`. Raises `StoreError`, and then nothing has changed."""
        with self._transaction():
            self._connection.execute(
                "INSERT INTO votes (epoch, encoded) VALUES (?, ?)", (tally.ballot.epoch, encode(tally))
            )
            if block is not None:
                kept = (block.hash, block.index, block.encoded)
                self._connection.execute("INSERT OR IGNORE INTO proposals VALUES (?, ?, ?)", kept)

    def votes(self) -> Iterator[Vote]:
        """See `Archive`."""
        for (encoded,) in self._connection.execute("SELECT encoded FROM votes ORDER BY number").fetchall():
            yield from tally_codec.decode(encoded).votes

    def proposals(self) -> Iterator[Block]:
        """See `Archive`."""
        for (encoded,) in self._connection.execute("SELECT encoded FROM proposals ORDER BY block_index").fetchall():
            yield block_codec.decode(encoded)

    def finalization(self, index: int) -> Tally | None:
        """See `Archive`. Raises `DamagedStore` when the row is not a tally."""
        rows = self._select("SELECT encoded FROM finalizations WHERE block_index = ?", (index,))
        try:
            return tally_codec.decode(rows[0][0] if isinstance(rows[0][0], bytes) else b"") if rows else None
        except Refused as refused:
            raise self._damaged(f"the finalization of block {index}", refused) from None

    def members(self, index: int) -> Members | None:
        """See `Archive`."""
        rows = self._select("SELECT encoded FROM members WHERE block_index = ?", (index,))
        return members_codec.decode(rows[0][0]) if rows else None

    def keep_payload(self, payload: Payload) -> None:
        """See `Archive`. A payload once erased is not kept again."""
        with self._transaction():
            self._keep(payload)

    def erase_payload(self, payload_hash: bytes) -> None:
        """See `Archive`. Its bytes are overwritten in the file, not only unlinked."""
        with self._transaction():
            for table in ("payloads", "awaited", "files"):
                self._connection.execute(f"DELETE FROM {table} WHERE payload_hash = ?", (payload_hash,))  # noqa: S608
            self._connection.execute("INSERT OR IGNORE INTO erased VALUES (?)", (payload_hash,))
        with explained(self.path):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the write-ahead log has the bytes too

    def blocks(self, start: int = 1) -> Iterator[Block]:
        """See `Archive`. Raises `DamagedStore` at a row that is not the block it should be."""
        while rows := self._select(
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

    def payload(self, payload_hash: bytes) -> Payload | None:
        """See `Archive`. Raises `DamagedStore` when the row is not the payload it should be."""
        rows = self._select("SELECT encoded FROM payloads WHERE payload_hash = ?", (payload_hash,))
        return self._decode_payload(payload_hash, rows[0][0]) if rows else None

    def erased(self) -> Iterator[bytes]:
        """See `Archive`."""
        return (row[0] for row in self._select("SELECT payload_hash FROM erased ORDER BY payload_hash"))

    def keep_address(self, record: AddressRecord) -> None:
        """See `Archive`. Raises `StoreError`, and then nothing has changed."""
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO addresses VALUES (?, ?)", (record.key, encode(record)))

    def addresses(self) -> Iterator[AddressRecord]:
        """See `Archive`. A row that is no address record is left out: peers tell it again."""
        for (encoded,) in self._select("SELECT encoded FROM addresses ORDER BY public_key"):
            with suppress(Refused):
                yield address_codec.decode(encoded if isinstance(encoded, bytes) else b"")

    # ---- the index of files ---------------------------------------------------------------------------------

    def find_file(self, statement: FileStatement) -> list[FilePlace]:
        """Where certificates about these bytes stand, by the index alone: a hint, to be checked against the chain."""
        sql = "SELECT block_index, position, payload_hash FROM files WHERE sha256 = ? ORDER BY block_index, position"
        return [FilePlace(*row) for row in self._select(sql, (statement.sha256,))]

    def rebuild_index(self) -> None:
        """Derive the index of files anew from the blocks and payloads. Raises `StoreError`; then it is as before."""
        with self._transaction():
            self._connection.execute("DELETE FROM awaited")
            self._connection.execute("DELETE FROM files")
            for block in self.blocks():
                self._await_payloads(block)
            for (payload_hash,) in self._select("SELECT payload_hash FROM payloads"):
                payload = self.payload(payload_hash)
                if payload is not None:
                    self._index(payload_hash, payload)

    # ---- the address book -----------------------------------------------------------------------------------

    def remember_names(self, names: Mapping[bytes, str]) -> None:
        """What the file's owner calls these keys."""
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO names VALUES (?, ?)", names.items())

    def names(self) -> dict[bytes, str]:
        """Names by public key."""
        rows = self._select("SELECT public_key, CAST(name AS BLOB) FROM names ORDER BY public_key")
        return {public_key: name.decode("utf-8", "replace") for public_key, name in rows}

    # ---- inside ---------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite has ended it by itself after some failures
                    self._connection.execute("ROLLBACK")
                raise

    def _select(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        with explained(self.path):
            return self._connection.execute(sql, values).fetchall()

    def _await_payloads(self, block: Block) -> None:
        covered = ((one.payload_hash, position) for position, one in enumerate(block.certificates) if one.payload_hash)
        rows = [(payload_hash, block.index, position) for payload_hash, position in covered]
        self._connection.executemany("INSERT INTO awaited VALUES (?, ?, ?)", rows)

    def _keep(self, payload: Payload) -> None:
        payload_hash = payload.hash()
        if self._select("SELECT 1 FROM erased WHERE payload_hash = ?", (payload_hash,)):
            return
        row = (payload_hash, encode(payload))
        self._connection.execute("INSERT OR IGNORE INTO payloads VALUES (?, ?)", row)
        self._index(payload_hash, payload)

    def _index(self, payload_hash: bytes, payload: Payload) -> None:
        statement = file_statement_in(payload)
        if statement is not None:
            self._connection.execute(
                "INSERT INTO files SELECT ?, block_index, position, payload_hash FROM awaited WHERE payload_hash = ?",
                (statement.sha256, payload_hash),
            )
        self._connection.execute("DELETE FROM awaited WHERE payload_hash = ?", (payload_hash,))

    def _decode_block(self, index: int, encoded: object) -> Block:
        try:
            block = block_codec.decode(encoded if isinstance(encoded, bytes) else b"")
            if block.index != index:
                raise Refused(Rule.B1, f"the block says that its index is {block.index}")
        except Refused as refused:
            raise self._damaged(f"block {index}", refused) from None
        return block

    def _decode_payload(self, payload_hash: bytes, encoded: object) -> Payload:
        try:
            payload = payload_codec.decode(encoded if isinstance(encoded, bytes) else b"")
            if payload.hash() != payload_hash:
                raise Refused(Rule.C3, "its hash is another")
        except Refused as refused:
            raise self._damaged(f"payload {payload_hash.hex()[:16]}…", refused) from None
        return payload

    def _damaged(self, what: str, refused: Refused) -> DamagedStore:
        return DamagedStore(f"{self.path}: {what} was altered: {refused}", refused)


def _check_format(path: Path, connection: sqlite3.Connection) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != _APPLICATION_ID:
        raise StoreError(f"{path} is the database of another program; name the file of a tallystick chain")
    if version != FORMAT_VERSION:
        known = f"this program knows format {FORMAT_VERSION}"
        raise StoreError(f"{path} has format {version}, {known}; open it with the version that wrote it")


def _read_genesis(path: Path, connection: sqlite3.Connection) -> Genesis:
    rows = connection.execute("SELECT encoded FROM genesis").fetchall()
    if len(rows) != 1 or not isinstance(rows[0][0], bytes):
        raise DamagedStore(f"{path}: its genesis is missing; restore the file from a copy")
    try:
        return decode_genesis(rows[0][0])
    except Refused as refused:
        raise DamagedStore(f"{path}: its genesis was altered: {refused}", refused) from None
