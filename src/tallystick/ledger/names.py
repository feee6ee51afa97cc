"""The folding of names: names that look alike fold alike, so that only one of them stands in a directory.

Everything comes from one frozen table, `folding.json` beside this module, and nothing from Python's `unicodedata`:
each Python has its own version of Unicode. `tools/make_folding.py` makes the table; ADR 0021 says how it may change.
"""

import json
import pkgutil
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache, lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import Final, NamedTuple

from tallystick.ledger.errors import Refused, Rule

FOLDING: Final = "folding.json"
FOLDING_HASH: Final = "3a7f709b20e60fe67afef08f9b3e55b37e7b5cc0b02fbc852489ac82e74936f1"
"""SHA-256 of the table's file, in hex."""

_SYLLABLES: Final = range(0xAC00, 0xD7A4)
"""Hangul syllables. They fold to their letters, by arithmetic (Unicode, section 3.12)."""


class _Table(NamedTuple):
    """The file as it is asked: the ranges that fold to themselves, by their ends; all else that folds; the classes."""

    starts: list[int]
    stops: list[int]
    folded: dict[str, str]
    classes: dict[str, frozenset[str]]
    orders: dict[str, int]


@lru_cache(maxsize=16_384)
def fold(name: str) -> str:
    """What a name is unique by: the foldings of its characters, in a row. Raises `Refused` (D2) for what is no name.

    The caller bounds its length.
    """
    table = _table()
    folded = "".join(_folding(table, character) for character in name)
    for wrong in _wrongs(table, name):
        raise Refused(Rule.D2, f"the name {wrong}")
    if not folded:
        raise Refused(Rule.D2, "the name has no letter and no digit")
    return folded


def _folding(table: _Table, character: str) -> str:
    folded = table.folded.get(character)
    if folded is not None:
        return folded
    code = ord(character)
    if code in _SYLLABLES:
        initial, rest = divmod(code - _SYLLABLES.start, 588)
        vowel, final = divmod(rest, 28)
        return chr(0x1100 + initial) + chr(0x1161 + vowel) + (chr(0x11A7 + final) if final else "")
    place = bisect_right(table.starts, code) - 1
    if place < 0 or code >= table.stops[place]:
        raise Refused(Rule.D2, f"U+{code:04X} is no character of names")
    return character


def _wrongs(table: _Table, name: str) -> Iterator[str]:
    of = table.classes
    if not name:
        yield "is empty"
    if name.startswith(" ") or name.endswith(" ") or "  " in name:
        yield "has a space at an end, or two in a row"
    if any(one in of["marks"] and before in of["punctuation"] for before, one in pairwise(" " + name)):
        yield "has a mark without its letter"
    last = 0
    for one in name:
        if one not in of["dropped_marks"]:
            order = table.orders.get(one, 0)
            if one in of["marks"] and 0 < order < last:
                yield "has marks out of their order; write it in NFC"
            last = order
    if len({one in of["right_to_left"] for one in name if one not in of["no_direction"]}) > 1:
        yield "mixes directions of writing"
    for word in map(set, "".join(" " if one in of["punctuation"] else one for one in name).split(" ")):
        for script, others in (("greek", "latin cyrillic"), ("cyrillic", "latin greek")):
            if word & of[f"{script}_apart"] and any(word & of[other] for other in others.split(" ")):
                yield f"has in one word {script.title()} letters, and letters of another script that look like them"


@cache
def _table() -> _Table:
    """The table, read when it is first asked for."""
    data = pkgutil.get_data(__package__, FOLDING) or b""
    if sha256(data).hexdigest() != FOLDING_HASH:
        raise ImportError(f"{FOLDING} is not the one of this version; install the package anew")
    table = json.loads(data)
    itself = _ranges(table["itself"])
    return _Table(
        [one.start for one in itself],
        [one.stop for one in itself],
        {one: text for text, codes in table["folded"].items() for one in _characters(codes)},
        {name: frozenset(_characters(codes)) for name, codes in table["classes"].items()},
        {one: order for order, codes in enumerate(table["orders"], start=1) for one in _characters(codes)},
    )


def _ranges(codes: str) -> list[range]:
    """Of code points in hex, or `first-last` of them, with spaces between."""
    ends = (one.partition("-") for one in codes.split())
    return [range(int(first, 16), int(last or first, 16) + 1) for first, _, last in ends]


def _characters(codes: str) -> list[str]:
    return [chr(code) for one in _ranges(codes) for code in one]
