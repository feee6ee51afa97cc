"""The objects of a PDF: where its cross-reference sections say that they are (ISO 32000-1, 7.5).

Taken is the one form of these that every reader takes alike. What readers mend or skip, each in its own way, is
refused: else they would show one thing before a revision is appended, and another after it.
"""

import re
import zlib
from bisect import bisect_right
from itertools import pairwise
from typing import Final, NamedTuple

from tallystick.client.pdf_syntax import MalformedPdf, entries, items, number, reference, skip, span_at, value_at

_EOL: Final = rb"(?:\r\n|\r|\n)"
_END: Final = re.compile(rb"startxref" + _EOL + rb"(\d{1,10})" + _EOL + rb"%%EOF" + _EOL + rb"?")
_TABLE: Final = re.compile(rb"xref *" + _EOL)
_SUBSECTION: Final = re.compile(rb"(\d{1,10}) (\d{1,10}) *" + _EOL)
_ROW: Final = re.compile(rb"(\d{10}) (\d{5}) ([fn])(?: \r| \n|\r\n)")
_TRAILER: Final = re.compile(_EOL + rb"?trailer[\0\t\n\f\r ]*(?=<<)")
_OBJECT: Final = re.compile(rb"(\d{1,10})[\0\t\n\f\r ]+(\d{1,5})[\0\t\n\f\r ]+obj(?=[\0\t\n\f\r ()<>\[\]{}/%])")
_STREAM: Final = re.compile(rb"stream\r?\n")
_END_OF_STREAM: Final = re.compile(rb"(?:\r\n|\r|\n)?endstream(?=[\0\t\n\f\r ])")
_FLATE: Final = (b"/FlateDecode", b"[/FlateDecode]")
_MOST_SECTIONS: Final = 500
_MOST_ENTRIES: Final = 1_000_000
"""In all sections: each takes some 800 bytes of memory until two readers have compared them."""
_MOST_DECODED_BYTES: Final = 64 * 1024 * 1024
"""Of all streams that are decompressed to find objects."""
_MOST_OBJECTS: Final = 8_000_000
"""Some readers take none from 8,388,608 on (ISO 32000-1, annex C); the revision adds a few."""
_MOST_GENERATION: Final = 65_534
_MOST_WIDE: Final = 8
_FREE, _PLAIN, _COMPRESSED = 0, 1, 2


class Place(NamedTuple):
    """Where an object is."""

    at: int
    """The byte of the file at which it begins; in an object stream, its index."""
    generation: int
    stream: int | None = None
    """The number of the object stream that it is in."""


_Rows = dict[int, Place | None]


class PdfObjects:
    """The objects of a PDF, by number; values are as they are written there."""

    def __init__(self, data: bytes) -> None:
        """Raises `MalformedPdf`."""
        self._data = data
        # Entries take about 20 bytes in a table; compressed they take fewer, but objects take some, too.
        self._entries_left = min(20_000 + len(data) // 8, _MOST_ENTRIES)
        self._decoded_left = min(2**17 + 12 * len(data), _MOST_DECODED_BYTES)
        self._streams: dict[int, list[tuple[int, bytes]]] = {}
        self._values: dict[int, bytes] = {}
        self._begins = set[int]()
        self.xref_offset: Final = _xref_offset(data)
        self.has_table: Final = data.startswith(b"xref", self.xref_offset)
        self.trailers: Final[list[dict[bytes, bytes]]] = []
        """Of each cross-reference section, the last one first; or the dictionary of its stream."""
        self.places: Final[dict[int, Place]] = {}
        """Of each object that there is, by number."""
        self._read_sections()
        self.size: Final = number(self.trailers[0].get(b"Size"))
        if self.size <= max(self.places, default=0):
            raise MalformedPdf("it has more objects than it says")
        if self.size > _MOST_OBJECTS or any(one.generation > _MOST_GENERATION for one in self.places.values()):
            raise MalformedPdf("the numbers of its objects are higher than readers take")
        self._starts = sorted(self._begins | {one.at for one in self.places.values() if one.stream is None})
        self.linearized: Final = self._linearized()
        """What a linearized file says of itself, if it was not updated since."""

    def value(self, number_: int, generation: int = 0) -> bytes:
        """The value of an object; of a stream its dictionary. Raises `MalformedPdf`, also if there is none."""
        place = self.places.get(number_)
        if place is None or place.generation != generation:
            raise MalformedPdf(f"its object {number_} is missing")
        if number_ not in self._values:
            if place.stream is None:
                self._values[number_] = self._plain(number_, place)[0]
            else:
                self._values[number_] = self._compressed(number_, place)
        return self._values[number_]

    def resolved(self, value: bytes) -> bytes:
        """The value, or that of the object that it refers to. Raises `MalformedPdf`."""
        target = reference(value)
        return self.value(*target) if target is not None else value

    # ---- cross-reference sections -----------------------------------------------------------------------------------

    def _read_sections(self) -> None:
        known: _Rows = {}
        at: int | None = self.xref_offset
        while at is not None:
            if at in self._begins or len(self.trailers) == _MOST_SECTIONS:
                raise MalformedPdf("its list of tables of objects does not end")
            self._begins.add(at)
            trailer, rows = self._table(at) if self._data.startswith(b"xref", at) else self._xref_stream(at)
            known = rows | known
            self.trailers.append(trailer)
            at = number(trailer[b"Prev"]) if b"Prev" in trailer else None
        self.places.update((one, place) for one, place in sorted(known.items()) if place is not None)
        if 0 in self.places:
            raise MalformedPdf("it has an object 0")

    def _table(self, at: int) -> tuple[dict[bytes, bytes], _Rows]:
        data, rows = self._data, _Rows()
        if (found := _TABLE.match(data, at)) is None:
            raise MalformedPdf("its table of objects is not in the form of one")
        at = found.end()
        while (found := _SUBSECTION.match(data, at)) is not None:
            at, first, count = found.end(), int(found[1]), int(found[2])
            self._take_entries(count)
            for one in range(first, first + count):
                if (row := _ROW.match(data, at)) is None:
                    raise MalformedPdf("its table of objects is not in the form of one")
                place = Place(int(row[1]), int(row[2])) if row[3] == b"n" else None
                _put(rows, one, place)
                at = row.end()
        if (found := _TRAILER.match(data, at)) is None:
            raise MalformedPdf("its table of objects is not in the form of one")
        trailer = entries(value_at(data, found.end()))
        if b"XRefStm" in trailer:
            self._begins.add(hidden_at := number(trailer[b"XRefStm"]))
            for one, place in self._xref_stream(hidden_at)[1].items():
                if rows.get(one) is None:
                    rows[one] = place
                elif place is not None:
                    raise MalformedPdf(f"its object {one} is at two places")
        return trailer, rows

    def _xref_stream(self, at: int) -> tuple[dict[bytes, bytes], _Rows]:
        value, after = self._object_at(at, len(self._data))
        held, rows = entries(value), _Rows()
        if held.get(b"Type") != b"/XRef" or b"XRefStm" in held:
            raise MalformedPdf("its table of objects is not where it says")
        widths = [number(one) for one in items(held.get(b"W", b""))]
        if len(widths) != 3 or max(widths) > _MOST_WIDE or not sum(widths):
            raise MalformedPdf("its table of objects is not in the form of one")
        index = [number(one) for one in items(held.get(b"Index", b"[0 %d]" % number(held.get(b"Size"))))]
        self._take_entries(sum(index[1::2]))
        content, at = self._decoded(held, after, direct=True), 0
        if len(index) % 2 or len(content) != sum(widths) * sum(index[1::2]):
            raise MalformedPdf("its table of objects is not as long as it says")
        first_of, second_of, _ = widths
        for first, count in zip(index[::2], index[1::2], strict=True):
            for one in range(first, first + count):
                row = content[at : (at := at + sum(widths))]
                kind = int.from_bytes(row[:first_of], "big") if first_of else _PLAIN
                second = int.from_bytes(row[first_of : first_of + second_of], "big")
                third = int.from_bytes(row[first_of + second_of :], "big")
                if kind not in (_FREE, _PLAIN, _COMPRESSED):
                    raise MalformedPdf("its table of objects has an entry of another kind")
                places = {_PLAIN: Place(second, third), _COMPRESSED: Place(third, 0, second)}
                _put(rows, one, places.get(kind))
        return held, rows

    def _take_entries(self, count: int) -> None:
        self._entries_left -= count
        if self._entries_left < 0:
            raise MalformedPdf("its table of objects is too long")

    def _linearized(self) -> dict[bytes, bytes] | None:
        """Readers take another table of a linearized file, the one after its first object: it has to be the same."""
        found = _OBJECT.match(self._data, skip(self._data, 0))
        start, end = span_at(self._data, found.end()) if found is not None else (0, 0)
        held = entries(self._data[start:end]) if self._data.startswith(b"<<", start) else {}
        if b"Linearized" not in held or (length := number(held.get(b"L"))) < len(self._data):
            return None
        after = skip(self._data, end)
        begins = skip(self._data, after + len(b"endobj"))
        if length > len(self._data) or not self._data.startswith(b"endobj", after) or begins != self.xref_offset:
            raise MalformedPdf("it says that it is linearized, and is not")
        return held

    # ---- objects ----------------------------------------------------------------------------------------------------

    def _object_at(self, at: int, limit: int, name: tuple[int, int] | None = None) -> tuple[bytes, int]:
        """The value of the object there, and where in the file what follows it begins."""
        found = _OBJECT.match(self._data, at, limit)
        if found is None or name not in (None, (int(found[1]), int(found[2]))):
            raise MalformedPdf(f"no object begins at byte {at:,}")
        begins = found.end()
        part = self._data if limit == len(self._data) else self._data[begins:limit]
        base = 0 if part is self._data else begins
        start, end = span_at(part, begins - base)
        after = skip(part, end)
        if not part.startswith((b"endobj", b"stream"), after):
            raise MalformedPdf(f"the object at byte {at:,} does not end")
        return part[start:end], base + after

    def _plain(self, number_: int, place: Place) -> tuple[bytes, int]:
        """None reaches beyond the start of the next: so the whole is read once, however often places are nested."""
        following = bisect_right(self._starts, place.at)
        limit = self._starts[following] if following < len(self._starts) else len(self._data)
        return self._object_at(place.at, limit, (number_, place.generation))

    def _compressed(self, number_: int, place: Place) -> bytes:
        assert place.stream is not None, "it is in one"
        if place.stream not in self._streams:
            self._streams[place.stream] = self._object_stream(place.stream)
        held = self._streams[place.stream]
        if place.at >= len(held) or held[place.at][0] != number_:
            raise MalformedPdf(f"its object {number_} is missing")
        return held[place.at][1]

    def _object_stream(self, number_: int) -> list[tuple[int, bytes]]:
        place = self.places.get(number_)
        if place is None or place.stream is not None or place.generation:
            raise MalformedPdf(f"its object {number_} is missing")
        value, after = self._plain(number_, place)
        held = entries(value)
        if held.get(b"Type") != b"/ObjStm":
            raise MalformedPdf(f"its object {number_} holds no objects")
        content, first = self._decoded(held, after, direct=False), number(held.get(b"First"))
        told = [number(one) for one in content[:first].split()]
        if len(told) != 2 * number(held.get(b"N")):
            raise MalformedPdf(f"its object {number_} holds another number of objects than it says")
        found = list[tuple[int, bytes]]()
        bounds = [*told[1::2], len(content) - first]
        for one, (begins, ends) in zip(told[::2], pairwise(bounds), strict=True):
            part = content[first + begins : first + ends]
            start, end = span_at(part, 0)
            if skip(part, end) != ends - begins:
                raise MalformedPdf(f"its object {number_} holds objects out of order")
            found.append((one, part[start:end]))
        return found

    def _decoded(self, held: dict[bytes, bytes], after: int, *, direct: bool) -> bytes:
        """The content of a stream of this dictionary."""
        begins = _STREAM.match(self._data, after)
        length = held.get(b"Length", b"")
        if not direct and (target := reference(length)) is not None:
            place = self.places.get(target[0])
            length = self.value(*target) if place is not None and place.stream is None else b""
        if begins is None or b"F" in held:
            raise MalformedPdf("a stream is missing")
        ends = begins.end() + number(length)
        if _END_OF_STREAM.match(self._data, ends) is None:
            raise MalformedPdf("a stream is not as long as it says")
        content = self._data[begins.end() : ends]
        if b"Filter" in held:
            if held[b"Filter"].replace(b" ", b"") not in _FLATE:
                raise MalformedPdf("a stream is compressed in an unusual way")
            content = _unpredicted(self._inflated(content), held.get(b"DecodeParms", b"null"))
        elif b"DecodeParms" in held:
            raise MalformedPdf("a stream is compressed in an unusual way")
        return content

    def _inflated(self, content: bytes) -> bytes:
        inflating = zlib.decompressobj()
        try:
            found = inflating.decompress(content, self._decoded_left)
        except zlib.error:
            raise MalformedPdf("a stream cannot be decompressed") from None
        self._decoded_left -= len(found)
        if not inflating.eof or self._decoded_left <= 0:
            raise MalformedPdf("a stream does not end, or is too large when it is decompressed")
        return found


def _xref_offset(data: bytes) -> int:
    """Where the last cross-reference section is: said at the very end, in the one form that nobody reads otherwise."""
    at = data.rfind(b"startxref")
    found = _END.fullmatch(data, at) if at > 0 and data[at - 1 : at] in (b"\r", b"\n") else None
    if found is None:
        raise MalformedPdf("it does not end as a PDF does")
    return int(found[1])


def _put(rows: _Rows, number_: int, place: Place | None) -> None:
    if number_ in rows:
        raise MalformedPdf(f"its object {number_} is at two places")
    rows[number_] = place


def _unpredicted(content: bytes, parameters: bytes) -> bytes:
    """Undo what makes rows compress better (ISO 32000-1, 7.4.4.4); of these, the one that producers use."""
    if parameters.startswith(b"["):
        (parameters,) = items(parameters) or (b"null",)
    if parameters == b"null":
        return content
    held = entries(parameters)
    predictor, columns = number(held.get(b"Predictor", b"1")), number(held.get(b"Columns", b"1"))
    if predictor == 1:
        return content
    if predictor < 10 or not columns or held.keys() & {b"Colors", b"BitsPerComponent"} or len(content) % (columns + 1):
        raise MalformedPdf("a stream is compressed in an unusual way")
    out, above = bytearray(), bytes(columns)
    for at in range(0, len(content), columns + 1):
        kind, row = content[at], content[at + 1 : at + 1 + columns]
        if kind not in (0, 2):
            raise MalformedPdf("a stream is compressed in an unusual way")
        above = bytes((one + other) & 0xFF for one, other in zip(row, above, strict=True)) if kind else row
        out += above
    return bytes(out)
