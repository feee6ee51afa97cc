"""Files that say whom the user trusts: a folder that nobody else may change, each file in it written whole."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tallystick.problems import DamagedStore, ExitCode, Problem
from tallystick.storage.sqlite_file import sync_folder


class TrustError(Problem):
    """The folder of what is trusted cannot be used as asked."""


class ChangedByOthers(TrustError):
    """Others may have changed what it says about whom is trusted."""

    code, exit_code = "not-trusted", ExitCode.NOT_TRUSTED


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone with the folder, which is there then. Raises `TrustError`."""
    with explained(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_own_folder(folder)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with explained(folder):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """What hinders writing inside becomes a `TrustError`."""
    try:
        yield
    except OSError as error:
        advice = "make room there, or name a folder of yours with --trust"
        raise TrustError(f"{folder} cannot be written: {error.strerror or error}; {advice}") from None


def check_own_folder(path: Path) -> None:
    """Raise `TrustError` if others may put files into the folder, or take some away."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise TrustError(f"{path} cannot be read: {error.strerror}") from None
    _check_own(path, status, "700")


def _check_own(path: Path, status: os.stat_result, mode: str) -> None:
    if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & 0o022:
        advice = f"make sure that it says what you want, and have it be yours alone: chmod {mode}"
        raise ChangedByOthers(f"{path} may be changed by others, so it says nothing about whom you trust; {advice}")


def read_own(path: Path, most: int) -> bytes | None:
    """A file of at most so many bytes that nobody else can have changed, if it is there.

    Raises `TrustError`, `DamagedStore`.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
            _check_own(path, os.fstat(file.fileno()), "600")
            data = file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TrustError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > most:
        raise DamagedStore(f"{path} is longer than any file of what you trust; restore it from a copy")
    return data


def write_whole(path: Path, data: bytes) -> None:
    """Write all of a file, durably, or nothing. Only under the lock: one writes at a time."""
    new = path.with_name(path.name + ".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path)
