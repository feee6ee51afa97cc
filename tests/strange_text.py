"""Characters that drive a terminal, reorder a line or cannot be seen: a class each, and whether a text holds any."""

import unicodedata

STRANGE = {
    "escape": "\x1b",
    "CSI": "\x9b",
    "NUL": "\0",
    "bell": "\a",
    "backspace": "\b",
    "tabulator": "\t",
    "line feed": "\n",
    "carriage return": "\r",
    "vertical tabulator and form feed": "\v\f",
    "delete": "\x7f",
    "next line": "\x85",
    "no-break space": "\xa0",
    "soft hyphen": "\xad",
    "right-to-left override": "\u202e",
    "left-to-right isolate": "\u2066",
    "right-to-left mark": "\u200f",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "word joiner": "\u2060",
    "byte-order mark": "\ufeff",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "combining grapheme joiner": "\u034f",
    "Hangul filler": "\u3164",
    "blank Braille": "\u2800",
    "variation selector": "\ufe0f",
    "supplementary variation selector": "\U000e0100",
    "tags": "\U000e0001\U000e0041",
    "private use": "\ue000",
    "unassigned": "\U000e1000",
    "noncharacter": "\uffff",
    "lone surrogate": "\udcff",
}
"""By name; each is without a visible character."""

MARKUP = "[bold red]evil[/] [link=http://evil.example]here[/link] :skull:"
"""What Rich would take for its own."""

_WITHOUT_A_LOOK = frozenset("".join(STRANGE.values()))


def strange_characters(text: str) -> set[str]:
    """Those in the text that no line may hold, as this test sees it: independent of what it tests."""
    return {char for char in text if char in _WITHOUT_A_LOOK or (unicodedata.category(char)[0] in "CZ" and char != " ")}
