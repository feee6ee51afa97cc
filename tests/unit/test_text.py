"""What is shown of text from elsewhere."""

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strange_text import STRANGE, strange_characters

from tallystick.host.text import escape_invisible, is_hex_digest, printable, shortened, shown_url, to_json

ANYTHING = st.text(st.one_of(st.characters(), st.sampled_from([*"".join(STRANGE.values()), *"\\u{2028}"])))


def original(shown: str) -> str:
    return re.sub(r"\\u\{([0-9a-f]+)\}", lambda found: chr(int(found[1], 16)), shown)


@given(ANYTHING)
def test_nothing_strange_is_left_and_nothing_is_lost(text: str) -> None:
    shown = printable(text)
    assert not strange_characters(shown)
    assert original(shown) == text


@given(ANYTHING)
def test_what_has_passed_once_passes_the_net_unchanged(text: str) -> None:
    assert not strange_characters(escape_invisible(text))
    assert escape_invisible(printable(text)) == printable(text)


@pytest.mark.parametrize(
    "text",
    ["", "plain", "Grüße, 東京, עברית, मराठी, ✓ é", r"C:\users \n \u0041 {u}", "[bold]", "👩", "a" * 5_000],
)
def test_what_is_visible_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_each_class_is_written_out(text: str) -> None:
    assert printable(f"a{text}b") == "a" + "".join(f"\\u{{{ord(char):x}}}" for char in text) + "b"


def test_an_escape_that_was_typed_does_not_look_like_one_that_was_made() -> None:
    assert printable("\u202e") == r"\u{202e}"
    assert printable(r"\u{202e}") == r"\u{5c}u{202e}"


def test_every_character_without_a_look_of_its_own_is_written_out() -> None:
    for start in range(0, 0x110000, 128):  # ASCII by itself, as it may be treated otherwise
        codes = [one for one in range(start, start + 128) if one != 0x20 and unicodedata.category(chr(one))[0] in "CZ"]
        assert printable("".join(map(chr, codes))) == "".join(f"\\u{{{one:x}}}" for one in codes)


def test_json_is_printable_in_keys_and_values_at_every_depth() -> None:
    value = {"a\x1b": ["\u202e", {"b": ("\udcff", 1, None, True, 0.5)}], "plain": "é \\ \n"}
    line = to_json(value)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {
        r"a\u{1b}": [r"\u{202e}", {"b": [r"\u{dcff}", 1, None, True, 0.5]}],
        "plain": r"é \ \u{a}",
    }


def test_what_is_quoted_is_bounded() -> None:
    assert shortened("a" * 4_000) == "a" * 4_000
    assert shortened("a" * 4_001) == "a" * 4_000 + "…"


def test_a_whole_digest_is_told_from_how_one_begins_and_from_other_text():
    digest = "0123456789abcdef" * 4
    assert is_hex_digest(digest)
    assert is_hex_digest(digest[:8], 8)
    for other in ("", digest[:63], digest + "0", digest.upper(), digest[:63] + "g", digest[:63] + "٣"):
        assert not is_hex_digest(other)
    assert not is_hex_digest(digest[:7], 8)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://node.example/a/@b", "https://node.example/a/@b"),
        ("https://node.example:7118/a/@b", "https://…@b"),
        ("http://ada:80/se@cret@node.example/m?key=secret", "http://…@node.example/m?…"),
        ("http://node.example:80/m?key=se@cret", "http://…"),
        ("ada:secret@node.example/m#secret", "…@node.example/m#…"),
        ("//ada:se/cr@et@node.example", "…@node.example"),
        ("https:/ada:secret@node.example", "…@node.example"),
        (" https://ada:secret@node.example", "…@node.example"),
        ("node.example:80/m?key=se@cret", "…"),
        ("https://[::1]:7118/@b", "https://[::1]:7118/@b"),
        ("HTTP://ada:secret@node.example/", "HTTP://node.example/"),
        ("http://ada:se@cret@node.example", "http://node.example"),
        ("http://ada:se/cr#et@node.example/m", "http://node.example/m"),
        ("http://ada:se?cret@[::1]:1/m", "http://[::1]:1/m"),
        ("https://node.example/m?key=secret", "https://node.example/m?…"),
        ("https://node.example#secret\nb", "https://node.example#…"),
        ("a/folder#1@b?", "a/folder#1@b?"),
    ],
)
def test_of_a_url_nothing_is_shown_that_may_be_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown
