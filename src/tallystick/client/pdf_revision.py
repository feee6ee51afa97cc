"""A proof in a PDF file: the one revision that may stand after the PDF that is certified (docs/proofs.md, P16).

It is an incremental update (ISO 32000-1, 7.5.6) that embeds the files of the proof, and changes nothing else. Its bytes
follow from those of the PDF before it and of the proof alone. They are the same for ever: tests/vectors/pdf has them.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from tallystick.client.pdf_syntax import dictionary, string
from tallystick.ledger.errors import NotProven, Rule

NAMES: Final = ("proof.tlog-proof", "proof.members", "proof.payload")
"""What the files of a proof are called in the PDF: as they have to be where they are saved side by side."""

_MARKER: Final = b"\n%tallystick.pdf-proof.v1 "
_MARK: Final = re.compile(
    re.escape(_MARKER)
    + rb"prefix=([1-9]\d{0,11}) proof=([1-9]\d{0,8}) members=(-|[1-9]\d{0,8}) payload=(-|[1-9]\d{0,8})\n"
)
MARK_BYTES: Final = 128
"""No such line is longer."""

_STREAM: Final = b"\nstream\n"
_NOT_CARRIED: Final = frozenset(
    {b"Size", b"Prev", b"XRefStm", b"Type", b"Index", b"W", b"Length", b"Filter", b"DecodeParms", b"DL"}
)
"""Of a trailer, or of the dictionary of a cross-reference stream: what is about that one section of the file."""


class AttachedProof(NamedTuple):
    """The files of a proof, as they are attached."""

    proof: bytes
    members: bytes | None = None
    payload: bytes | None = None

    @property
    def files(self) -> list[tuple[str, bytes]]:
        """Those that there are, by name."""
        return [(name, content) for name, content in zip(NAMES, self, strict=True) if content is not None]


class PdfBase(NamedTuple):
    """What the revision takes over from the PDF before it. Values are as they are written there."""

    size_bytes: int
    xref_offset: int
    """Of its last cross-reference section."""
    has_xref_stream: bool
    """Whether that is a stream: the revision's is then one, too."""
    next_object: int
    """No object has this number, or a higher one."""
    trailer: dict[bytes, bytes]
    root: tuple[int, int]
    """Number and generation of the catalog."""
    catalog: dict[bytes, bytes]
    names: dict[bytes, bytes]
    """The catalog's name dictionary."""
    attachments: list[tuple[bytes, bytes]]
    """Name and file specification of each that is in it, in order."""
    associated: list[bytes]
    """What the catalog's AF holds."""


class Mark(NamedTuple):
    """What a revision says of itself."""

    prefix_bytes: int
    proof: AttachedProof


def find_mark(data: bytes) -> Mark | None:
    """The last revision that begins where it says it does; `None`: there is none. Nothing of it is checked."""
    at = len(data)
    while (at := data.rfind(_MARKER, 0, at)) >= 0:
        found = _MARK.match(data, at)
        if found is not None and int(found[1]) == at:
            return Mark(at, _proof_in(data, found))
    return None


def is_marked(data: bytes) -> bool:
    """Whether a line is there that says of a revision what it is, wherever that begins."""
    return _MARK.search(data) is not None


def marks_in(piece: bytes, offset: int) -> Iterator[bool]:
    """Of each such line in a piece of a file, which begins at that byte: whether it stands where it says."""
    at = 0
    while (found := _MARK.search(piece, at)) is not None:
        yield int(found[1]) == offset + found.start()
        at = found.start() + 1  # the next may begin with the newline that ends this one


def write_revision(base: PdfBase, attached: AttachedProof) -> bytes:
    """What follows the PDF when the proof is attached."""
    proof, members, payload = (b"-" if one is None else b"%d" % len(one) for one in attached)
    told = b"proof=%b members=%b payload=%b" % (proof, members, payload)
    writer = _Writer(base, _MARKER + b"prefix=%d %b\n" % (base.size_bytes, told))
    specifications = [(b"(%b)" % name.encode(), writer.embed(name, content)) for name, content in attached.files]
    tree = writer.add(dictionary({b"Names": _array(_sorted(base.attachments + specifications))}))
    catalog = base.catalog | {
        b"Names": dictionary(base.names | {b"EmbeddedFiles": tree}),
        b"AF": _array([*base.associated, *(one for _, one in specifications)]),
    }
    writer.put(base.root, dictionary(catalog))
    return writer.end()


def check_revision(prefix: bytes, base: PdfBase, mark: Mark, data: bytes) -> None:
    """Raise `NotProven` (P16) unless the file is the PDF, then what `write_revision` makes, and no more."""
    expected, found = write_revision(base, mark.proof), data[mark.prefix_bytes :]
    if expected == found:
        return
    at = next((at for at, pair in enumerate(zip(expected, found, strict=False)) if pair[0] != pair[1]), None)
    if at is not None:
        place, wanted, got = at, f"{expected[at]:02x}", f"{found[at]:02x}"
    elif len(found) > len(expected):
        place, wanted, got = len(expected), "the end", _more(len(found) - len(expected))
    else:
        place, wanted, got = len(found), _more(len(expected) - len(found)), "the end"
    told = (
        f"changed after certification: after the PDF as it was, its first {len(prefix):,} bytes, stands something else"
    )
    raise NotProven(Rule.P16, f"{told} than its proof; byte {len(prefix) + place:,}", wanted, got)


class _Writer:
    """Writes the objects of an incremental update one after the other."""

    def __init__(self, base: PdfBase, begins: bytes) -> None:
        self._base, self._out = base, bytearray(begins)
        self._next = base.next_object
        self._places: dict[tuple[int, int], int] = {}
        """Where each object begins in the file."""

    def embed(self, name: str, content: bytes) -> bytes:
        """Add a file, and its specification: the reference to that."""
        kind = b"/text#2Fplain" if name == NAMES[0] else b"/application#2Foctet-stream"
        size = b"%d" % len(content)
        stream = {b"Type": b"/EmbeddedFile", b"Subtype": kind, b"Params": b"<< /Size %b >>" % size, b"Length": size}
        held = self.add(dictionary(stream) + _STREAM + content + b"\nendstream")
        written = b"(%b)" % name.encode()
        return self.add(
            dictionary(
                {
                    b"Type": b"/Filespec",
                    b"F": written,
                    b"UF": written,
                    b"Desc": b"(Proof that the PDF as it was before this was attached is certified)",
                    b"AFRelationship": b"/Supplement",
                    b"EF": b"<< /F %b /UF %b >>" % (held, held),
                }
            )
        )

    def add(self, value: bytes) -> bytes:
        """Write a new object: the reference to it."""
        self.put((self._next, 0), value)
        self._next += 1
        return b"%d 0 R" % (self._next - 1)

    def put(self, name: tuple[int, int], value: bytes) -> None:
        """Write an object of this number and generation."""
        self._places[name] = self._base.size_bytes + len(self._out)
        self._out += b"%d %d obj\n" % name + value + b"\nendobj\n"

    def end(self) -> bytes:
        """All of it, with the cross-reference section in the form that the PDF has."""
        base, place = self._base, self._base.size_bytes + len(self._out)
        carried = {name: value for name, value in base.trailer.items() if name not in _NOT_CARRIED}
        if base.has_xref_stream:
            self._places[self._next, 0] = place
            number, self._next = self._next, self._next + 1
            rows = [((0, 65535), 0), *sorted(self._places.items())]
            section = b"".join(
                bytes([offset > 0]) + offset.to_bytes(5, "big") + generation.to_bytes(2, "big")
                for (_, generation), offset in rows
            )
            index = _array(b"%d 1" % one for (one, _), _ in rows)
            own = {b"Type": b"/XRef", b"W": b"[1 5 2]", b"Index": index, b"Length": b"%d" % len(section)}
            held = dictionary(own | carried | self._about())
            self._out += b"%d 0 obj\n" % number + held + _STREAM + section + b"\nendstream\nendobj\n"
        else:
            self._out += b"xref\n0 1\n0000000000 65535 f \n"
            for (number, generation), offset in sorted(self._places.items()):
                self._out += b"%d 1\n%010d %05d n \n" % (number, offset, generation)
            self._out += b"trailer\n" + dictionary(carried | self._about()) + b"\n"
        return bytes(self._out + b"startxref\n%d\n%%%%EOF\n" % place)

    def _about(self) -> dict[bytes, bytes]:
        return {b"Size": b"%d" % self._next, b"Prev": b"%d" % self._base.xref_offset}


def _more(count: int) -> str:
    return f"{count:,} byte{'s' if count > 1 else ''} more"


def _proof_in(data: bytes, mark: re.Match[bytes]) -> AttachedProof:
    """The files where they have to be, if the revision is as it has to be."""
    at, found = mark.end(), list[bytes | None]()
    for size in mark.groups()[1:]:
        if size == b"-":
            found.append(None)
            continue
        begins = data.find(_STREAM, at)
        at = (begins if begins >= 0 else len(data)) + len(_STREAM)
        found.append(data[at : at + int(size)])
        at += int(size)
    proof, members, payload = found
    assert proof is not None, "a mark gives its size"
    return AttachedProof(proof, members, payload)


def _sorted(attachments: list[tuple[bytes, bytes]]) -> Iterable[bytes]:
    """A leaf of a name tree: names ascending, each with what it names."""
    for name, value in sorted(attachments, key=lambda one: string(one[0])):
        yield name
        yield value


def _array(values: Iterable[bytes]) -> bytes:
    return b"[%b]" % b" ".join(values)
