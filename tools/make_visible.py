"""Make the table of the characters that are shown as they are: `src/tallystick/host/visible.json`, and the page's copy.

    python tools/make_visible.py

Runs on a Python whose `unicodedata` is of Unicode 14.0.0: 3.11. Visible is what Python prints (no other, no separator
but the space), without the default ignorable code points whose category is a letter's or a mark's, and without the
blank Braille. The data derives from the Unicode Character Database, © Unicode, Inc., under the Unicode License
(https://www.unicode.org/license.txt).
"""

import json
import sys
import unicodedata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "src" / "tallystick" / "host" / "visible.json"
OF_PAGE = ROOT / "page" / "visible.js"
UNICODE = "14.0.0"
INVISIBLE = (
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x115F, 0x1160),  # Hangul fillers
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180D),  # Mongolian variation selectors
    (0x180F, 0x180F),
    (0x2800, 0x2800),  # blank Braille pattern
    (0x3164, 0x3164),  # Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFFA0, 0xFFA0),  # halfwidth Hangul filler
    (0xE0100, 0xE01EF),  # variation selectors
)
HEADING = "/** The characters that are shown as they are: `src/tallystick/host/visible.json`; a test compares them. */"


def is_visible(code: int) -> bool:
    """Whether a reader sees the character, and what it is."""
    return chr(code).isprintable() and not any(first <= code <= last for first, last in INVISIBLE)


def table() -> str:
    """Ranges of code points in hex, as JSON."""
    ranges, first = list[str](), None
    for code in range(0x110001):
        if code < 0x110000 and is_visible(code):
            first = code if first is None else first
        elif first is not None:
            ranges.append(f"{first:x}" if first == code - 1 else f"{first:x}-{code - 1:x}")
            first = None
    return json.dumps({"unicode": UNICODE, "visible": " ".join(ranges)}, indent=0)


def main() -> int:
    if unicodedata.unidata_version != UNICODE:
        print(f"this Python has Unicode {unicodedata.unidata_version}, the table is of {UNICODE}: use Python 3.11")
        return 1
    made = table()
    TABLE.write_text(f"{made}\n", encoding="ascii")
    OF_PAGE.write_text(f"{HEADING}\nexport const VISIBLE_TABLE = {made};\n", encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
