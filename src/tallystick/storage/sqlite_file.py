"""One SQLite file: opened, copied, changed all at once or not at all; and in plain words why that failed."""

import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

from tallystick.ledger.encoding import Codec
from tallystick.problems import CannotMake, DamagedStore, NoChain, StoreError, StoreFailed

_MAGIC: Final = b"SQLite format 3\x00"
_WAIT_SECONDS: Final = 2.0
_CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
_PAGES_AT_ONCE: Final = 1024
_TRANSACTION_BYTES: Final = 16 * 1024
"""About what a transaction writes besides what it is told to keep."""

_DAMAGED: Final = "is damaged, or only a part of a file; check and repair it, or restore it from a backup"
_UNKNOWN: Final = "whether the last change was kept is not known; end this process, and start again from what is there"

_REASONS: Final = {
    sqlite3.SQLITE_BUSY: "is in use by another process; try again when that has ended",
    sqlite3.SQLITE_LOCKED: "is in use by another process; try again when that has ended",
    sqlite3.SQLITE_READONLY: "may not be written by you; change its permissions, or name another file",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that you may read and write it and its folder",
    sqlite3.SQLITE_PERM: "may not be opened by you; change its permissions, or name another file",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full; make room and try again",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error; check it before anything else",
}
_DAMAGES: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT)

_REMOVED: Final = "put the right file in its place while nothing uses it, and start again"

T = TypeVar("T")
Connect = Callable[[Path, bool], sqlite3.Connection]
"""Opens an existing file, read-only if the second argument says so."""


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the rest of it is detail


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into a `StoreError` that says what to do."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a fault in this program
    except sqlite3.Error as error:
        code = _code(error)
        if code in _DAMAGES:
            raise DamagedStore(f"{path} {_DAMAGED} ({error})") from None
        reason = f"{path} {_REASONS.get(code, 'cannot be used')} ({error})"
        raise (StoreFailed if code == sqlite3.SQLITE_IOERR else StoreError)(reason) from None


def decode_column(codec: Codec[T], value: object) -> T:
    """What a column holds; a changed row may hold anything. Raises `Refused` (E1 to E3)."""
    return codec.decode(value if isinstance(value, bytes) else b"")


def check_is_database(path: Path) -> None:
    """Raise `StoreError` unless the file begins like a SQLite database: SQLite would make a missing one."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise StoreError(f"{path} is a directory; name the file of a chain")
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{path} is not a regular file; name the file of a chain")
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except FileNotFoundError:
        raise StoreError(f"there is no file {path}; check its name and the folder you are in") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(f"{path} cannot be read: {reason}; check its permissions") from None
    if not start:
        raise NoChain(f"{path} is empty; name the file of a chain, or remove it")
    if start != _MAGIC:
        raise NoChain(f"{path} is not a database; name the file of a tallystick chain")


def database_files(path: Path) -> list[Path]:
    """Those there are of one database: the file itself first, then the logs that SQLite keeps beside it."""
    names = (path.with_name(path.name + suffix) for suffix in ("", "-journal", "-wal", "-shm"))
    return [name for name in names if name.exists()]


def remove_database(path: Path) -> None:
    """Remove a database that nobody has open, logs and all. Raises `StoreError`."""
    try:
        for file in database_files(path):
            file.unlink()
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror}; move it away") from None


def free_name(path: Path, back: int = 0) -> Path:
    """Where a damaged file is kept aside: the first name that nothing has, or one that many before it."""
    names = [path]
    while not names[1:] or names[-1].exists():
        names.append(path.with_name(f"{path.stem}.damaged-{len(names)}{path.suffix}"))
    return names[max(1, len(names) - 1 - back)]


def make_empty(path: Path) -> None:
    """Make a file where there is none, nor a log of one. Raises `CannotMake`; what is there stays as it is."""
    try:
        for file in database_files(path):
            raise FileExistsError(errno.EEXIST, "", file)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        try:
            sync_folder(path)
        except OSError:
            path.unlink()
            raise
    except FileExistsError as error:
        raise CannotMake(f"{error.filename} exists already; name another file, or move it away") from None
    except OSError as error:
        reason = f"{path} cannot be made: {error.strerror}"
        raise CannotMake(f"{reason}; name a file in a folder that exists and that you may write to") from None


def sync(path: Path) -> None:
    """Have a file or folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make the name of a new file as durable as what will be in it."""
    sync(path.absolute().parent)


def connect(path: Path, read_only: bool) -> sqlite3.Connection:
    """Open an existing file, and change nothing in it yet. Transactions are begun and ended by hand.

    One that only reads may go from thread to thread; two threads at a time may not have it.
    """
    address = path.absolute().as_uri()
    connection = _connect(f"{address}?mode={'ro' if read_only else 'rw'}", not read_only)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema")
    except BaseException as error:
        connection.close()
        is_beside_a_log = path.with_name(path.name + "-wal").exists()
        cannot_open = isinstance(error, sqlite3.Error) and _code(error) == sqlite3.SQLITE_CANTOPEN
        if read_only and cannot_open and not is_beside_a_log:
            return _connect(f"{address}?mode=ro&immutable=1", False)  # in a folder where nobody can write anyway
        raise
    return connection


def _connect(address: str, has_one_thread: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        address, uri=True, isolation_level=None, timeout=_WAIT_SECONDS, check_same_thread=has_one_thread
    )
    connection.text_factory = bytes  # a changed row may hold text that is none
    return connection


def carry_over(connection: sqlite3.Connection, mode: str) -> bool:
    """Copy the write-ahead log into the file; whether that was done.

    A full disk or a reader hinders only that: what is committed is safe.
    """
    try:
        ((is_busy, *_),) = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
    except sqlite3.Error as error:
        if _code(error) not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        return False
    return not is_busy


def copy_database(source: Path, target: Path) -> None:
    """Copy the file as it is at this moment to where nothing is yet; changes made meanwhile are not in the copy.

    The target appears under its name when it is whole and on the disk. Blocks until then, so a node calls it from
    another thread. Raises `StoreError`, and then leaves nothing behind.
    """
    check_is_database(source)
    make_empty(target)
    try:
        with TemporaryDirectory(prefix=f"{target.name}.unfinished-", dir=target.parent) as folder:
            unfinished = Path(folder) / target.name
            _copy(source, unfinished, target)
            sync(unfinished)
            unfinished.replace(target)
        sync_folder(target)
    except BaseException as error:
        with suppress(OSError):
            target.unlink()
        if isinstance(error, OSError):
            raise StoreError(f"{target} cannot be written: {error.strerror}; name another file") from None
        raise


def _copy(source: Path, unfinished: Path, target: Path) -> None:
    with explained(source), closing(connect(source, True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM genesis").fetchall()  # from here on it sees no later changes
        with explained(target), closing(sqlite3.connect(unfinished, isolation_level=None)) as writer:
            writer.execute("PRAGMA synchronous = FULL")
            reader.backup(writer, pages=_PAGES_AT_ONCE, progress=_on_copied)
            writer.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, fit to be moved about


def _on_copied(status: int, left: int, pages: int) -> None:
    """Called after each part, so that Ctrl-C breaks the copying off."""


class Database:
    """A connection that has one user. After a change of unknown outcome it refuses everything (`StoreFailed`)."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._failure: str | None = None
        self._logged_bytes = 0
        self._overwrites = False
        self._identity: tuple[int, int] | None = None

    def prepare_to_write(self) -> None:
        """From here on what is committed is on the disk, and what is deleted is overwritten within its page.

        The write-ahead log is carried over into the file by hand, because SQLite by itself passes over a failed sync.
        """
        for setting in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = FAST", "wal_autocheckpoint = 0"):
            self.connection.execute(f"PRAGMA {setting}").fetchall()
        self._overwrites = True  # a log that was left behind may hold what was erased
        self._carry_over(waits=False)
        self._identity = _identity(self.path)

    def execute(self, sql: str, values: Sequence[object] = ()) -> None:
        """Change something, within a transaction."""
        self.connection.execute(sql, values)

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Change something once for each row, within a transaction."""
        self.connection.executemany(sql, rows)

    def select(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """All rows of a query. Raises `StoreError`."""
        with self._guarded():
            return self.connection.execute(sql, values).fetchall()

    def transaction(self, kept_bytes: int = 0, overwrites: bool = False) -> AbstractContextManager[None]:
        """What happens inside is on the disk afterwards, whole.

        Within another transaction it is a part of that one, and what it raises has to end that one, too.
        `kept_bytes`: about how much is written. With `overwrites`, what is deleted is overwritten wherever it was, in
        the write-ahead log, too. Raises `StoreError`: then nothing has changed, and `StoreFailed`: then nobody knows.
        """
        self._logged_bytes += kept_bytes + _TRANSACTION_BYTES
        if self.connection.in_transaction and self._failure is None:
            if overwrites:
                raise ValueError("what overwrites is a transaction of its own")
            return nullcontext()
        return self._whole(overwrites)

    @contextmanager
    def _whole(self, overwrites: bool) -> Iterator[None]:
        with self._guarded():
            self.connection.execute("BEGIN IMMEDIATE")
            self._overwrites |= overwrites
            try:
                if overwrites:
                    self.connection.execute("PRAGMA secure_delete = ON").fetchall()
                yield
            except BaseException:
                self._roll_back()
                raise
            finally:
                if overwrites:
                    self.connection.execute("PRAGMA secure_delete = FAST").fetchall()
            self._commit(waits=overwrites)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """What is read inside is one state of the file, whatever other processes write meanwhile.

        Within a transaction, or another such state, it is that one.
        """
        if self.connection.in_transaction:
            yield
            return
        with self._guarded():
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                self._roll_back()

    def close(self) -> None:
        """Close the file; when nobody else has it open, all of it is then in this one file, fit to be copied."""
        if self._failure is None:
            with suppress(sqlite3.Error):  # what is committed is safe in the write-ahead log
                self.connection.execute("PRAGMA journal_mode = DELETE")
        self.connection.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        if self._failure is not None:
            raise StoreFailed(self._failure)
        try:
            with explained(self.path):
                yield
        except StoreFailed as failed:
            self._failure = str(failed)
            raise

    def _commit(self, waits: bool) -> None:
        if _identity(self.path) != self._identity:  # SQLite would go on, in a file that nobody finds again
            self._roll_back()
            raise StoreFailed(f"{self.path} was removed or replaced while it was in use; {_REMOVED}")
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            reason = _REASONS.get(_code(error), "cannot be used")
            raise StoreFailed(f"{self.path} {reason} ({error}); {_UNKNOWN}") from None
        if self._overwrites or self._logged_bytes >= _CHECKPOINT_BYTES:
            self._carry_over(waits)

    def _roll_back(self) -> None:
        if self.connection.in_transaction:  # SQLite has ended it by itself after some failures
            try:
                self.connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise StoreFailed(f"{self.path} cannot be used ({error}); {_UNKNOWN}") from None

    def _carry_over(self, waits: bool) -> None:
        """Carry the log over. What has to be overwritten in it stays to be done, as long as somebody reads it."""
        self._logged_bytes = 0
        if not waits:
            self.connection.execute("PRAGMA busy_timeout = 0").fetchall()
        try:
            is_done = carry_over(self.connection, "TRUNCATE" if self._overwrites else "PASSIVE")
            self._overwrites &= not is_done
        finally:
            self.connection.execute(f"PRAGMA busy_timeout = {1000 * _WAIT_SECONDS:.0f}").fetchall()
