"""Reads files that others made: bounded, and regular ones alone; describes them for statements about them."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from tallystick.ledger.file_statement import MAX_FILE_NAME_CHARACTERS, FileStatement, file_statement_codec
from tallystick.problems import UnreadableFile

_CHUNK_BYTES: Final = 1024 * 1024


class Readable(Protocol):
    """Where bytes come from, a piece at a time."""

    def read(self, size_bytes: int, /) -> bytes | None:
        """The next piece, at most this long; empty at the end."""


def describe_file(path: Path, note: str = "") -> FileStatement:
    """Read a file of any size, a piece at a time. Raises `UnreadableFile`, and `Refused` (E2) for an illegal note."""
    try:
        # Not waiting for a writer: a named pipe is turned away below instead of being waited for.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFile(f"{path} is not a file with content of its own; name a regular file")
            statement = describe_stream(path.name, stream, note)
    except IsADirectoryError:
        raise UnreadableFile(f"{path} is a directory; name the files in it one by one") from None
    except FileNotFoundError:
        raise UnreadableFile(f"there is no file {path}; check its name and the folder you are in") from None
    except PermissionError:
        raise UnreadableFile(f"{path} may not be read by you; ask its owner, or change its permissions") from None
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if statement.size_bytes != status.st_size:
        raise UnreadableFile(f"{path} changed while it was read; try again when nobody writes to it")
    return statement


def describe_stream(name: str, stream: Readable, note: str = "") -> FileStatement:
    """Read a stream to its end. Raises `UnreadableFile` when it is empty, `Refused` (E2) for an illegal note."""
    hashed, size_bytes = sha256(), 0
    while chunk := stream.read(_CHUNK_BYTES):
        hashed.update(chunk)
        size_bytes += len(chunk)
    if not size_bytes:
        raise UnreadableFile(f"{name} is empty: there is nothing to certify or to verify in it")
    statement = FileStatement(_encodable(name), size_bytes, hashed.digest(), note)
    file_statement_codec.encode_checked(statement)
    return statement


def read_bounded(path: Path, most: int) -> bytes | None:
    """At most one byte more than may be: that is refused as too long. `None`: no regular file is there."""
    with opened(path) as file:
        return file.read(most + 1) if file is not None else None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO | None]:
    """A regular file, if it is there. Raises `UnreadableFile`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            yield file if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    except FileNotFoundError:
        yield None
    except IsADirectoryError:
        yield None
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _encodable(name: str) -> str:
    """The name as a statement may hold it: control characters and undecodable bytes are written out."""
    escaped = "".join(char if char.isprintable() or char == " " else repr(char)[1:-1] for char in name)
    return escaped.encode("utf-8", "backslashreplace").decode()[:MAX_FILE_NAME_CHARACTERS]
