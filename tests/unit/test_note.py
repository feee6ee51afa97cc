"""Signed notes and their keys, as c2sp.org/signed-note has them."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import ADA, refuses, unless_refused

from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.note import (
    MAX_NOTE_BYTES,
    MAX_NOTE_SIGNATURES,
    KeyType,
    NoteKey,
    NoteSignature,
    decode_base64,
    make_note,
    parse_key,
    parse_note,
)

LINE = NoteSignature("north.example/log", b"\x01\x02\x03\x04", b"s" * 64)
WRITTEN = LINE.line + "\n"

names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"], exclude_characters="+"), min_size=1)
signatures = st.builds(NoteSignature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, range(0x20)))))
bodies = st.lists(texts, min_size=1, max_size=5).map(lambda lines: "\n".join(lines) + "\n")
notes = st.builds(make_note, bodies, st.lists(signatures, min_size=1, max_size=5))


@given(notes)
def test_a_note_is_written_and_read_the_same(note):
    assert parse_note(note.encoded) == note


@given(bodies, st.lists(signatures, min_size=1, max_size=5))
def test_a_note_has_the_text_and_the_signatures_that_it_was_made_of(text, lines):
    note = make_note(text, lines)
    assert (note.text, note.signatures) == (text, tuple(lines))


@given(notes, st.data())
def test_a_changed_character_is_refused_or_gives_another_note(note, data):
    text = note.encoded
    at = data.draw(st.integers(0, len(text) - 1))
    other = text[:at] + data.draw(st.characters(codec="utf-8")) + text[at + 1 :]
    found = unless_refused(parse_note, other, Rule.P1)
    if found is not None:
        assert (found == note) == (other == text)
        assert found.encoded == other


def test_the_text_ends_at_the_last_empty_line():
    note = parse_note("one\n\ntwo\n\n\n" + "\n" + WRITTEN)
    assert note.text == "one\n\ntwo\n\n\n"
    assert parse_note("\n\n" + WRITTEN).text == "\n"


def test_a_note_may_hold_any_text_but_controls():
    for character in ("\x7f", "\x80", "\u2028", "\ufffd", "\U0010ffff", "—", "+"):
        assert parse_note(f"a{character}b\n\n{WRITTEN}").text == f"a{character}b\n"


@pytest.mark.parametrize("character", [*map(chr, range(10)), *map(chr, range(11, 32)), "\ud800"])
@pytest.mark.parametrize("form", ["a{}b\n\n" + WRITTEN, "a\n\n" + WRITTEN.replace("log", "l{}g")])
def test_control_characters_are_refused(character, form):
    with refuses(Rule.P1, f"the character U+{ord(character):04X}"):
        parse_note(form.format(character))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a\n",
        "a\n\n",
        "\n" + WRITTEN,
        WRITTEN,
        "a\n" + WRITTEN,
        "a\n\n" + WRITTEN[:-1],
        "a\n\n" + WRITTEN + "\n",
        "a\n\n" + WRITTEN + "more\n",
        "a\n\n" + WRITTEN + " \n",
        "a\n\n " + WRITTEN,
        "a\n \n" + WRITTEN,
        "a\n\n" + WRITTEN.replace("—", "-"),
        "a\n\n" + WRITTEN.replace("—", "–"),
        "a\n\n" + WRITTEN.replace("— ", "—"),
        "a\n\n" + WRITTEN.replace("— ", "—  "),
        "a\n\n" + WRITTEN.replace("log ", "log  "),
        "a\n\n" + WRITTEN.replace("\n", " \n"),
        "a\n\n" + WRITTEN.replace("log", "l+g"),
        "a\n\n" + WRITTEN.replace("log", "l\u00a0g"),
        "a\n\n" + WRITTEN.replace("log", "l\u3000g"),
        "a\n\n" + WRITTEN.replace("log", "l\u0085g"),
        "a\n\n—  AQIDBHM=\n",
        "a\n\n— x AQIDBHM\n",
        "a\n\n— x AQIDBHN=\n",
        "a\n\n— x AQID-HM=\n",
        "a\n\n— x AQIDBA==\n",
        "a\n\n— x AQ==\n",
        "a\n\n— x \n",
        "a\n\n— x\n",
    ],
)
def test_what_is_no_note(text):
    with refuses(Rule.P1):
        parse_note(text)


def test_a_note_may_have_many_signatures_and_long_ones():
    long = LINE._replace(signature=bytes(4_900))
    assert len(make_note("a\n", [long] * 16).signatures) == 16
    assert len(make_note("a\n", [LINE] * MAX_NOTE_SIGNATURES).signatures) == MAX_NOTE_SIGNATURES
    with refuses(Rule.P1, "101 signatures, 100 allowed"):
        make_note("a\n", [LINE] * (MAX_NOTE_SIGNATURES + 1))
    with refuses(Rule.P1, f"{MAX_NOTE_BYTES} allowed"):
        make_note("é" * (MAX_NOTE_BYTES // 2) + "\n", [LINE])


def test_signatures_are_found_by_name_and_key_id():
    key = NoteKey("north.example/log", KeyType.LOG, ADA.public_key)
    mine, other_name = key.signature(b"1"), key.signature(b"2")._replace(name="south.example/log")
    other_id = key.signature(b"3")._replace(key_id=b"\x00\x01\x02\x03")
    assert make_note("a\n", [mine, other_name, other_id, mine]).signed_by(key) == [b"1", b"1"]


# ---- keys -----------------------------------------------------------------------------------------------------


KEY = NoteKey("example.com/foo", KeyType.LOG, ADA.public_key)


@given(names, st.sampled_from([0, 2, 3, 5, 7, 0xFF]), st.binary(min_size=1, max_size=1_400))
def test_a_key_is_written_and_read_the_same(name, key_type, public_key):
    key = NoteKey(name, key_type, public_key)
    assert parse_key(key.text) == key


def test_the_key_of_the_specification_is_read():
    key = parse_key("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    assert (key.name, key.type, key.id.hex()) == ("example.com/foo", KeyType.LOG, "530d903a")


@given(st.data())
def test_a_changed_character_of_a_key_is_refused(data):
    at = data.draw(st.integers(0, len(KEY.text) - 1))
    other = KEY.text[:at] + data.draw(st.characters(codec="utf-8")) + KEY.text[at + 1 :]
    if other != KEY.text:
        with pytest.raises(Refused):
            parse_key(other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "x+",
        "x++",
        "x+00000000+",
        KEY.text.upper(),
        KEY.text.replace("+", "++", 1),
        KEY.text + "=",
        KEY.text + "\n",
        " " + KEY.text,
        KEY.text.replace("example", "exam ple"),
        NoteKey("", 1, ADA.public_key).text,
        NoteKey("a b", 1, ADA.public_key).text,
        NoteKey("a\u00a0b", 1, ADA.public_key).text,
        NoteKey("a\nb", 1, ADA.public_key).text,
        NoteKey("a\x00b", 1, ADA.public_key).text,
        NoteKey("a", 6, b"").text,
        "\ud800" + KEY.text,
    ],
)
def test_what_is_no_key(text):
    with refuses(Rule.P1):
        parse_key(text)


@pytest.mark.parametrize("key_type", [KeyType.LOG, KeyType.COSIGNATURE])
@pytest.mark.parametrize("public_key", [bytes(32), ADA.public_key[:-1], ADA.public_key + b"\x00", b"\xff" * 32])
def test_a_key_of_ed25519_is_a_valid_one(key_type, public_key):
    with refuses(Rule.K1):
        parse_key(NoteKey("x", key_type, public_key).text)


@pytest.mark.parametrize("size_bytes", [1, 1_311, 1_313])
def test_a_key_of_ml_dsa_44_has_its_length(size_bytes):
    assert parse_key(NoteKey("x", KeyType.ML_DSA, bytes(1_312)).text).type == KeyType.ML_DSA
    with refuses(Rule.P1, f"not {size_bytes:,}"):
        parse_key(NoteKey("x", KeyType.ML_DSA, bytes(size_bytes)).text)


# ---- Base64 ---------------------------------------------------------------------------------------------------


@given(st.text(max_size=12) | st.text("AQZaz019+/=-_ \n", max_size=12))
def test_base64_has_one_form(text):
    data = unless_refused(partial(decode_base64, what="it"), text, Rule.P1)
    if data is not None:
        assert text.isascii()
        assert len(text) == -(-len(data) // 3) * 4
