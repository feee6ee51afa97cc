"""The statement about a file: a payload that holds its name, size and hash, never its content."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from tallystick.ledger.certificate import Payload
from tallystick.ledger.encoding import Codec
from tallystick.ledger.errors import Refused
from tallystick.ledger.fields import NO_CONTROLS, Digest

FILE_MEDIA_TYPE: Final = "application/vnd.tallystick.file"
MAX_FILE_NAME_CHARACTERS: Final = 255


class FileStatement(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Which bytes are certified. The name and the note are for people; the hash and the size decide."""

    name: Annotated[str, Meta(min_length=1, max_length=MAX_FILE_NAME_CHARACTERS, pattern=NO_CONTROLS)]
    size_bytes: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    sha256: Digest
    note: Annotated[str, Meta(max_length=1024, pattern=NO_CONTROLS)] = ""


file_statement_codec: Final[Codec[FileStatement]] = Codec(FileStatement, 8 * 1024, "file statement")


def file_payload(statement: FileStatement, salt: bytes) -> Payload:
    """The payload that a certificate covers; `salt` is `SALT_BYTES` fresh random bytes. Raises `Refused` (E2)."""
    return Payload(salt, "", FILE_MEDIA_TYPE, file_statement_codec.encode_checked(statement))


def file_statement_in(payload: Payload) -> FileStatement | None:
    """What a payload states about a file; `None` when it is about something else, or badly written."""
    if payload.media_type != FILE_MEDIA_TYPE:
        return None
    try:
        return file_statement_codec.decode(payload.content)
    except Refused:
        return None
