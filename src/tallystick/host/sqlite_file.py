"""Opening a SQLite file, and saying in plain words why that failed."""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tallystick.host.errors import DamagedStore, StoreError

_MAGIC: Final = b"SQLite format 3\x00"
_WAIT_SECONDS: Final = 2.0
_DAMAGED: Final = "is damaged, or only a part of a file; restore it from a copy"

_REASONS: Final = {
    sqlite3.SQLITE_BUSY: "is in use by another process; try again when that has ended",
    sqlite3.SQLITE_LOCKED: "is in use by another process; try again when that has ended",
    sqlite3.SQLITE_READONLY: "may not be written by you; change its permissions, or name another file",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that you may read and write it and its folder",
    sqlite3.SQLITE_PERM: "may not be opened by you; change its permissions, or name another file",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full; make room and try again",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error; copy what is left of it elsewhere",
}
_DAMAGES: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into a `StoreError` that says what to do."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a fault in this program
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the rest of it is detail
        if code in _DAMAGES:
            raise DamagedStore(f"{path} {_DAMAGED} ({error})") from None
        raise StoreError(f"{path} {_REASONS.get(code, 'cannot be used')} ({error})") from None


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
        raise StoreError(f"{path} is empty; name the file of a chain, or remove it")
    if start != _MAGIC:
        raise StoreError(f"{path} is not a database; name the file of a tallystick chain")


def connect(path: Path, read_only: bool) -> sqlite3.Connection:
    """Open an existing file, and change nothing in it yet. Transactions are begun and ended by hand."""
    address = path.absolute().as_uri()
    connection = _connect(f"{address}?mode={'ro' if read_only else 'rw'}")
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema")
    except sqlite3.OperationalError as error:
        connection.close()
        is_beside_a_log = path.with_name(path.name + "-wal").exists()
        if read_only and error.sqlite_errorcode == sqlite3.SQLITE_CANTOPEN and not is_beside_a_log:
            return _connect(f"{address}?mode=ro&immutable=1")  # in a folder where nobody can write anyway
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_to_write(connection: sqlite3.Connection) -> None:
    """What is committed is on the disk, and what is deleted is overwritten."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")


def _connect(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_WAIT_SECONDS)
    connection.text_factory = bytes  # a changed row may hold text that is none
    return connection
