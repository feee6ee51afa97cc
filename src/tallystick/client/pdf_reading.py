"""Reads PDF files to which a proof is attached: by their objects as they are written, and by pypdf, which has to agree.

pypdf, of the extra `pdf`, is a second opinion: of where the objects are, and of whether it has to mend the file.
"""

import logging
import re
from collections.abc import Iterator
from io import BytesIO
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final, Self

from tallystick.client.pdf_objects import PdfObjects
from tallystick.client.pdf_revision import NAMES, PdfBase
from tallystick.client.pdf_syntax import MalformedPdf, entries, items, number, reference, text, tokens
from tallystick.problems import Problem, UnreadableFile

if TYPE_CHECKING:
    from pypdf import PdfReader

INSTEAD: Final = "leave out --attach: its proof then stands beside it"

_MOST_NODES: Final = 1_000
_MOST_ATTACHMENTS: Final = 10_000
_MOST_SYNTAX_BYTES: Final = 16 * 1024 * 1024
"""Of all values together, without what is in streams."""
_SHORTEST_NAME: Final = min(map(len, NAMES))
_APPEND_ONLY: Final = 2
_REFERS: Final = re.compile(rb"\d{1,10}[\0\t\n\f\r ]+\d{1,5}[\0\t\n\f\r ]+R")

_LOGGER: Final = logging.getLogger("pypdf")
_LOGGER.addHandler(logging.NullHandler())  # it quotes the file; what hinders is told as a problem
_LOGGER.propagate = False


class CannotAttach(Problem):
    """A proof cannot be attached to this file; it can stand beside it."""


class Pdf:
    """A PDF that every reader takes alike."""

    def __init__(self, data: bytes) -> None:
        """Raises `CannotAttach`, `MalformedPdf`, `UnreadableFile`, and whatever a damaged file makes pypdf raise."""
        self._objects = objects = PdfObjects(data)
        if any(b"Encrypt" in one for one in objects.trailers):
            raise CannotAttach(f"is locked (encrypted): nothing can be attached to it; {INSTEAD}")
        root = reference(objects.trailers[0].get(b"Root"))
        if root is None:
            raise MalformedPdf("its catalog is missing")
        self._size_bytes, self._root = len(data), root
        self._catalog = entries(objects.value(*root))
        if self._catalog.get(b"Type") != b"/Catalog":
            raise MalformedPdf("its catalog is missing")
        self._page_count = self._pages()
        with _Warnings() as warnings:
            self._seen_elsewhere = _agreed(_reader(data), objects, root)
        if warnings.told:
            raise MalformedPdf("pypdf has to mend it")

    def base(self) -> PdfBase:
        """What a revision takes over. Raises `CannotAttach`, `MalformedPdf`."""
        objects, catalog = self._objects, self._catalog
        names = entries(objects.resolved(catalog[b"Names"])) if b"Names" in catalog else {}
        attachments = self._leaves(names[b"EmbeddedFiles"]) if b"EmbeddedFiles" in names else []
        associated = items(objects.resolved(catalog[b"AF"])) if b"AF" in catalog else []
        self._check_objects()
        return PdfBase(
            size_bytes=self._size_bytes,
            xref_offset=objects.xref_offset,
            has_xref_stream=not objects.has_table,
            next_object=objects.size,
            trailer=objects.trailers[0],
            root=self._root,
            catalog=catalog,
            names=names,
            attachments=attachments,
            associated=associated,
        )

    def check_shown_by(self, after: "Pdf") -> None:
        """Raise `MalformedPdf` unless the other shows the same: all is there again, but for new attachments."""
        before, later = self._objects, after._objects
        expected = {one: place for one, place in before.places.items() if one != self._root[0]}
        found = {one: place for one, place in later.places.items() if one != self._root[0] and one < before.size}
        about = (b"Root", b"Info", b"ID")
        is_same = (
            expected == found
            and later.trailers[1:] == before.trailers
            and [later.trailers[0].get(one) for one in about] == [before.trailers[0].get(one) for one in about]
            and after._page_count == self._page_count
            and after._beside_attachments() == self._beside_attachments()
        )
        if not is_same:
            raise MalformedPdf("with its proof it would not show the same")

    def _beside_attachments(self) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
        """The catalog, and its name dictionary, without what lists attachments."""
        names = self._objects.resolved(self._catalog[b"Names"]) if b"Names" in self._catalog else b"<<>>"
        catalog = {name: value for name, value in self._catalog.items() if name not in (b"Names", b"AF")}
        return catalog, {name: value for name, value in entries(names).items() if name != b"EmbeddedFiles"}

    def _pages(self) -> int:
        """How many pages the tree has."""
        count, first, left, nodes = 0, b"", [self._catalog.get(b"Pages", b"")], set[bytes]()
        while left:
            one = left.pop()
            node = entries(self._objects.resolved(one))
            if b"Kids" not in node:
                if node.get(b"Type") != b"/Pages":
                    count += 1
                    first = first or one
                continue
            if one in nodes:
                raise MalformedPdf("its tree of pages does not end")
            nodes.add(one)
            left += reversed(items(self._objects.resolved(node[b"Kids"])))
        if not count:
            raise MalformedPdf("it has no page")
        if (told := self._objects.linearized) is not None:
            # Some readers believe this, and no longer once the file is longer than it says.
            page, _ = reference(first) or (0, 0)
            if (number(told.get(b"N")), number(told.get(b"O")), number(told.get(b"P", b"0"))) != (count, page, 0):
                raise MalformedPdf("it says that it is linearized, and has other pages")
        return count

    def _leaves(self, tree: bytes) -> list[tuple[bytes, bytes]]:
        """Names and values of a name tree, in order."""
        found: list[tuple[bytes, bytes]] = []
        left, seen = [tree], set[bytes]()
        while left:
            one = left.pop()
            if one in seen or len(seen) > _MOST_NODES or len(found) + len(left) > _MOST_ATTACHMENTS:
                raise MalformedPdf("its list of attachments does not end")
            seen.add(one)
            node = entries(self._objects.resolved(one))
            pairs = items(self._objects.resolved(node[b"Names"])) if b"Names" in node else []
            found += zip(pairs[::2], pairs[1::2], strict=True)
            left += reversed(items(self._objects.resolved(node[b"Kids"]))) if b"Kids" in node else []
        return found

    def _check_objects(self) -> None:
        """Check what any object of the file holds: signatures, names of attachments, references.

        Raises `CannotAttach`, `MalformedPdf`.
        """
        if b"Perms" in self._catalog:
            raise CannotAttach(f"says which changes of it are allowed (Perms): to attach is one more; {INSTEAD}")
        left = _MOST_SYNTAX_BYTES
        for value in self._values():
            left -= len(value)
            if left < 0:
                raise MalformedPdf("its objects are too many to look through")
            for one, following in pairwise(chain(tokens(value), (b"",))):
                if _is_of_signature(one, following):
                    raise CannotAttach(f"is signed: to attach anything would break its signature; {INSTEAD}")
                if len(one) > _SHORTEST_NAME and one.startswith((b"(", b"<")):
                    _check_is_no_proof(text(one))
                elif one[:1].isdigit() and _REFERS.fullmatch(one):
                    self._check_refers(one)

    def _values(self) -> Iterator[bytes]:
        yield from (self._objects.value(one, place.generation) for one, place in self._objects.places.items())
        for trailer in self._objects.trailers:
            yield from trailer.values()

    def _check_refers(self, written: bytes) -> None:
        """A reference to no object must not lead to one of the revision, nor to one that some readers see."""
        number_, generation = reference(written) or (0, 0)
        place = self._objects.places.get(number_)
        if number_ >= self._objects.size:
            raise MalformedPdf("it refers to objects that it cannot have")
        if place.generation != generation if place is not None else number_ in self._seen_elsewhere:
            raise MalformedPdf(f"its object {number_} was replaced, and is referred to as it was before")


def _is_of_signature(one: bytes, following: bytes) -> bool:
    if one == b"/SigFlags":
        return not following.isdigit() or int(following) & _APPEND_ONLY > 0
    is_type = one == b"/Type" and following in (b"/Sig", b"/DocTimeStamp")
    return is_type or one in (b"/ByteRange", b"/DSS")


def _check_is_no_proof(named: str) -> None:
    if named.strip("\0") in NAMES:
        told = f"has an attachment {named} already, put there by another program"
        raise CannotAttach(f"{told}; {INSTEAD}")


def _agreed(reader: "PdfReader", objects: PdfObjects, root: tuple[int, int]) -> set[int]:
    """The numbers at which pypdf sees objects that are none any more. Raises `MalformedPdf` if it differs otherwise."""
    trailer = reader.trailer
    seen: dict[int, list[tuple[int, int, int | None]]] = {}
    for generation, places in reader.xref.items():
        for number_, at in places.items():
            if number_ or generation != 65535:
                seen.setdefault(number_, []).append((at, generation, None))
    for number_, (stream, index) in reader.xref_objStm.items():
        seen.setdefault(number_, []).append((index, 0, stream))
    told = trailer.raw_get("/Root")
    is_same = (
        (told.idnum, told.generation) == root
        and trailer.get("/Size") == objects.size
        and not reader.is_encrypted
        and all(seen.get(number_) == [place] for number_, place in objects.places.items())
    )
    if not is_same:
        raise MalformedPdf("pypdf finds other objects in it")
    return seen.keys() - objects.places.keys()


class _Warnings(logging.Handler):
    """What pypdf finds wrong with a PDF, and makes up for."""

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
