"""Copying the file of a chain while a node works with it."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from tallystick.problems import StoreError
from tallystick.storage.sqlite_file import check_is_database, connect, explained, make_empty, sync_folder

_PAGES_AT_ONCE: Final = 1024

Progress = Callable[[int, int], object]
"""Called now and then with how many pages are copied, and how many there are."""


def unheard(copied: int, pages: int) -> None:
    """Nobody wants to hear of it."""


def copy_database(source: Path, target: Path, progress: Progress = unheard) -> None:
    """Copy the file as it is at this moment to where nothing is yet; changes made meanwhile are not in the copy.

    The target appears under its name when it is whole and on the disk. Blocks until then, so a node calls it from
    another thread. Raises `StoreError`, and then leaves nothing behind.
    """
    check_is_database(source)
    make_empty(target)
    unfinished = target.with_name(target.name + ".unfinished")
    try:
        make_empty(unfinished)
        try:
            _copy(source, unfinished, progress)
            unfinished.replace(target)
            sync_folder(target)
        except BaseException:
            _remove(unfinished)
            raise
    except BaseException:
        _remove(target)
        raise


def _copy(source: Path, target: Path, progress: Progress) -> None:
    with explained(source), closing(connect(source, True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM genesis").fetchall()  # from here on it sees no later changes
        with explained(target), closing(sqlite3.connect(target, isolation_level=None)) as writer:
            writer.execute("PRAGMA synchronous = FULL")
            reader.backup(writer, pages=_PAGES_AT_ONCE, progress=lambda _, left, pages: progress(pages - left, pages))
            writer.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, fit to be moved about
    try:
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}; name another file") from None


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
