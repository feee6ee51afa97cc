"""What a file would be if one byte of it were another."""

from pathlib import Path
from typing import Any

from tallystick.storage.file_statement import FileStatement, Readable, describe_stream


def with_one_byte_changed(path: Path, size_bytes: int) -> FileStatement:
    """What the file would be described as with one bit of its middle byte turned; the file itself stays as it is."""
    with path.open("rb") as stream:
        return describe_stream(path.name, _OneByteChanged(stream, size_bytes // 2))


class _OneByteChanged:
    def __init__(self, stream: Any, place: int) -> None:
        self._stream: Readable = stream
        self._left = place

    def read(self, size_bytes: int, /) -> bytes:
        chunk = bytearray(self._stream.read(size_bytes) or b"")
        if 0 <= self._left < len(chunk):
            chunk[self._left] ^= 1
        self._left -= len(chunk)
        return bytes(chunk)
