"""What is to be certified: files by name, statements in words, and the rows of a CSV file."""

import csv
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from tallystick.ledger.certificate import SALT_BYTES, Payload
from tallystick.ledger.fields import MAX_SUBJECT_CHARACTERS, NO_CONTROLS
from tallystick.ledger.file_statement import FileStatement, file_payload
from tallystick.ledger.params import MAX_PAYLOAD_BYTES
from tallystick.problems import Problem
from tallystick.storage.described_files import Readable, describe_file, describe_stream

NOTE_MEDIA_TYPE: Final = "text/plain"
COLUMNS: Final = ("subject", "file", "note", "media_type")
UNDER_WAY: Final = ".tallystick-"
"""How the names of folders begin in which files are written before they take their places."""

_MAX_MEDIA_TYPE_CHARACTERS: Final = 128
_MAX_FILE_NOTE_CHARACTERS: Final = 1024
_MOST_MISTAKES: Final = 10


class CannotCertify(Problem):
    """What was named cannot be certified as it is; nothing was sent."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        """`mistakes` say of each what is wrong, and where."""
        more = f"; and {len(mistakes) - _MOST_MISTAKES:,} more" if len(mistakes) > _MOST_MISTAKES else ""
        super().__init__(f"{'; '.join(mistakes[:_MOST_MISTAKES])}{more}. Nothing was sent: mend it, and try again")


@dataclass(frozen=True)
class Draft:
    """A statement to be signed, and where it comes from."""

    subject: str
    payload: Payload | None
    file: str | None = None
    """As it was named."""
    described: FileStatement | None = None
    line: int | None = None
    """Of the CSV file."""

    @property
    def says(self) -> tuple[str, str, bytes]:
        """All that is stated: two drafts that say the same need one certificate."""
        return said_by(self.subject, self.payload)


def said_by(subject: str, payload: Payload | None) -> tuple[str, str, bytes]:
    """All of a statement but its salt, wherever its subject stands."""
    return (subject or payload.subject, payload.media_type, payload.content) if payload else (subject, "", b"")


Describe = Callable[[Path, str], FileStatement]
"""Describes a file, with a note. Raises `UnreadableFile`, `Problem`."""


def about_file(path: Path, subject: str | None = None, note: str = "", describe: Describe = describe_file) -> Draft:
    """A statement of a file's name, size and hash. Raises `UnreadableFile`, `Problem` for what a field may not hold."""
    return _about(str(path), partial(describe, path), subject, note)


def about_stream(name: str, stream: Readable, subject: str | None = None, note: str = "") -> Draft:
    """The same of what a stream gives until its end."""
    return _about(name, partial(describe_stream, name, stream), subject, note)


def _about(file: str, describe: Callable[[str], FileStatement], subject: str | None, note: str) -> Draft:
    _check_line("subject", subject or "", MAX_SUBJECT_CHARACTERS)
    _check_line("note", note, _MAX_FILE_NOTE_CHARACTERS)
    described = describe(note)
    said = f"File {described.name}"[:MAX_SUBJECT_CHARACTERS] if subject is None else subject
    return Draft(said, file_payload(described, os.urandom(SALT_BYTES)), file, described)


def about_files(
    paths: Iterable[Path], subject: str | None = None, note: str = "", describe: Describe = describe_file
) -> list[Draft]:
    """A statement for each file. Raises `CannotCertify` with all that cannot be read."""
    drafts, mistakes = [], []
    for path in paths:
        try:
            drafts.append(about_file(path, subject, note, describe))
        except Problem as problem:
            mistakes.append(str(problem))
    if mistakes:
        raise CannotCertify(mistakes)
    return drafts


def in_words(subject: str, note: str = "", media_type: str = "") -> Draft:
    """A statement without a file; the note is its payload. Raises `Problem` for what a field may not hold."""
    _check_line("subject", subject, MAX_SUBJECT_CHARACTERS)
    if not note:
        return Draft(subject, None)
    _check_line("media type", media_type, _MAX_MEDIA_TYPE_CHARACTERS)
    content = note.encode("utf-8", "surrogateescape")
    if len(content) > MAX_PAYLOAD_BYTES:
        raise Problem(f"the note has {len(content):,} bytes, {MAX_PAYLOAD_BYTES:,} are allowed; certify it as a file")
    return Draft(subject, Payload(os.urandom(SALT_BYTES), "", media_type or NOTE_MEDIA_TYPE, content))


def files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files of a folder and its sub-folders, in order, and those left out: empty ones, and what is no file.

    What a command that was cut off left half done is neither. Symbolic links to folders are not followed. Raises
    `Problem`.
    """

    def fail(error: OSError) -> None:
        raise Problem(f"{error.filename} cannot be read: {error.strerror}; name a folder that you may read") from None

    found: list[Path] = []
    for here, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(one for one in folders if not one.startswith(UNDER_WAY))
        found += (Path(here, name) for name in sorted(names))
    is_empty = {path: not path.is_file() or not path.stat().st_size for path in found}
    return [one for one in found if not is_empty[one]], [one for one in found if is_empty[one]]


def read_batch(path: Path, describe: Describe = describe_file) -> list[Draft]:
    """The rows of a CSV file with the columns `COLUMNS`, of which all but one may be missing.

    Files are named from the CSV's own folder. Raises `CannotCertify` with all lines that are wrong, `Problem`.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return _read_rows(path, csv.DictReader(stream, strict=True), describe)
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror}; name a CSV file") from None
    except UnicodeDecodeError as error:
        raise Problem(f"{path} is not UTF-8 (byte {error.start}); save it so, and try again") from None
    except csv.Error as error:
        raise Problem(f"{path} is no CSV file: {error}") from None


def _read_rows(path: Path, rows: "csv.DictReader[str]", describe: Describe) -> list[Draft]:
    _check_columns(path, rows.fieldnames or ())
    drafts: list[Draft] = []
    mistakes: list[str] = []
    lines: dict[tuple[str | None, ...], int] = {}
    for row in rows:
        line = rows.line_num
        try:
            drafts.append(_read_row(path.parent, row, line, describe))
        except Problem as problem:
            mistakes.append(f"line {line}: {problem}")
            continue
        twin = lines.setdefault(tuple(row.values()), line)
        if twin != line:
            mistakes.append(f"line {line}: says the same as line {twin}")
    if mistakes:
        raise CannotCertify([f"{path}, {mistakes[0]}", *mistakes[1:]])
    if not drafts:
        raise Problem(f"{path} has no rows below its first line: there is nothing to certify in it")
    return drafts


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    known = f"the first line names the columns: subject or file, and as you need them {', '.join(COLUMNS)}"
    strange = [one for one in columns if one not in COLUMNS]
    if strange:
        raise Problem(f"{path} has a column {strange[0]!r}; {known}")
    if len(set(columns)) != len(columns):
        raise Problem(f"{path} has a column twice; {known}")
    if not {"subject", "file"} & set(columns):
        raise Problem(f"{path} has neither a column subject nor a column file; {known}")


def _read_row(folder: Path, row: dict[str, str | None], line: int, describe: Describe) -> Draft:
    if None in row:
        raise Problem("more fields than columns; put a field with a comma in double quotes")
    if None in row.values():
        raise Problem("fewer fields than columns")
    subject, file, note, media_type = ((row.get(column) or "").strip() for column in COLUMNS)
    if file:
        if media_type:
            raise Problem("a media type is the note's, and with a file the note is a line of text; leave it empty")
        return replace(about_file(folder / file, subject or None, note, describe), line=line)
    if not subject:
        raise Problem("neither a subject nor a file")
    if media_type and not note:
        raise Problem("a media type without a note")
    return replace(in_words(subject, note, media_type), line=line)


def _check_line(what: str, text: str, most: int) -> None:
    """Raise `Problem` unless this is a line of text as a certificate may hold it."""
    if len(text) > most:
        raise Problem(f"the {what} has {len(text):,} characters, {most:,} are allowed")
    if not re.search(NO_CONTROLS, text):
        raise Problem(f"the {what} holds a line break or another control character; it has to be one line of text")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise Problem(f"the {what} holds bytes that are no text; write it in UTF-8")
