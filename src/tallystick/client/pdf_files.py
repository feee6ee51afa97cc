"""Proofs in PDF files: attached after the PDF that they are of, found there, and told from any other change of it.

What a PDF holds is read by `client.pdf_reading`; what is attached is written by `client.pdf_revision`.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final, NamedTuple

from tallystick.client.drafts import UNDER_WAY
from tallystick.client.pdf_reading import INSTEAD, CannotAttach, Pdf
from tallystick.client.pdf_revision import (
    MARK_BYTES,
    AttachedProof,
    Mark,
    PdfBase,
    check_revision,
    find_mark,
    is_marked,
    marks_in,
    write_revision,
)
from tallystick.client.pdf_syntax import MalformedPdf
from tallystick.ledger.bundle import extra_codec, hand_over_codec
from tallystick.ledger.certificate import payload_codec
from tallystick.ledger.errors import NotProven, Refused, Rule
from tallystick.ledger.file_statement import FileStatement
from tallystick.ledger.tlog_proof import parse_proof
from tallystick.problems import CannotMake, UnreadableFile
from tallystick.storage.described_files import describe_stream, opened
from tallystick.storage.sqlite_file import sync_folder

MAX_PDF_BYTES: Final = 128 * 1024 * 1024

_MAX_REVISION_BYTES: Final = 16 * 1024 * 1024
_BEGINS: Final = b"%PDF-"
_PIECE_BYTES: Final = 1024 * 1024
_WRITTEN: Final = "attached.pdf"


class Carried(NamedTuple):
    """A PDF with a proof attached to it."""

    document: FileStatement
    """The PDF as it was before."""
    proof: AttachedProof | None
    """`None`: none can be found in it."""
    changed: NotProven | None
    """Why it does not count (P16)."""


class Marked(Enum):
    """Whether a file has the line with which a proof in a PDF begins."""

    NOT = auto()
    THERE = auto()
    """At the place that it says: `verify` takes the proof from it."""
    ELSEWHERE = auto()
    """Only at another: it was changed, or another PDF is in it. A proof beside it comes first."""


def carried_in(path: Path) -> Carried | None:
    """The proof that a PDF carries, and whether the file is exactly what attaching it made; `None`: it carries none.

    Raises `UnreadableFile`, also where pypdf is needed and is not installed.
    """
    data = _read(path)
    return carried_by(path.name, data) if data is not None else None


def carried_by(name: str, data: bytes) -> Carried | None:
    """The same of the bytes of a file. Raises `UnreadableFile` where pypdf is not installed."""
    mark = find_mark(data)
    if mark is not None:
        prefix = data[: mark.prefix_bytes]
        return Carried(_described(name, prefix), mark.proof, _changed(prefix, mark, data))
    if not is_marked(data):
        return None
    told = "changed after certification, or another PDF with a proof is in it: that was attached at another place"
    return Carried(_described(name, data), None, NotProven(Rule.P16, told))


def mark_in(path: Path) -> Marked:
    """Whether a file is a PDF with a proof, and nothing else of it; a piece of it is held. Raises `UnreadableFile`."""
    marked = Marked.NOT
    with _opened(path) as file:
        if file is None or file.read(len(_BEGINS)) != _BEGINS:
            return marked
        held, offset = _BEGINS, 0
        while piece := file.read(_PIECE_BYTES):
            held += piece
            for is_there in marks_in(held, offset):
                if is_there:
                    return Marked.THERE
                marked = Marked.ELSEWHERE
            offset, held = offset + len(held[:-MARK_BYTES]), held[-MARK_BYTES:]
    return marked


def as_it_was(path: Path, note: str = "") -> FileStatement:
    """Describe a PDF, without the proof that it carries.

    Raises `CannotAttach` if none can be attached to it, or if it was changed after that; `UnreadableFile`.
    """
    prefix = _unattached(path)
    try:
        read_base(prefix)
    except CannotAttach as problem:
        raise CannotAttach(f"{path} {problem}") from None
    return _described(path.name, prefix, note)


def attach(path: Path, attached: AttachedProof, sha256_then: bytes) -> None:
    """Attach a proof to the PDF of this hash, in place of one that it has: durably, the file is replaced as a whole.

    Raises `CannotAttach`, `UnreadableFile`, `CannotMake`; the file is as it was, then.
    """
    target, before = _place(path)
    prefix = _unattached(path)
    if sha256(prefix).digest() != sha256_then:
        raise CannotAttach(f"{path} was changed after it was certified: nothing is attached to it; certify it anew")
    revision = _revision(path, prefix, attached)
    state = "it is as it was"
    try:
        with _alone_with(target), TemporaryDirectory(dir=target.parent, prefix=_under_way(target)) as folder:
            written = Path(folder, _WRITTEN)
            with written.open("wb") as stream:
                stream.writelines((prefix, revision))
                stream.flush()
                os.fsync(stream.fileno())
            _give_away(written, target)
            if _place(path) != (target, before):
                raise CannotAttach(f"{path} changed meanwhile: nothing is attached to it; certify it anew")
            written.replace(target)
            state = "it carries its proof, though perhaps not after a power failure"
            sync_folder(target)
    except OSError as error:
        told = f"{path} cannot be written: {error.strerror}; {state}"
        raise CannotMake(f"{told}. Make its folder writable, or certify without --attach") from None


def read_base(prefix: bytes) -> PdfBase:
    """What a revision takes over from a PDF. Raises `CannotAttach`, whose message goes on after the file's name."""
    return _sound(prefix)[1]


def _sound(prefix: bytes) -> tuple[Pdf, PdfBase]:
    if not prefix.startswith(_BEGINS):
        raise CannotAttach(f"is no PDF file; {INSTEAD}")
    if len(prefix) > MAX_PDF_BYTES:
        raise CannotAttach(f"is larger than {MAX_PDF_BYTES // 2**20} MiB: no proof is attached to it; {INSTEAD}")
    with _damage_told():
        pdf = Pdf(prefix)
        return pdf, pdf.base()


@contextmanager
def _damage_told() -> Iterator[None]:
    """Raise `CannotAttach` for whatever a damaged file makes a reader raise."""
    try:
        yield
    except (CannotAttach, UnreadableFile):
        raise
    except Exception as error:
        why = str(error) if isinstance(error, MalformedPdf) else type(error).__name__
        raise CannotAttach(f"is damaged, or is written as few PDF files are ({why}); {INSTEAD}") from None


def _revision(path: Path, prefix: bytes, attached: AttachedProof) -> bytes:
    """What is appended to the PDF, checked as who verifies it does. Raises `CannotAttach`."""
    try:
        revision = write_revision(read_base(prefix), attached)
    except CannotAttach as problem:
        raise CannotAttach(f"{path} {problem}") from None
    if len(revision) > _MAX_REVISION_BYTES:
        raise CannotAttach(f"{path} would carry {len(revision):,} bytes more, which is too much; {INSTEAD}")
    data = prefix + revision
    mark = find_mark(data)
    changed = _changed(prefix, mark, data) if mark is not None else None
    if mark is None or mark.proof != attached or changed is not None:
        why = changed.reason if changed is not None else "it is not found again"
        raise CannotAttach(f"{path} cannot carry this proof: as attached it would be told to be {why}; {INSTEAD}")
    return revision


def _under_way(target: Path) -> str:
    """How the name of a folder begins in which this file is written."""
    return f"{UNDER_WAY}{sha256(os.fsencode(target.name)).hexdigest()[:16]}-"


@contextmanager
def _alone_with(target: Path) -> Iterator[None]:
    """Keep others from attaching to the file meanwhile; remove what one that was killed left beside it.

    Raises `CannotAttach` if another is at it. Where a file system has no locks, nothing is kept away or removed.
    """
    with target.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotAttach(f"another program attaches a proof to {target}; try again when it is done") from None
        except OSError:
            yield
            return
        for left in target.parent.glob(f"{_under_way(target)}*"):
            _remove(left)
        yield


def _remove(left: Path) -> None:
    """Remove a folder of ours that holds nothing but what was to be the file, if it may be removed."""
    with suppress(OSError):
        status = left.stat(follow_symlinks=False)
        is_ours = left.is_dir() and not left.is_symlink() and status.st_uid == os.geteuid()
        if is_ours and {one.name for one in left.iterdir()} <= {_WRITTEN}:
            (left / _WRITTEN).unlink(missing_ok=True)
            left.rmdir()


def _give_away(written: Path, target: Path) -> None:
    """Give a file the owner, group and mode of another. A group that may not be given gets no rights."""
    kept = target.stat()
    has_group = True
    with suppress(PermissionError):
        os.chown(written, kept.st_uid, -1)
    try:
        os.chown(written, -1, kept.st_gid)
    except PermissionError:
        has_group = written.stat().st_gid == kept.st_gid
    shutil.copymode(target, written)
    if not has_group:
        written.chmod(kept.st_mode & 0o707)


def _place(path: Path) -> tuple[Path, tuple[int, ...]]:
    """Where the file itself is, and what changes when anybody writes to it. Raises `UnreadableFile`."""
    try:
        target = path.resolve(strict=True)
        status = target.stat()
    except (OSError, RuntimeError) as error:  # the latter of links in a circle
        told = getattr(error, "strerror", None) or "its links lead nowhere"
        raise UnreadableFile(f"{path} cannot be read: {told}; nothing is attached to it") from None
    return target, (status.st_ino, status.st_size, status.st_mtime_ns)


def _unattached(path: Path) -> bytes:
    """The PDF as it was before its proof was attached, if one was. Raises `CannotAttach`, `UnreadableFile`."""
    data = _read(path)
    if data is not None and path.stat().st_nlink > 1:
        told = f"{path} has several names (hard links), of which one would carry the proof"
        raise CannotAttach(f"{told}; attach it to a copy, or {INSTEAD}")
    if data is None:
        told = f"is no PDF file, or larger than {MAX_PDF_BYTES // 2**20} MiB"
        raise CannotAttach(f"{path} {told}: no proof is attached to it; {INSTEAD}")
    mark = find_mark(data)
    if mark is None:
        return data
    prefix = data[: mark.prefix_bytes]
    if (changed := _changed(prefix, mark, data)) is not None:
        told = f"{path} carries a proof, and was {changed.reason}"
        raise CannotAttach(f"{told}. Take the PDF as it was out of it first: head -c {mark.prefix_bytes} FILE")
    return prefix


def _changed(prefix: bytes, mark: Mark, data: bytes) -> NotProven | None:
    """Why the file is not what attaching the proof to the PDF made."""
    if find_mark(prefix) is not None:
        told = "changed after certification: a proof was attached to it twice"
        return NotProven(Rule.P16, f"{told}, the second time after {len(prefix):,} bytes")
    try:
        _check_needed(mark.proof)
        pdf, base = _sound(prefix)
        check_revision(prefix, base, mark, data)
        with _damage_told():
            pdf.check_shown_by(Pdf(data))
    except CannotAttach as problem:
        why = str(problem).partition(";")[0]
        told = f"changed after certification: no proof is attached to such a file as its first {len(prefix):,} bytes"
        return NotProven(Rule.P16, f"{told} are, which {why}")
    except NotProven as changed:
        return changed
    return None


def _check_needed(attached: AttachedProof) -> None:
    """Raise `NotProven` (P16) if anything is attached that is no file of the proof, which lacks it.

    A proof that cannot be read proves nothing (P1, P2), whatever stands beside it.
    """
    try:
        extra = extra_codec.decode(parse_proof(attached.proof).extra or b"")
    except Refused:
        return
    lacks_payload = extra.payload is None and extra.certificate.payload_hash is not None
    for name, content, is_lacking, codec in (
        ("members", attached.members, extra.hand_over is None, hand_over_codec),
        ("payload", attached.payload, lacks_payload, payload_codec),
    ):
        if content is None:
            continue
        if not is_lacking:
            raise NotProven(Rule.P16, f"changed after certification: {name} are attached that the proof has itself")
        try:
            codec.decode(content)
        except Refused as refused:
            told = f"changed after certification: the {name} attached are none"
            raise NotProven(Rule.P16, f"{told}: {refused.reason}") from None


def _described(name: str, content: bytes, note: str = "") -> FileStatement:
    return describe_stream(name, BytesIO(content), note)


def _read(path: Path) -> bytes | None:
    """A PDF file; `None`: it is none, or larger than any that carries a proof. Raises `UnreadableFile`."""
    with _opened(path) as file:
        if file is None or (begins := file.read(len(_BEGINS))) != _BEGINS:
            return None
        return begins + file.read()


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO | None]:
    """A file that is not larger than any PDF that carries a proof, if there is one. Raises `UnreadableFile`."""
    with opened(path) as file:
        is_too_large = file is not None and os.fstat(file.fileno()).st_size > MAX_PDF_BYTES + _MAX_REVISION_BYTES
        yield None if is_too_large else file
