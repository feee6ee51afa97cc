"""Proofs in PDF files: attached after the PDF that they are of, found there, and told from any other change of it.

What a PDF holds is read by pypdf, of the extra `pdf`; what is attached is written by `proof.pdf_revision`.
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, Self

from tallystick.client.drafts import UNDER_WAY
from tallystick.ledger.errors import NotProven, Rule
from tallystick.ledger.file_statement import FileStatement
from tallystick.problems import CannotMake, Problem, UnreadableFile
from tallystick.proof.pdf_revision import (
    MARK_BYTES,
    NAMES,
    AttachedProof,
    Mark,
    PdfBase,
    check_revision,
    find_mark,
    is_marked,
    marks_in,
    write_revision,
)
from tallystick.proof.pdf_syntax import MalformedPdf, entries, items, number, reference, string, value_at
from tallystick.storage.described_files import describe_stream, opened
from tallystick.storage.sqlite_file import sync_folder

if TYPE_CHECKING:
    from pypdf import PdfReader

MAX_PDF_BYTES: Final = 128 * 1024 * 1024

_MAX_REVISION_BYTES: Final = 16 * 1024 * 1024
_BEGINS: Final = b"%PDF-"
_PIECE_BYTES: Final = 1024 * 1024
_TAIL_BYTES: Final = 2048
_STARTXREF: Final = re.compile(rb"startxref[\r\n\t ]+(\d{1,10})[\r\n\t ]+%%EOF")
_OBJECT: Final = re.compile(rb"(\d{1,10})[\0\t\n\f\r ]+(\d{1,5})[\0\t\n\f\r ]+obj")
_MOST_NODES: Final = 1_000
_MOST_FIELDS: Final = 100_000
_APPEND_ONLY: Final = 2
_INSTEAD: Final = "certify it without --attach: its proof then stands beside it"

_LOGGER: Final = logging.getLogger("pypdf")
_LOGGER.addHandler(logging.NullHandler())  # it quotes the file; what hinders is told as a problem
_LOGGER.propagate = False


class CannotAttach(Problem):
    """A proof cannot be attached to this file; it can stand beside it."""


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
    prefix, is_attached = _unattached(path)
    try:
        with _Warnings() as warnings:
            read_base(prefix)
        if warnings.told and not is_attached:
            raise CannotAttach(f"is damaged, or is written as few PDF files are; {_INSTEAD}")
    except CannotAttach as problem:
        raise CannotAttach(f"{path} {problem}") from None
    return _described(path.name, prefix, note)


def attach(path: Path, attached: AttachedProof, sha256_then: bytes) -> None:
    """Attach a proof to the PDF of this hash, in place of one that it has: durably, the file is replaced as a whole.

    Raises `CannotAttach`, `UnreadableFile`, `CannotMake`; the file is as it was, then.
    """
    target, before = _place(path)
    prefix, _ = _unattached(path)
    if sha256(prefix).digest() != sha256_then:
        raise CannotAttach(f"{path} was changed after it was certified: nothing is attached to it; certify it anew")
    try:
        revision = write_revision(read_base(prefix), attached)
    except CannotAttach as problem:
        raise CannotAttach(f"{path} {problem}") from None
    if len(revision) > _MAX_REVISION_BYTES:
        raise CannotAttach(f"{path} would carry {len(revision):,} bytes more, which is too much; {_INSTEAD}")
    state = "it is as it was"
    try:
        with TemporaryDirectory(dir=target.parent, prefix=UNDER_WAY) as folder:
            written = Path(folder, "attached.pdf")
            with written.open("wb") as stream:
                stream.writelines((prefix, revision))
                stream.flush()
                os.fsync(stream.fileno())
            shutil.copymode(target, written)
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
    if not prefix.startswith(_BEGINS):
        raise CannotAttach(f"is no PDF file; {_INSTEAD}")
    if len(prefix) > MAX_PDF_BYTES:
        raise CannotAttach(f"is larger than {MAX_PDF_BYTES // 2**20} MiB: no proof is attached to it; {_INSTEAD}")
    try:
        return _Pdf(prefix).base()
    except (CannotAttach, UnreadableFile):
        raise
    except Exception as error:  # of a damaged file, which makes a reader raise anything
        why = str(error) if isinstance(error, MalformedPdf) else type(error).__name__
        raise CannotAttach(f"is damaged, or is written as few PDF files are ({why}); {_INSTEAD}") from None


class _Pdf:
    """A PDF, read by pypdf; values are taken from it as they are written."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        found = list(_STARTXREF.finditer(data, max(0, len(data) - _TAIL_BYTES)))
        if not found:
            raise MalformedPdf("it does not end as a PDF does")
        self._xref_offset = int(found[-1][1])
        self._has_table = data.startswith(b"xref", self._xref_offset)
        if self._has_table:
            self._trailer = entries(value_at(data, data.index(b"trailer", self._xref_offset) + len(b"trailer")))
        else:
            self._trailer = entries(self._object_at(self._xref_offset))
            if self._trailer.get(b"Type") != b"/XRef":
                raise MalformedPdf("its table of objects is not where it says")
        if b"Encrypt" in self._trailer:
            raise CannotAttach(f"is locked (encrypted): nothing can be attached to it; {_INSTEAD}")
        self._reader = _reader(data)

    def base(self) -> PdfBase:
        """What a revision takes over. Raises `CannotAttach`, `MalformedPdf`, and whatever a damaged file leads to."""
        root = reference(self._trailer.get(b"Root"))
        if root is None:
            raise MalformedPdf("its catalog is missing")
        catalog = entries(self._object(*root))
        if catalog.get(b"Type") != b"/Catalog":
            raise MalformedPdf("its catalog is missing")
        self._check_unsigned(catalog)
        if not len(self._reader.pages):
            raise MalformedPdf("it has no page")
        size = number(self._trailer.get(b"Size"))
        if size <= self._highest():
            raise MalformedPdf("it has more objects than it says")
        names = entries(self._resolved(catalog[b"Names"])) if b"Names" in catalog else {}
        attachments = list(self._leaves(names[b"EmbeddedFiles"])) if b"EmbeddedFiles" in names else []
        if taken := {string(name) for name, _ in attachments} & {one.encode() for one in NAMES}:
            told = f"has an attachment {taken.pop().decode()} already, put there by another program"
            raise CannotAttach(f"{told}; {_INSTEAD}")
        return PdfBase(
            size_bytes=len(self._data),
            xref_offset=self._xref_offset,
            has_xref_stream=not self._has_table,
            next_object=size,
            trailer=self._trailer,
            root=root,
            catalog=catalog,
            names=names,
            attachments=attachments,
            associated=items(self._resolved(catalog[b"AF"])) if b"AF" in catalog else [],
        )

    def _check_unsigned(self, catalog: dict[bytes, bytes]) -> None:
        if self._reader.is_encrypted:
            raise CannotAttach(f"is locked (encrypted): nothing can be attached to it; {_INSTEAD}")
        if b"Perms" in catalog:
            raise CannotAttach(f"says which changes of it are allowed (Perms): to attach is one more; {_INSTEAD}")
        if b"AcroForm" not in catalog:
            return
        form = _entry(self._reader.root_object, "/AcroForm")
        if (_entry(form, "/SigFlags") or 0) & _APPEND_ONLY or _has_signature(form):
            raise CannotAttach(f"is signed: to attach anything would break its signature; {_INSTEAD}")

    def _highest(self) -> int:
        used = [one for numbers in self._reader.xref.values() for one in numbers]
        return max(used + list(self._reader.xref_objStm), default=0)

    def _leaves(self, tree: bytes) -> list[tuple[bytes, bytes]]:
        """Names and values of a name tree, in order."""
        found: list[tuple[bytes, bytes]] = []
        left, nodes = [tree], 0
        while left:
            nodes += 1
            if nodes > _MOST_NODES:
                raise MalformedPdf("its list of attachments does not end")
            node = entries(self._resolved(left.pop()))
            left += reversed(items(self._resolved(node[b"Kids"]))) if b"Kids" in node else []
            pairs = items(self._resolved(node[b"Names"])) if b"Names" in node else []
            found += zip(pairs[::2], pairs[1::2], strict=True)
        return found

    def _resolved(self, value: bytes) -> bytes:
        target = reference(value)
        return self._object(*target) if target is not None else value

    def _object(self, number_: int, generation: int) -> bytes:
        """The value of an object, as it is written."""
        if generation == 0 and number_ in self._reader.xref_objStm:
            return self._compressed(number_, self._reader.xref_objStm[number_][0])
        at = self._reader.xref.get(generation, {}).get(number_)
        if at is None or self._reader.xref_free_entry.get(generation, {}).get(number_):
            raise MalformedPdf(f"its object {number_} is missing")
        return self._object_at(at, (number_, generation))

    def _object_at(self, at: int, name: tuple[int, int] | None = None) -> bytes:
        found = _OBJECT.match(self._data, at)
        if found is None or name not in (None, (int(found[1]), int(found[2]))):
            raise MalformedPdf(f"no object begins at byte {at:,}")
        return value_at(self._data, found.end())

    def _compressed(self, number_: int, stream_number: int) -> bytes:
        from pypdf.generic import IndirectObject, StreamObject  # noqa: PLC0415  # of the extra pdf

        stream = IndirectObject(stream_number, 0, self._reader).get_object()
        if not isinstance(stream, StreamObject):
            raise MalformedPdf(f"its object {number_} is missing")
        data = stream.get_data()
        first = number(entries(self._object(stream_number, 0)).get(b"First"))
        pairs = data[:first].split()
        if number_ not in (numbers := [int(one) for one in pairs[::2]]):
            raise MalformedPdf(f"its object {number_} is missing")
        return value_at(data, first + int(pairs[2 * numbers.index(number_) + 1]))


class _Warnings(logging.Handler):
    """What pypdf finds wrong with a PDF, and makes up for: another version of it may do so otherwise."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take a warning."""
        self.told.append(record.getMessage())

    def __enter__(self) -> Self:
        _LOGGER.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        _LOGGER.removeHandler(self)


def _reader(data: bytes) -> "PdfReader":
    try:
        from pypdf import PdfReader  # noqa: PLC0415  # of the extra pdf
    except ImportError:
        needed = "a proof in a PDF file is read with pypdf, which is not installed"
        raise UnreadableFile(f"{needed}; install it: pip install 'tallystick[pdf]'") from None
    return PdfReader(BytesIO(data))


def _has_signature(form: Any) -> bool:
    """Whether a field of the form, or one below it, is a signature that was made."""
    left = [(one, None) for one in _entry(form, "/Fields") or ()]
    for _ in range(_MOST_FIELDS):
        if not left:
            return False
        one, inherited = left.pop()
        field = one.get_object()
        kind = _entry(field, "/FT") or inherited
        if kind == "/Sig" and "/V" in field:
            return True
        left += [(kid, kind) for kid in _entry(field, "/Kids") or ()]
    raise MalformedPdf("its form does not end")


def _entry(held: Any, name: str) -> Any:
    """What a dictionary of pypdf holds, and not the reference to it; `None`: nothing."""
    found = held.get(name)
    return found.get_object() if found is not None else None


def _place(path: Path) -> tuple[Path, tuple[int, ...]]:
    """Where the file itself is, and what changes when anybody writes to it. Raises `UnreadableFile`."""
    try:
        target = path.resolve(strict=True)
        status = target.stat()
    except (OSError, RuntimeError) as error:  # the latter of links in a circle
        told = getattr(error, "strerror", None) or "its links lead nowhere"
        raise UnreadableFile(f"{path} cannot be read: {told}; nothing is attached to it") from None
    return target, (status.st_ino, status.st_size, status.st_mtime_ns)


def _unattached(path: Path) -> tuple[bytes, bool]:
    """The PDF as it was before its proof was attached, and whether one was. Raises `CannotAttach`, `UnreadableFile`."""
    data = _read(path)
    if data is None:
        told = f"is no PDF file, or larger than {MAX_PDF_BYTES // 2**20} MiB"
        raise CannotAttach(f"{path} {told}: no proof is attached to it; {_INSTEAD}")
    mark = find_mark(data)
    if mark is None:
        return data, False
    prefix = data[: mark.prefix_bytes]
    if (changed := _changed(prefix, mark, data)) is not None:
        told = f"{path} carries a proof, and was {changed.reason}"
        raise CannotAttach(f"{told}. Take the PDF as it was out of it first: head -c {mark.prefix_bytes} FILE")
    return prefix, True


def _changed(prefix: bytes, mark: Mark, data: bytes) -> NotProven | None:
    """Why the file is not what attaching the proof to the PDF made."""
    if find_mark(prefix) is not None:
        told = "changed after certification: a proof was attached to it twice"
        return NotProven(Rule.P16, f"{told}, the second time after {len(prefix):,} bytes")
    try:
        check_revision(prefix, read_base(prefix), mark, data)
    except CannotAttach as problem:
        why = str(problem).partition(";")[0]
        told = f"changed after certification: no proof is attached to such a file as its first {len(prefix):,} bytes"
        return NotProven(Rule.P16, f"{told} are, which {why}")
    except NotProven as changed:
        return changed
    return None


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
