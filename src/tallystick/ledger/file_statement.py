"""The statement about a file: a payload that holds its name, size and hash, never its content."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from tallystick.ledger.certificate import AnyCertificate, Payload, Statement, check_payload
from tallystick.ledger.encoding import Codec
from tallystick.ledger.errors import NotProven, Refused, Rule, expect
from tallystick.ledger.fields import NO_CONTROLS, Digest
from tallystick.ledger.kinds import kind_of

FILE_MEDIA_TYPE: Final = "application/vnd.tallystick.file"
MAX_FILE_NAME_CHARACTERS: Final = 255
LACKING: Final = "its content is not in this proof: erased, or left out (FILE.payload)"


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


def check_document(certificate: AnyCertificate, payload: Payload | None, document: FileStatement | None) -> None:
    """Raise `Refused` (P10; C3) unless the payload is the certificate's, and states this document, if there is one.

    Only statements are about files: what else is certified has no status.
    """
    check_payload(certificate, payload)
    if document is None:
        return
    if not isinstance(certificate, Statement):
        raise NotProven(Rule.P10, f"the certificate is no statement about a file: its kind is {kind_of(certificate)}")
    if payload is None and certificate.payload_hash is not None:
        raise NotProven(Rule.P10, f"{LACKING}; nobody can tell from it which document it was about")
    stated = file_statement_in(payload) if payload is not None else None
    if stated is None:
        raise NotProven(Rule.P10, "the certificate is about no file")
    expect(Rule.P10, "SHA-256 of the document", stated.sha256, document.sha256)
    expect(Rule.P10, "size of the document in bytes", stated.size_bytes, document.size_bytes)
