"""A disk that remembers every write and sync to it, and shows what could be on it after a power cut at any of them.

SQLite's own files are real; a VFS above them (apsw) writes down what passes. What was synced is on the disk. Of what
was not, each sector may be there or not, in any combination: a seeded one, none, or all.
"""

import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import apsw

SECTOR_BYTES: Final = 512

_CODES: Final[dict[type[Any], int]] = {
    apsw.FullError: sqlite3.SQLITE_FULL,
    apsw.IOError: sqlite3.SQLITE_IOERR,
    apsw.BusyError: sqlite3.SQLITE_BUSY,
    apsw.LockedError: sqlite3.SQLITE_LOCKED,
    apsw.CorruptError: sqlite3.SQLITE_CORRUPT,
    apsw.ReadOnlyError: sqlite3.SQLITE_READONLY,
    apsw.ConstraintError: sqlite3.SQLITE_CONSTRAINT,
}


@dataclass(frozen=True)
class Write:
    """Bytes written at an offset; `size` instead: the file was cut there."""

    name: str
    offset: int
    data: bytes | None


@dataclass(frozen=True)
class Sync:
    """What was written to the file is on the disk from here on; the first one after it was made syncs its folder."""

    name: str
    is_first: bool


@dataclass(frozen=True)
class Delete:
    """The file is gone."""

    name: str


@dataclass(frozen=True)
class Mark:
    """The program had come so far."""

    what: Any


@dataclass
class Disk:
    """The log of one folder, and the faults that are to come: called before each write and sync, and may raise."""

    log: list[Write | Sync | Delete | Mark] = field(default_factory=list)
    before: Callable[[Write | Sync | Delete], None] = lambda event: None
    is_quick: bool = False
    """Whether syncs are not passed on: for looking at what a crash left."""
    vfs: apsw.VFS | None = None

    def note(self, event: Write | Sync | Delete) -> None:
        self.before(event)
        self.log.append(event)

    def connect(self, path: Path, read_only: bool) -> sqlite3.Connection:
        """For `Store`: a connection by way of this disk."""
        self.vfs = self.vfs or _Vfs(self)  # SQLite has it for as long as it is referred to
        flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
        return _Connection(apsw.Connection(str(path), flags=flags, vfs=_name(self)))  # type: ignore[return-value]

    def crash_points(self) -> range:
        """How many events had happened: before the first, after it, … after the last."""
        return range(len(self.log) + 1)

    def after_crash(self, point: int, kept: Literal["lost", "torn", "kept"], chance: random.Random) -> dict[str, bytes]:
        """The files as they could be when the power went after so many events."""
        files: dict[str, bytearray] = {}
        unsynced: dict[str, list[Write]] = {}
        deleted: dict[str, bytearray] = {}
        for event in self.log[:point]:
            match event:
                case Write(name):
                    deleted.pop(name, None)  # a new file of that name takes the place of the old one
                    files.setdefault(name, bytearray())
                    unsynced.setdefault(name, []).append(event)
                case Sync(name, is_first):
                    for write in unsynced.pop(name, []):
                        _apply(files[name], write)
                    if is_first:  # SQLite syncs the folder after a new log's first sync
                        deleted.clear()
                case Delete(name) if name in files:
                    deleted[name] = files.pop(name)
                    unsynced.pop(name, None)
        for name, writes in unsynced.items():
            for write in writes:
                for part in _sectors(write):
                    if kept == "kept" or (kept == "torn" and chance.random() < 0.5):
                        _apply(files[name], part)
        for name, data in deleted.items():
            if kept == "lost" or (kept == "torn" and chance.random() < 0.5):
                files[name] = data
        return {name: bytes(data) for name, data in files.items()}


def _apply(data: bytearray, write: Write) -> None:
    if write.data is None:
        del data[write.offset :]
        return
    end = write.offset + len(write.data)
    if len(data) < end:
        data.extend(bytes(end - len(data)))
    data[write.offset : end] = write.data


def _sectors(write: Write) -> list[Write]:
    """The parts of a write that reach the disk one by one."""
    if write.data is None:
        return [write]
    starts = range(write.offset - write.offset % SECTOR_BYTES, write.offset + len(write.data), SECTOR_BYTES)
    parts = []
    for start in starts:
        first, end = max(0, start - write.offset), start + SECTOR_BYTES - write.offset
        parts.append(Write(write.name, write.offset + first, write.data[first:end]))
    return parts


def _name(disk: Disk) -> str:
    return f"fault-{id(disk)}"


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(_name(disk), "")

    def xOpen(self, name: Any, flags: list[int]) -> "_File":  # noqa: N802
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self._disk.note(Delete(Path(filename).name))
        super().xDelete(filename, syncdir)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk, self._name = disk, Path(path).name if path else None
        self._is_new = bool(path) and not Path(path).exists()
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._name:
            self._disk.note(Write(self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if self._name:
            self._disk.note(Write(self._name, newsize, None))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._name:
            self._disk.note(Sync(self._name, self._is_new))
        if not self._disk.is_quick:
            super().xSync(flags)
        self._is_new = False


class _Connection:
    """What the store uses of `sqlite3.Connection`, over apsw's."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, values: Any = ()) -> Any:
        return self._translated(self._connection.execute, sql, tuple(values))

    def executemany(self, sql: str, rows: Any) -> Any:
        return self._translated(self._connection.executemany, sql, (tuple(row) for row in rows))

    def close(self) -> None:
        with suppress(apsw.Error):
            self._connection.close()

    def _translated(self, call: Callable[..., Any], *arguments: Any) -> "_Rows":
        try:
            return _Rows([tuple(row) for row in call(*arguments)])
        except apsw.Error as error:
            code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), sqlite3.SQLITE_ERROR)
            raised = sqlite3.OperationalError(str(error))
            raised.sqlite_errorcode = code
            raise raised from error


class _Rows(list[Any]):
    def fetchall(self) -> list[Any]:
        return list(self)

    def fetchone(self) -> Any:
        return self[0] if self else None
