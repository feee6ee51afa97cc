"""Copying what can be read of a damaged file of a chain into a new one."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tallystick.ledger.errors import Refused
from tallystick.ledger.genesis import Genesis, decode_genesis
from tallystick.problems import DamagedStore
from tallystick.storage.schema import KEPT, write_schema
from tallystick.storage.sqlite_file import database_files, free_name, remove_database, sync_folder
from tallystick.storage.store import Store

_BEYOND_THE_END: Final = 65_536
"""How many row numbers are tried, one by one, past the last row that can be read."""
_ROWS_AT_ONCE: Final = 1_000
_PAGE_BYTES: Final = 4_096
_PAGES_FIELD: Final = slice(28, 32)
_FREE_PAGES_FIELDS: Final = slice(32, 40)

_DAMAGE: Final = (sqlite3.DatabaseError, MemoryError, OverflowError)
"""What reading a damaged page raises; a damaged length can look like more than there is memory."""

Lost = dict[str, list[tuple[int, int]]]
"""By table: first and last row number of stretches that could not be read; a block's number is its index."""


def salvage(path: Path, target: Path) -> Lost:
    """Copy all rows that can be read into a new file, which is then for `Check` to look at; the old one stays as it is.

    Raises `StoreError` when not even the genesis can be read: then the file is lost.
    """
    try:
        return _copy(path, target)
    except DamagedStore:
        with TemporaryDirectory(dir=target.parent) as folder:
            mended = Path(folder) / "mended.db"
            if not _mend_first_page(path, mended, Path(folder) / "fresh.db"):
                raise
            return _copy(mended, target)


def salvage_in_place(path: Path) -> tuple[Lost, Path]:
    """Put what can be read in the file's place; returns that, and where the damaged file is kept now.

    Whenever this is cut off, `finish_salvage` comes first the next time. Raises `StoreError`; then nothing has changed.
    """
    unfinished = path.with_name(f"{path.stem}.unfinished{path.suffix}")
    remove_database(unfinished)
    lost = salvage(path, unfinished)
    unfinished.replace(_salvaged_name(path))
    sync_folder(path)
    return lost, _swap(path)


def finish_salvage(path: Path) -> Path | None:
    """If a salvage was cut off while files changed places: end it, and return where the damaged file is kept."""
    if path.exists() or not _salvaged_name(path).exists():
        return None
    return _swap(path)


def _swap(path: Path) -> Path:
    kept = free_name(path, back=0 if path.exists() else 1)
    for old in database_files(path):  # the file itself goes first: where it is missing, no node starts on the rest
        old.replace(kept.with_name(kept.name + old.name.removeprefix(path.name)))
    _salvaged_name(path).replace(path)
    sync_folder(path)
    return kept


def _salvaged_name(path: Path) -> Path:
    return path.with_name(f"{path.stem}.salvaged{path.suffix}")


def _copy(path: Path, target: Path) -> Lost:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as source:
        source.text_factory = bytes
        genesis = _genesis(path, source)
        with Store.create(target, genesis) as store:
            return {table: _copy_table(source, store, table) for table in KEPT if table != "genesis"}


def _genesis(path: Path, source: sqlite3.Connection) -> Genesis:
    try:
        ((encoded,),) = source.execute("SELECT encoded FROM genesis").fetchall()
        return decode_genesis(encoded)
    except (*_DAMAGE, Refused, ValueError, TypeError) as error:
        advice = "restore a backup; or keep key and guard, set the rest aside, and join the ledger anew"
        reason = f" ({error})" if isinstance(error, sqlite3.Error | Refused) else ""
        raise DamagedStore(f"{path}: its genesis cannot be read{reason}; {advice}") from None


def _copy_table(source: sqlite3.Connection, store: Store, table: str) -> list[tuple[int, int]]:
    columns = [row[1].decode() for row in store.database.select(f"PRAGMA table_info({table})")]
    lost: list[tuple[int, int]] = []
    sql = f"INSERT OR IGNORE INTO {table} VALUES (?{', ?' * (len(columns) - 1)})"  # noqa: S608
    rows = _readable_rows(source, table, ", ".join(columns), lost)
    while batch := [row[1:] for row in islice(rows, _ROWS_AT_ONCE)]:
        with store.database.transaction(sum(len(one) for row in batch for one in row if isinstance(one, bytes))):
            store.database.execute_many(sql, batch)
    return lost


def _readable_rows(
    connection: sqlite3.Connection, table: str, columns: str, lost: list[tuple[int, int]]
) -> Iterator[tuple[Any, ...]]:
    """Row number and columns of every row that can be read, in order; a row is either whole or left out.

    `lost` gets the first and the last row number of each stretch in which something cannot be read.
    """
    sql = f"SELECT rowid, {columns} FROM {table} WHERE rowid >= ? ORDER BY rowid"  # noqa: S608
    last = _last_row(connection, table)
    good_to = position = 1
    while position <= (good_to + _BEYOND_THE_END if last is None else last):
        try:
            for row in connection.execute(sql, (position,)):
                if row[0] < position:
                    raise sqlite3.DatabaseError("a damaged page leads back")
                if good_to < position:
                    lost.append((good_to, position - 1))
                yield row
                good_to = position = row[0] + 1
            break
        except _DAMAGE:
            position += 1
    if good_to < position:
        lost.append((good_to, position - 1))


def _last_row(connection: sqlite3.Connection, table: str) -> int | None:
    """The last row number; `None` when that cannot be read."""
    try:
        ((last,),) = connection.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchall()  # noqa: S608
    except _DAMAGE:
        return None
    return int(last)


def _mend_first_page(path: Path, mended: Path, fresh: Path) -> bool:
    """Copy the file with a new first page, which holds the list of tables: that is the same in every such file.

    Also mends a file that is cut short. What the write-ahead log held is left behind.
    """
    with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        write_schema(connection)
        connection.execute("COMMIT")
    shutil.copyfile(path, mended)
    first = bytearray(fresh.read_bytes()[:_PAGE_BYTES])
    pages = mended.stat().st_size // _PAGE_BYTES
    first[_PAGES_FIELD] = pages.to_bytes(4, "big")
    first[_FREE_PAGES_FIELDS] = bytes(8)
    with mended.open("r+b") as file:
        file.write(first)
        file.truncate(pages * _PAGE_BYTES)
    return pages > 1
