"""A proof as files: beside the document, FILE.tlog-proof, and what did not fit in FILE.members and FILE.payload.

Or in the document, if that is a PDF. A time stamp is beside it in both cases, as FILE.tsr.
"""

from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from tallystick.client.pdf_files import carried_in
from tallystick.client.time_stamp_token import MAX_TOKEN_BYTES
from tallystick.host.trust import KeptProof
from tallystick.ledger.bundle import MAX_MEMBERS_BYTES, Bundle, extra_codec, read_bundle
from tallystick.ledger.certificate import payload_codec
from tallystick.ledger.errors import NotProven, Refused
from tallystick.ledger.file_statement import FileStatement
from tallystick.ledger.tlog_proof import MAX_PROOF_BYTES, parse_proof
from tallystick.problems import UnreadableFile
from tallystick.storage.described_files import describe_file, describe_stream, opened, read_bounded

PROOF: Final = ".tlog-proof"
MEMBERS: Final = ".members"
PAYLOAD: Final = ".payload"
TIME_STAMP: Final = ".tsr"
"""Beside any proof: a TimeStampResp (RFC 3161) over its note, as it was received."""

_BEGINS: Final = b"c2sp.org/tlog-proof@"


class RawProof(NamedTuple):
    """The bytes of a proof, and of the files beside it that are there."""

    proof: bytes
    members: bytes | None = None
    payload: bytes | None = None
    time_stamp: bytes | None = None

    @property
    def bundle(self) -> Bundle:
        """The proof. Raises `Refused` (P1, P2)."""
        return read_bundle(self.proof, self.members, self.payload)

    @property
    def note(self) -> bytes:
        """The signed note at its end: what a time stamp is over. Raises `Refused` (P1)."""
        return parse_proof(self.proof).checkpoint.encoded.encode()

    @property
    def kept(self) -> KeptProof:
        """What shows a history: without the payload."""
        has_members, _ = _stands_beside(self.proof)
        return KeptProof(self.proof, self.members if has_members else None)


class Found(NamedTuple):
    """What is to be verified."""

    name: str
    document: FileStatement | None
    """The file at hand; `None`: a proof was named, and no document is compared."""
    path: Path | None
    """The proof's."""
    files: RawProof | None
    """`None`: there is no proof."""
    is_stream: bool = False
    """Nothing can stand beside it."""
    is_attached: bool = False
    """A PDF that carries its proof: the document is the PDF as it was before that was attached."""
    changed: NotProven | None = None
    """Why it is not exactly that PDF with its proof (P16)."""
    ignored: Path | None = None
    """A proof beside it, which does not count."""


def find_proof(path: Path, proof: Path | None = None) -> Found:
    """A document with the proof beside it, or the one that is named; or a proof alone. Raises `UnreadableFile`.

    Its name makes it a proof alone: whatever is in a document, that it is itself a proof certifies nothing of it. A
    proof that a PDF carries comes before one beside it. With one that is named, the document is the file as it is.
    """
    if proof is None and path.name.endswith(PROOF):
        return Found(path.name, None, path, read_proof(path))
    document = describe_file(path)
    beside = proof or path.with_name(path.name + PROOF)
    is_beside = proof is None and is_there(beside)
    carried = carried_in(path) if proof is None else None
    if carried is not None and (carried.proof is not None or not is_beside):
        files = RawProof(*carried.proof, time_stamp=_token(path)) if carried.proof is not None else None
        ignored = beside if is_beside else None
        document, changed = carried.document, carried.changed
        return Found(path.name, document, path, files, is_attached=True, changed=changed, ignored=ignored)
    files = read_proof(beside) if proof is not None or is_beside else None
    return Found(path.name, document, beside if files else None, files)


def counted_proof(path: Path) -> tuple[Found, RawProof]:
    """The proof that counts of a document, or a proof itself, so that it may be replaced.

    Raises `Refused` (P16) for a PDF that was changed after its proof was attached, `UnreadableFile`.
    """
    found = find_proof(path)
    if found.changed is not None:
        raise found.changed
    if found.files is None:
        raise UnreadableFile(f"{path} carries no proof any more; tallystick prove makes one")
    return found, found.files


def find_proof_of_stream(name: str, stream: BinaryIO, proof: Path | None = None) -> Found:
    """The same for what comes in a stream: always a document. Raises `UnreadableFile`."""
    files = read_proof(proof) if proof is not None else None
    return Found(name, describe_stream(name, stream), proof, files, is_stream=True)


def document_of(path: Path) -> Path:
    """The document that a proof is of, by its name; any other file is itself one."""
    return path.with_name(path.name.removesuffix(PROOF))


def read_proof(path: Path) -> RawProof:
    """A proof, and the files beside it. Raises `UnreadableFile`."""
    base = document_of(path)
    proof = read_bounded(path, MAX_PROOF_BYTES)
    if proof is None and is_there(path):
        raise UnreadableFile(f"{path} is a directory or a device, and no proof; name the proof with --proof")
    if proof is None:
        raise UnreadableFile(f"there is no proof {path}; tallystick prove makes one, or ask whoever gave you the file")
    has_members, has_payload = _stands_beside(proof)
    members = read_bounded(base.with_name(base.name + MEMBERS), MAX_MEMBERS_BYTES) if has_members else None
    payload = read_bounded(base.with_name(base.name + PAYLOAD), payload_codec.max_bytes) if has_payload else None
    return RawProof(proof, members, payload, _token(base))


def _token(document: Path) -> bytes | None:
    """The time stamp beside a document with a proof."""
    return read_bounded(document.with_name(document.name + TIME_STAMP), MAX_TOKEN_BYTES)


def _stands_beside(proof: bytes) -> tuple[bool, bool]:
    """Whether the proof lacks its hand-over, or its payload: another file of such a name does not belong to it."""
    try:
        extra = extra_codec.decode(parse_proof(proof).extra or b"")
    except Refused:
        return False, False
    return extra.hand_over is None, extra.payload is None and extra.certificate.payload_hash is not None


def is_there(path: Path, advice: str = "name its proof with --proof") -> bool:
    """Whether anything is there. Raises `UnreadableFile` where a name is too long, or a folder may not be read."""
    try:
        return path.exists()
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}; {advice}") from None


def is_proof(path: Path) -> bool:
    """Whether the file begins as a proof does. Raises `UnreadableFile`."""
    with opened(path) as file:
        return file is not None and file.read(len(_BEGINS)) == _BEGINS
