"""The syntax of PDF objects (ISO 32000-1, 7.3): values as the bytes that they are written in.

Nothing is interpreted that is only carried over: what is copied from a file stays as it stands there.
"""

import re
from collections.abc import Iterator
from typing import Final

_MOST_DEEP: Final = 64
_SKIPPED: Final = re.compile(rb"(?:[\0\t\n\f\r ]|%[^\r\n]*+)*+")
_NAME: Final = re.compile(rb"/[^\0\t\n\f\r ()<>\[\]{}/%]*+")
_REFERENCE: Final = re.compile(rb"(\d{1,10})[\0\t\n\f\r ]+(\d{1,5})[\0\t\n\f\r ]+R(?![^\0\t\n\f\r ()<>\[\]{}/%])")
_ATOM: Final = re.compile(rb"(?:[+-]?(?:\d+\.?\d*|\.\d+)|true|false|null)(?![^\0\t\n\f\r ()<>\[\]{}/%])")
_HEX: Final = re.compile(rb"<([0-9A-Fa-f\0\t\n\f\r ]*+)>")
_PLAIN: Final = re.compile(rb"\([^()\\]*+\)")
_SIMPLE: Final = re.compile(b"|".join(b"(?:%b)" % one.pattern for one in (_NAME, _REFERENCE, _ATOM, _HEX, _PLAIN)))
_PART: Final = re.compile(rb"<<|>>|[\[\]]|" + _SIMPLE.pattern)
_IN_LITERAL: Final = re.compile(rb"\\.|[()]", re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\([0-7]{1,3}|\r\n|.)|\r\n|\r", re.DOTALL)
_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_NOT_PLAIN: Final = re.compile(rb"[^!-~]|[#()<>\[\]{}/%]")


class MalformedPdf(ValueError):
    """Bytes that are no PDF object, or not the one that has to be there."""


def value_at(data: bytes, at: int) -> bytes:
    """The value that begins there, after white space and comments, as it is written. Raises `MalformedPdf`."""
    start, end = span_at(data, at)
    return data[start:end]


def span_at(data: bytes, at: int) -> tuple[int, int]:
    """Where the value begins and ends that stands there, after white space and comments. Raises `MalformedPdf`."""
    start = skip(data, at)
    return start, _end(data, start, 0)


def skip(data: bytes, at: int) -> int:
    """Where white space and comments end that begin there."""
    found = _SKIPPED.match(data, at)
    assert found is not None, "it matches nothing, too"
    return found.end()


def tokens(value: bytes) -> Iterator[bytes]:
    """The parts of a value, however deep: brackets, strings, names (escapes resolved), references and the rest."""
    at = skip(value, 0)
    while at < len(value):
        found = _PART.match(value, at)
        end = found.end() if found is not None else _end(value, at, 0)
        yield _plain_name(value[at:end]) if value.startswith(b"/", at) else value[at:end]
        at = skip(value, end)


def entries(value: bytes) -> dict[bytes, bytes]:
    """What a dictionary holds, by name (without `/`, escapes resolved), each once. Raises `MalformedPdf`."""
    if not value.startswith(b"<<"):
        raise MalformedPdf("a dictionary is missing")
    found: dict[bytes, bytes] = {}
    at = skip(value, 2)
    while not value.startswith(b">>", at):
        end = _end_of_name(value, at)
        name = _plain_name(value[at + 1 : end])
        if name in found:
            raise MalformedPdf("a dictionary has an entry twice")
        found[name] = value_at(value, end)
        at = skip(value, skip(value, end) + len(found[name]))
    return found


def items(value: bytes) -> list[bytes]:
    """What an array holds. Raises `MalformedPdf`."""
    if not value.startswith(b"["):
        raise MalformedPdf("an array is missing")
    found: list[bytes] = []
    at = skip(value, 1)
    while not value.startswith(b"]", at):
        found.append(value_at(value, at))
        at = skip(value, at + len(found[-1]))
    return found


def text(value: bytes) -> str:
    """The text of a string, in any of the encodings that readers take (ISO 32000-2, 7.9.2.2). Raises `MalformedPdf`."""
    held = string(value)
    for mark, encoding in ((b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"), (b"\xef\xbb\xbf", "utf-8")):
        if held.startswith(mark):
            plain = held[len(mark) :].decode(encoding, errors="replace")
            return re.sub("\x1b[^\x1b]*\x1b", "", plain)  # of which language it is
    return held.decode("latin-1")


def string(value: bytes) -> bytes:
    """The bytes of a string. Raises `MalformedPdf`."""
    if value.startswith(b"("):
        return _ESCAPE.sub(_unescaped, value[1:-1])
    found = _HEX.fullmatch(value)
    if found is None:
        raise MalformedPdf("a string is missing")
    digits = re.sub(rb"[\0\t\n\f\r ]", b"", found[1]).decode()
    return bytes.fromhex(digits + "0" * (len(digits) % 2))


def number(value: bytes | None) -> int:
    """A whole number ≥ 0. Raises `MalformedPdf`."""
    if value is None or re.fullmatch(rb"\d{1,10}", value) is None:
        raise MalformedPdf("a number is missing")
    return int(value)


def reference(value: bytes | None) -> tuple[int, int] | None:
    """The number and generation of the object that is referred to; `None`: it is another value."""
    found = _REFERENCE.fullmatch(value or b"")
    return (int(found[1]), int(found[2])) if found is not None else None


def dictionary(held: dict[bytes, bytes]) -> bytes:
    """Write a dictionary, an entry a line."""
    return b"<<\n" + b"".join(b"/%b %b\n" % (_written_name(name), value) for name, value in held.items()) + b">>"


def _written_name(name: bytes) -> bytes:
    return _NOT_PLAIN.sub(lambda one: b"#%02X" % one[0][0], name)


def _plain_name(written: bytes) -> bytes:
    return re.sub(rb"#([0-9A-Fa-f]{2})", lambda one: bytes.fromhex(one[1].decode()), written)


def _end(data: bytes, at: int, depth: int) -> int:
    """Where the value ends that begins right there."""
    if depth > _MOST_DEEP:
        raise MalformedPdf("values are nested too deep")
    if (found := _SIMPLE.match(data, at)) is not None:
        return found.end()
    if data.startswith(b"<<", at):
        at = skip(data, at + 2)
        while not data.startswith(b">>", at):
            at = skip(data, _end_of_name(data, at))
            at = skip(data, _end(data, at, depth + 1))
        return at + 2
    if data.startswith(b"[", at):
        at = skip(data, at + 1)
        while not data.startswith(b"]", at):
            at = skip(data, _end(data, at, depth + 1))
        return at + 1
    if data.startswith(b"(", at):
        return _end_of_literal(data, at)
    raise MalformedPdf(f"no value stands at byte {at:,}")


def _end_of_name(data: bytes, at: int) -> int:
    found = _NAME.match(data, at)
    if found is None:
        raise MalformedPdf("the name of an entry is missing")
    return found.end()


def _end_of_literal(data: bytes, at: int) -> int:
    depth = 0
    for found in _IN_LITERAL.finditer(data, at):
        depth += {b"(": 1, b")": -1}.get(found[0], 0)
        if not depth:
            return found.end()
    raise MalformedPdf("a string does not end")


def _unescaped(found: re.Match[bytes]) -> bytes:
    what = found[1]
    if what is None:
        return b"\n"
    if what[:1].isdigit() and what[0] < ord("8"):
        return bytes([int(what, 8) & 0xFF])
    return b"" if what in (b"\n", b"\r", b"\r\n") else _ESCAPED.get(what, what)
