"""The statement about a file: its bytes decide, and whatever cannot be read is told in plain words."""

import os
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from tests.builders import payload, refuses

from tallystick.ledger.certificate import Payload
from tallystick.ledger.errors import Rule
from tallystick.ledger.file_statement import FILE_MEDIA_TYPE, file_payload, file_statement_in
from tallystick.problems import UnreadableFile
from tallystick.storage import described_files
from tallystick.storage.described_files import describe_file, describe_stream

SALT = bytes(32)


def test_a_file_is_described_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(b"abc")
    described = describe_file(path, note="the final version")
    assert (described.name, described.size_bytes) == ("report.pdf", 3)
    assert described.sha256 == sha256(b"abc").digest()
    assert described.note == "the final version"
    renamed = describe_file(path.rename(tmp_path / "other.pdf"))
    assert (renamed.size_bytes, renamed.sha256) == (described.size_bytes, described.sha256)


def test_a_file_larger_than_memory_pieces_is_read_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(3 * 1024 * 1024 + 1)
    assert describe_file(path).sha256 == sha256(bytes(3 * 1024 * 1024 + 1)).digest()


def test_a_payload_gives_its_statement_back() -> None:
    described = describe_stream("a.txt", BytesIO(b"abc"))
    assert file_statement_in(file_payload(described, SALT)) == described
    assert file_payload(described, SALT).hash() != file_payload(described, bytes([1]) * 32).hash()
    assert file_statement_in(payload()) is None


@pytest.mark.parametrize("content", [b"", b"\x93\x01\x02\x03", b"\xc1", b"\x94\xa1x\x01\xc4\x01x\xa0", b"x" * 9000])
def test_a_badly_written_statement_is_none(content: bytes) -> None:
    assert file_statement_in(Payload(SALT, "", FILE_MEDIA_TYPE, content)) is None


@pytest.mark.parametrize("name", ["a\nb\x1b[31m", b"caf\xe9".decode("utf-8", "surrogateescape"), "é" * 300])
def test_a_strange_name_is_written_out(name: str) -> None:
    described = describe_stream(name, BytesIO(b"abc"))
    assert described.name.isprintable()
    assert file_statement_in(file_payload(described, SALT)) == described


def test_a_note_that_is_too_long_or_has_controls_is_refused() -> None:
    for note in ("x" * 1025, "two\nlines"):
        with refuses(Rule.E2):
            describe_stream("a.txt", BytesIO(b"abc"), note)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    empty, pipe = tmp_path / "empty", tmp_path / "pipe"
    empty.touch()
    os.mkfifo(pipe)
    for path, message in (
        (empty, "is empty: there is nothing to certify"),
        (tmp_path, "is a directory; name the files in it"),
        (tmp_path / "gone", "there is no file .*; check its name"),
        (pipe, "is not a file with content of its own"),
        (Path("/dev/zero"), "is not a file with content of its own"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        (tmp_path / "a\0b", "cannot be read: embedded null byte"),
    ):
        with pytest.raises(UnreadableFile, match=message):
            describe_file(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("secret")
    path.chmod(0)
    with pytest.raises(UnreadableFile, match="may not be read by you"):
        describe_file(path)


def test_a_file_that_grows_while_it_is_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one line\n")
    describe = describe_stream

    def and_somebody_writes(*args: Any) -> object:
        with path.open("ab") as file:
            file.write(b"another line\n")
        return describe(*args)

    monkeypatch.setattr(described_files, "describe_stream", and_somebody_writes)
    with pytest.raises(UnreadableFile, match="changed while it was read; try again"):
        describe_file(path)
