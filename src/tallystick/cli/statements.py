"""What is to be certified: files by name, statements in words, and the rows of a CSV file."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick.host.control import MAX_BATCH, NewStatement
from tallystick.ledger.certificate import SALT_BYTES, Payload, Statement, certificate_codec, payload_codec
from tallystick.ledger.errors import Refused
from tallystick.ledger.fields import MAX_SUBJECT_CHARACTERS, ZERO_DIGEST
from tallystick.problems import HostError
from tallystick.storage.file_statement import FILE_MEDIA_TYPE, describe_file, file_payload

NOTE_MEDIA_TYPE: Final = "text/plain"
COLUMNS: Final = ("subject", "file", "note", "media_type")

_MOST_BATCH_BYTES: Final = 16 * 1024 * 1024
_MOST_MISTAKES: Final = 10


class BadBatch(HostError):
    """Rows that cannot be certified; nothing was sent. `mistakes` names each with its line."""

    def __init__(self, path: Path, mistakes: Sequence[str]) -> None:
        more = f"; and {len(mistakes) - _MOST_MISTAKES} more" if len(mistakes) > _MOST_MISTAKES else ""
        told = "; ".join(mistakes[:_MOST_MISTAKES])
        super().__init__(f"{path}: {told}{more}. Nothing was certified: mend the file and try again")


@dataclass(frozen=True)
class Draft:
    """A statement to be signed, and the file that it is about, if any."""

    statement: NewStatement
    file: Path | None = None

    @property
    def title(self) -> str:
        """What to call it on a line."""
        return self.file.name if self.file else self.statement.subject or "(no subject)"


def about_file(path: Path, subject: str | None, note: str) -> Draft:
    """A statement of a file's name, size and hash. Raises `UnreadableFile`, `Refused` (E1, E2)."""
    described = describe_file(path, note)
    content = file_payload(described, bytes(SALT_BYTES)).content
    said = f"File {described.name}"[:MAX_SUBJECT_CHARACTERS] if subject is None else subject
    return _checked(Draft(NewStatement(said, FILE_MEDIA_TYPE, content), path))


def in_words(subject: str, note: str, media_type: str) -> Draft:
    """A statement without a file; the note is its payload. Raises `Refused` (E1, E2)."""
    if not note:
        return _checked(Draft(NewStatement(subject)))
    return _checked(Draft(NewStatement(subject, media_type or NOTE_MEDIA_TYPE, note.encode())))


def read_batch(path: Path) -> list[Draft]:
    """The rows of a CSV file with the columns `COLUMNS`, of which all but one may be missing.

    Files are named from the CSV's own folder. Raises `BadBatch` with all lines that are wrong, `HostError`.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return _read_rows(path, csv.DictReader(stream, strict=True))
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}; name a CSV file") from None
    except UnicodeDecodeError as error:
        raise HostError(f"{path} is not UTF-8 (byte {error.start}); save it so, and try again") from None
    except csv.Error as error:
        raise HostError(f"{path} is no CSV file: {error}") from None


def in_batches(drafts: Sequence[Draft]) -> Iterator[list[Draft]]:
    """Cut into what one request may hold."""
    batch: list[Draft] = []
    size_bytes = 0
    for draft in drafts:
        if batch and (len(batch) == MAX_BATCH or size_bytes > _MOST_BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(draft)
        size_bytes += len(draft.statement.content)
    if batch:
        yield batch


def _read_rows(path: Path, rows: "csv.DictReader[str]") -> list[Draft]:
    _check_columns(path, rows.fieldnames or ())
    drafts: list[Draft] = []
    mistakes: list[str] = []
    lines: dict[tuple[str | None, ...], str] = {}
    for row in rows:
        line = f"line {rows.line_num}"
        try:
            drafts.append(_read_row(path.parent, row))
        except (HostError, Refused) as error:
            mistakes.append(f"{line}: {error}")
            continue
        twin = lines.setdefault(tuple(row.values()), line)
        if twin != line:
            mistakes.append(f"{line}: says the same as {twin}")
    if mistakes:
        raise BadBatch(path, mistakes)
    if not drafts:
        raise HostError(f"{path} has no rows below its first line: there is nothing to certify in it")
    return drafts


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    known = f"the first line names the columns: subject or file, and as you need them {', '.join(COLUMNS)}"
    strange = [one for one in columns if one not in COLUMNS]
    if strange:
        raise HostError(f"{path} has a column {strange[0]!r}; {known}")
    if len(set(columns)) != len(columns):
        raise HostError(f"{path} has a column twice; {known}")
    if not {"subject", "file"} & set(columns):
        raise HostError(f"{path} has neither a column subject nor a column file; {known}")


def _read_row(folder: Path, row: dict[str, str | None]) -> Draft:
    if None in row:
        raise HostError("more fields than columns; put a field with a comma in double quotes")
    if None in row.values():
        raise HostError("fewer fields than columns")
    subject, file, note, media_type = ((row.get(column) or "").strip() for column in COLUMNS)
    if file:
        if media_type:
            raise HostError("a media type is the note's, and with a file the note is a line of text; leave it empty")
        return about_file(folder / file, subject or None, note)
    if not subject:
        raise HostError("neither a subject nor a file")
    if media_type and not note:
        raise HostError("a media type without a note")
    return in_words(subject, note, media_type)


def _checked(draft: Draft) -> Draft:
    """Hold it to what the node will hold it to. Raises `Refused` (E1, E2)."""
    said = draft.statement
    certificate_codec.encode_checked(Statement(ZERO_DIGEST, 0, said.subject, ZERO_DIGEST))
    if said.media_type:
        payload_codec.encode_checked(Payload(bytes(SALT_BYTES), said.media_type, said.content))
    return draft
