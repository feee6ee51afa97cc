r"""Text from elsewhere, as a terminal, a log or JSON may show it: what is not visible is written out.

Others choose subjects, notes, payloads, names, addresses and much of what an error quotes. A control character among
them drives the terminal of whoever looks, a bidirectional one reorders the line, an invisible one makes two names look
alike. Data stays as it is; it passes `printable` where it is shown, once.
"""

import json
import pkgutil
import re
from bisect import bisect_right
from functools import cache
from typing import Any, Final

VISIBLE: Final = "visible.json"
"""What is shown as it is, beside this module: one frozen table, as each Python, and each browser that has the page that
verifies, has its own version of Unicode. `tools/make_visible.py` makes it."""

_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*://)([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_HOST_AND_PORT: Final = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]*)?")
_MAX_QUOTED_CHARACTERS: Final = 4_000
_HEX_DIGITS: Final = frozenset("0123456789abcdef")


def printable(text: str) -> str:
    r"""The text with every invisible character written as `\u{…}`, its code point in lower-case hexadecimal.

    Those are all of the categories C and Z but the space (so controls, line ends, format, bidirectional and zero-width
    characters, surrogates, private ones, and those that Unicode 14.0 has not assigned), and letters and marks without a
    look, as fillers and variation selectors. A backslash before `u{` is written out too:
    no two texts look the same, and replacing every `\u{…}` by its character gives the text back.
    """
    return escape_invisible(text.replace("\\u{", "\\u{5c}u{"))


def escape_invisible(text: str) -> str:
    """Half of `printable`, for what may have passed it already: backslashes stay, so two texts may look the same."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_visible(char) else f"\\u{{{ord(char):x}}}" for char in text)


def _is_visible(char: str) -> bool:
    firsts, lasts = _visible()
    place = bisect_right(firsts, ord(char)) - 1
    return place >= 0 and ord(char) <= lasts[place]


@cache
def _visible() -> tuple[list[int], list[int]]:
    """The first and the last code points of the table's ranges, read when it is first asked for."""
    ranges = json.loads(pkgutil.get_data(__package__, VISIBLE) or b"")["visible"].split()
    ends = [one.partition("-") for one in ranges]
    return [int(first, 16) for first, _, _ in ends], [int(last or first, 16) for first, _, last in ends]


def shortened(text: str) -> str:
    """The text, or its first 4,000 characters and an ellipsis: what an error or a log quotes has no other bound."""
    return text if len(text) <= _MAX_QUOTED_CHARACTERS else text[:_MAX_QUOTED_CHARACTERS] + "…"


def shown_url(url: str) -> str:
    """A URL without what it may hold of secrets: a user's name and password, and all that follows `?` or `#`.

    A password may hold these characters, and be typed as it is: then it ends at the last `@`. Where that cannot be told
    from a port and a path, or there is no scheme, `…` stands for all that may be secret. Another path is left as it is.
    """
    if (found := _URL.fullmatch(url)) is None:
        before, at, after = url.rpartition("@")
        return _after_secret(before, after) if at and ":" in before else url
    scheme, authority, rest = found.groups()
    if "@" not in authority and "@" in rest:
        before, _, after = rest.rpartition("@")
        if not _HOST_AND_PORT.fullmatch(authority):
            return shown_url(f"{scheme}@{after}")
        if ":" in authority and not authority.startswith("["):
            return scheme + _after_secret(before, after)
    return scheme + authority.rpartition("@")[2] + _without_query(rest)


def _after_secret(before: str, after: str) -> str:
    """What follows an `@`, unless that may be of a query."""
    return "…" if re.search("[?#]", before) else f"…@{_without_query(after)}"


def _without_query(text: str) -> str:
    end = re.search("[?#]", text)
    return text if end is None else text[: end.end()] + "…"


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON of plain values, in ASCII; all strings in it, names of fields too, are printable once they are decoded."""
    return json.dumps(_printable_value(value), indent=indent)


def _printable_value(value: Any) -> Any:
    match value:
        case str():
            return printable(value)
        case dict():
            return {printable(name): _printable_value(one) for name, one in value.items()}
        case list() | tuple():
            return [_printable_value(one) for one in value]
    return value


def is_hex_digest(text: str, shortest: int = 64) -> bool:
    """Whether this is a digest or key in lower-case hexadecimal, or how one begins, in `shortest` digits or more."""
    return shortest <= len(text) <= 64 and _HEX_DIGITS.issuperset(text)
