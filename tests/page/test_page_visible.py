"""The page writes out the same characters as Python, whatever Unicode the browser and Python have."""

import json
from pathlib import Path

from tallystick.host.text import printable
from tests.page.under_node import under_node

ROOT = Path(__file__).parents[2]


def test_the_table_of_the_page_is_pythons() -> None:
    of_page = (ROOT / "page" / "visible.js").read_text(encoding="ascii")
    table = json.loads((ROOT / "src" / "tallystick" / "host" / "visible.json").read_bytes())
    assert json.loads(of_page.partition("VISIBLE_TABLE = ")[2].removesuffix(";\n")) == table


def test_each_character_is_shown_or_written_out_as_by_python() -> None:
    """Also those that no Unicode has assigned, or only the browser's; a dash keeps surrogates apart."""
    texts = ["-".join(map(chr, range(first, first + 0x1000))) for first in range(0, 0x110000, 0x1000)]
    assert under_node("plain_words.mjs", {"texts": texts})["texts"] == [printable(one) for one in texts]


def test_a_character_of_a_later_unicode_is_written_out() -> None:
    """The shaking face is of Unicode 15.0."""
    assert printable("\U0001fae8") == r"\u{1fae8}"
    assert under_node("plain_words.mjs", {"texts": ["\U0001fae8"]})["texts"] == [r"\u{1fae8}"]
