"""Invites: what is written is read again, and a slip of the hand is noticed and explained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import strategies as some
from tests.builders import ADA, LEDGER, refuses

from tallystick.host.invite import (
    MAX_TEXT_CHARACTERS,
    PREFIX,
    Invite,
    from_bech32m,
    read_invite,
    to_bech32m,
    write_invite,
)
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused, Rule

LINE = write_invite(LEDGER, ADA.public_key, ("node.example.org:7420", "192.0.2.7:7420"))
CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


@given(some.digests, some.digests, st.lists(some.addresses, min_size=1, max_size=8).map(tuple))
def test_what_is_written_is_read_again(ledger_id, key, addresses):
    line = write_invite(ledger_id, key, addresses)
    assert read_invite(line) == Invite(1, ledger_id, key, addresses)
    assert line.startswith("tallystick1")
    assert line.isascii()
    assert len(line) <= MAX_TEXT_CHARACTERS


def test_capitals_and_white_space_make_no_difference():
    halves = f"  {LINE[:70]}\r\n\t{LINE[70:]}\n"
    assert read_invite(LINE.upper()) == read_invite(halves) == read_invite(LINE)


@given(st.data())
def test_up_to_three_mistyped_characters_are_noticed(data):
    places = data.draw(st.sets(st.integers(len(PREFIX) + 1, len(LINE) - 1), min_size=1, max_size=3))
    typed = list(LINE)
    for place in places:
        typed[place] = data.draw(st.sampled_from([one for one in CHARACTERS if one != typed[place]]))
    with refuses(Rule.E2):
        read_invite("".join(typed))


@pytest.mark.parametrize("place", range(len(PREFIX) + 1, len(LINE) - 1))
def test_swapped_lost_and_doubled_characters_are_noticed(place):
    swapped = LINE[:place] + LINE[place + 1] + LINE[place] + LINE[place + 2 :]
    for typed in {swapped, LINE[:place] + LINE[place + 1 :], LINE[:place] + LINE[place] + LINE[place:]} - {LINE}:
        with refuses(Rule.E2):
            read_invite(typed)


@pytest.mark.parametrize("end", [0, 5, len(PREFIX), len(PREFIX) + 1, len(PREFIX) + 6, 40, len(LINE) - 1])
def test_a_line_that_was_cut_off_is_noticed(end):
    with refuses(Rule.E2):
        read_invite(LINE[:end])


@given(st.text(max_size=200) | st.text(CHARACTERS, max_size=200).map("tallystick1".__add__))
def test_any_other_text_is_refused(text):
    with refuses(Rule.E2):
        read_invite(text)


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        ("an invite", "begins with tallystick1"),
        (LINE[:30] + "b" + LINE[31:], "'b' at place 31"),
        (LINE[:30] + ("q" if LINE[30] != "q" else "p") + LINE[31:], "mistyped"),
        (LINE[:40] + LINE[40:].upper(), "mixed"),
    ],
)
def test_the_refusal_says_what_to_do(typed, advice):
    with pytest.raises(Refused, match=advice) as refusal:
        read_invite(typed)
    assert "copy" in refusal.value.reason


def test_an_invite_of_a_later_version_says_so_whatever_its_fields():
    for fields in ((2, "whatever"), (127,)):
        with refuses(Rule.E4):
            read_invite(to_bech32m(PREFIX, encode(fields)))


@pytest.mark.parametrize("fields", [(1, LEDGER, ADA.public_key, ()), (1, LEDGER, b"", ("h:1",)), (0,), (), "text"])
def test_bytes_that_are_no_invite_are_refused(fields):
    with refuses(Rule.E2):
        read_invite(to_bech32m(PREFIX, encode(fields)))


def test_a_invite_has_one_encoding():
    data = from_bech32m(PREFIX, LINE)
    assert data[1] == 1
    with refuses(Rule.E3):
        read_invite(to_bech32m(PREFIX, data[:1] + b"\xcc\x01" + data[2:]))


@pytest.mark.parametrize("ending", ["q" * MAX_TEXT_CHARACTERS, " " * 10 * MAX_TEXT_CHARACTERS], ids=["long", "blank"])
def test_a_text_without_end_is_refused_before_it_is_read(ending):
    with refuses(Rule.E1):
        read_invite(LINE + ending)


@pytest.mark.parametrize("addresses", [(), ("no port",), ("h:0",), tuple(f"h:{port}" for port in range(1, 10))])
def test_no_invite_is_written_that_would_not_be_read(addresses):
    with refuses(Rule.E2):
        write_invite(LEDGER, ADA.public_key, addresses)


@pytest.mark.parametrize(
    "text",
    [
        "a1lqfn3a",
        "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
        "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
        "?1v759aa",
        "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
    ],
)
def test_the_checksum_is_that_of_bip_350(text):
    """Its valid test vectors: none is refused for its checksum (some hold no whole number of bytes)."""
    prefix, _, _ = text.rpartition("1")
    try:
        assert to_bech32m(prefix, from_bech32m(prefix, text)) == text
    except ValueError as error:
        assert "whole number of bytes" in str(error)  # noqa: PT017


@pytest.mark.parametrize("text", ["y1b0jsk6g", "lt1igcx5c0", "in1muywd", "mm1crxm3i", "au1s5cgom", "M1VUXWEZ"])
def test_invalid_texts_of_bip_350_are_refused(text):
    prefix, _, _ = text.rpartition("1")
    with refuses(Rule.E2):
        from_bech32m(prefix.lower(), text)
