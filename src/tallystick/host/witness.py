"""A witness of others' logs: the logs that it knows, and of each the latest checkpoint that it cosigned.

The old size is compared and the new checkpoint kept in one transaction, which is synced before the cosignature is told:
whoever dies in between has cosigned nothing that it does not know of. The file is never to be restored from a copy.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from tallystick.ledger.checkpoint import Checkpoint, signed_at
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.merkle import EMPTY_ROOT
from tallystick.ledger.note import KeyType, Note, NoteKey, parse_key
from tallystick.ledger.tlog_witness import AddCheckpoint, parse_add_checkpoint, witness_cosignature, witness_key
from tallystick.ledger.wallet import Wallet
from tallystick.problems import (
    BadRequest,
    CannotMake,
    DamagedStore,
    NoChain,
    NotThere,
    Problem,
    StoreError,
    StoreFailed,
)
from tallystick.storage.sqlite_file import (
    check_is_database,
    database_files,
    explained,
    make_empty,
    remove_database,
    sync,
    sync_folder,
)

_FORMAT: Final = 1
_WAIT_SECONDS: Final = 10.0
_MAX_LOGS: Final = 10_000
_SCHEMA: Final = """
CREATE TABLE witness (name TEXT NOT NULL, public_key BLOB NOT NULL);
CREATE TABLE logs (origin TEXT PRIMARY KEY, vkey TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL,
  note TEXT NOT NULL, is_witnessed INTEGER NOT NULL, origin_hash TEXT NOT NULL UNIQUE) WITHOUT ROWID;
"""
_ADD_LOG: Final = """
INSERT INTO logs VALUES (?, ?, ?, ?, ?, 1, ?) ON CONFLICT (origin) DO UPDATE SET is_witnessed = 1
"""
_COSIGNED: Final = "SELECT note FROM logs WHERE origin_hash = ? AND is_witnessed AND note != ''"
NEVER_RESTORE: Final = (
    "never restore witness.db from a copy, for it would cosign what conflicts with what it has cosigned: move it and "
    "witness.key away, and make a witness of another name with: tallystick witness new NAME"
)


class UnknownLog(NotThere):
    """No log of this origin is witnessed here."""

    code = "unknown-log"


class NotOfThisLog(Problem):
    """The log's key did not sign the checkpoint."""

    code, http_status = "not-signed", 403


class NotConsistent(Problem):
    """The checkpoint does not go on from the one that was cosigned."""

    code, http_status = "not-consistent", 422


class OtherSize(Problem):
    """The old size is not that of the latest checkpoint that was cosigned."""

    code, http_status = "other-size", 409

    def __init__(self, size: int) -> None:
        super().__init__(f"the latest checkpoint that was cosigned has the size {size}")
        self.size = size


class WitnessedLog(NamedTuple):
    """A log that is witnessed."""

    key: NoteKey
    latest: Checkpoint
    """That was cosigned; of size 0: none was."""


def create_witness(path: Path, name: str, public_key: bytes) -> None:
    """Make the file of a witness that has cosigned nothing, whole or not at all.

    Raises `Problem`, `Refused` (P1 for its name).
    """
    parse_key(witness_key(name, public_key).text)
    unfinished = path.with_name(path.name + ".unfinished")
    if database_files(path):
        raise CannotMake(f"{path} exists already; move it away")
    remove_database(unfinished)
    make_empty(unfinished)
    try:
        unfinished.chmod(0o600)
        with explained(path), closing(_connect(unfinished)) as connection:
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_FORMAT}; COMMIT")
            connection.execute("INSERT INTO witness VALUES (?, ?)", (name, public_key))
        sync(unfinished)
        unfinished.replace(path)
        sync_folder(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be made: {error.strerror}; make room, and run this again") from None
    finally:
        with suppress(StoreError):
            remove_database(unfinished)


class Witness:
    """The file of a witness, open for any thread: one request after the other.

    After a commit of unknown outcome it answers nothing more. Raises `StoreError`.
    """

    def __init__(self, path: Path) -> None:
        with _explained(path):
            check_is_database(path)
        self.path = path
        self._lock = threading.Lock()
        self._failed: StoreFailed | None = None
        with _explained(path):
            self._connection = _connect(path)
        try:
            ((version,),) = self._select("PRAGMA user_version")
            if version != _FORMAT:
                raise StoreError(f"{path} is no witness's file of this version; use the tallystick that made it")
            ((self.name, self.public_key),) = self._select("SELECT * FROM witness")
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @property
    def key(self) -> NoteKey:
        """What operators of logs take."""
        return witness_key(self.name, self.public_key)

    def logs(self) -> list[WitnessedLog]:
        """All that are witnessed, by origin."""
        with self._alone():
            rows = self._select("SELECT * FROM logs WHERE is_witnessed ORDER BY origin")
        return [self._log(row) for row in rows]

    @property
    def is_unused(self) -> bool:
        """Whether it never knew a log, and so has cosigned nothing."""
        with self._alone():
            return not self._select("SELECT 1 FROM logs LIMIT 1")

    def add_log(self, vkey: str) -> NoteKey:
        """Witness a log from now on: its origin is the name of its key. One that was removed goes on where it was.

        Raises `BadRequest`, `Refused` (P1, K1).
        """
        key = parse_key(vkey)
        if key.type != KeyType.LOG:
            raise BadRequest("a log is witnessed by the key that it signs by, of type 0x01 (Ed25519)")
        with self._transaction():
            known = {row[0]: self._log(row).key for row in self._select("SELECT * FROM logs")}
            if known.get(key.name, key) != key:
                raise BadRequest(f"{key.name} is known already, by another key: a log has one; ask its operator")
            if key.name not in known and len(known) >= _MAX_LOGS:
                raise BadRequest(f"{_MAX_LOGS:,} logs are known, removed ones too, the most there can be")
            row = (key.name, key.text, 0, EMPTY_ROOT, "", sha256(key.name.encode()).hexdigest())
            self._connection.execute(_ADD_LOG, row)
        return key

    def remove_log(self, origin: str) -> None:
        """Witness a log no more. What was cosigned of it is kept, so that it is not forgotten. Raises `UnknownLog`."""
        if all(one.key.name != origin for one in self.logs()):
            raise UnknownLog(f"no log {origin} is witnessed here; tallystick witness show has them all")
        with self._transaction():
            self._connection.execute("UPDATE logs SET is_witnessed = 0 WHERE origin = ?", (origin,))

    def checkpoint(self, origin_hash: str) -> str:
        """The latest that was cosigned of the log whose origin has this SHA-256 (hex). Raises `UnknownLog`."""
        with self._alone():
            found = self._select(_COSIGNED, (origin_hash,))
        if not found:
            raise UnknownLog("no checkpoint of a log with this origin was cosigned here")
        return str(found[0][0])

    def add_checkpoint(self, body: bytes, wallet: Wallet, now_s: int) -> str:
        """Cosign what a log asks for: the line of the cosignature, with its end.

        Raises `BadRequest` (400), `UnknownLog` (404), `NotOfThisLog` (403), `OtherSize` (409), `NotConsistent` (422).
        """
        try:
            asked = parse_add_checkpoint(body)
        except Refused as refused:
            raise BadRequest(str(refused)) from None
        with self._transaction():
            key, (origin, size, root) = self._check(asked).key, asked.checkpoint
            line = witness_cosignature(wallet, self.name, asked.note.text, now_s)
            kept = Note(asked.note.text, (key.signature(asked.note.signed_by(key)[0]), line))
            row = (size, root, kept.encoded, origin)
            self._connection.execute("UPDATE logs SET size = ?, root = ?, note = ? WHERE origin = ?", row)
        return line.line + "\n"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread at a time: within a transaction the connection reads what is not committed yet."""
        with self._lock:
            if self._failed is not None:
                raise self._failed
            try:
                with _explained(self.path):
                    yield
            except StoreFailed as failed:
                self._failed = failed
                raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """What happens inside is on the disk afterwards, or nothing has changed; `StoreFailed`: nobody knows which."""
        with self._alone():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._commit()
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            advice = "end this process, and start again from what is there"
            reason = f"whether {self.path} kept the last change is not known ({error})"
            raise StoreFailed(f"{reason}; {advice}") from None

    def _check(self, asked: AddCheckpoint) -> WitnessedLog:
        """The log that the checkpoint is of, if it may be cosigned."""
        log = self._find(asked.checkpoint.origin)
        try:
            if not signed_at(log.key, asked.note):
                raise Refused(Rule.P7, f"it has no signature by the key of {log.key.name}")
        except Refused as refused:
            raise NotOfThisLog(f"{refused}; the log signs each checkpoint by the key that is known here") from None
        if asked.old_size != log.latest.size:
            raise OtherSize(log.latest.size)
        try:
            asked.check_goes_on(log.latest)
        except Refused as refused:
            raise NotConsistent(str(refused)) from None
        return log

    def _find(self, origin: str) -> WitnessedLog:
        """Raises `UnknownLog`."""
        rows = self._select("SELECT * FROM logs WHERE origin = ? AND is_witnessed", (origin,))
        if not rows:
            raise UnknownLog("this log is not witnessed here; ask the witness's operator to add it by its key")
        return self._log(rows[0])

    def _log(self, row: tuple[Any, ...]) -> WitnessedLog:
        origin, vkey, size, root, *_ = row
        try:
            return WitnessedLog(parse_key(vkey), Checkpoint(origin, size, root))
        except Refused as refused:
            raise DamagedStore(f"{self.path} was altered: {refused}; {NEVER_RESTORE}") from None

    def _select(self, sql: str, values: tuple[str, ...] = ()) -> list[Any]:
        with _explained(self.path):
            return self._connection.execute(sql, values).fetchall()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """As any other database; but a backup is of no use to a witness."""
    try:
        with explained(path):
            yield
    except (DamagedStore, NoChain) as problem:
        if NEVER_RESTORE in str(problem):
            raise
        raise DamagedStore(f"{path} is damaged, or no database; {NEVER_RESTORE}") from None


def _connect(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(
        address, uri=True, isolation_level=None, timeout=_WAIT_SECONDS, check_same_thread=False
    )
    for setting in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {setting}").fetchall()
    return connection
