"""PDF values are carried over as they are written, and what is none is refused."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.client.pdf_syntax import MalformedPdf, dictionary, entries, items, number, reference, string, value_at

NAMES = st.binary(max_size=8)
VALUES = st.recursive(
    st.sampled_from(
        [b"1", b"-.5", b"true", b"null", b"/A#20b", b"12 0 R", b"<4a 4B>", b"(a(b)\\)c)", b"(\\\n%)", b"/"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda some: b"[ %b%%]\n]" % b" ".join(some))
        | st.dictionaries(NAMES, inner, max_size=3).map(dictionary)
    ),
    max_leaves=6,
)


@given(
    VALUES, st.sampled_from([b"", b" ", b"\r\n", b"%>> comment\n"]), st.sampled_from([b"", b" 1", b"]", b">>", b"/A"])
)
def test_a_value_is_found_as_it_is_written(value: bytes, before: bytes, after: bytes) -> None:
    assert value_at(before + value + after, 0) == value


@given(st.dictionaries(NAMES, VALUES, max_size=5), st.lists(VALUES, max_size=5))
def test_what_holds_values_is_taken_apart(held: dict[bytes, bytes], some: list[bytes]) -> None:
    assert entries(dictionary(held)) == held
    assert list(entries(dictionary(held))) == list(held), "in order"
    assert items(b"[%b ]" % b"\n%]\n".join(some)) == some


@given(st.binary(max_size=200))
def test_of_any_bytes_there_is_a_value_or_a_refusal(data: bytes) -> None:
    for read in (lambda: value_at(data, 0), lambda: entries(data), lambda: items(data), lambda: string(data)):
        with suppress(MalformedPdf):
            read()


@pytest.mark.parametrize(
    ("written", "held"),
    [
        (b"(abc)", b"abc"),
        (b"(a\\(b\\)\\\\)", b"a(b)\\"),
        (b"(\\101\\1018\\7)", b"AA8\x07"),
        (b"(\\777)", b"\xff"),
        (b"(a\\\r\nb\\\nc)", b"abc"),
        (b"(a\r\nb\rc)", b"a\nb\nc"),
        (b"(\\n\\r\\t\\b\\f\\x)", b"\n\r\t\b\fx"),
        (b"<41 4>", b"A@"),
        (b"<>", b""),
    ],
)
def test_a_string_is_read(written: bytes, held: bytes) -> None:
    assert string(written) == held


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"<< /A >>",
        b"<< /A 1 /#41 2 >>",
        b"<< /A 1",
        b"<< 1 /A >>",
        b"<< /A 1 2 >>",
        b"<< /A [1 >>",
        b"<< /A (a >>",
        b"<< /A <4g> >>",
        b"<< /A 1x >>",
        b"<< /A " + b"[" * 100 + b"]" * 100 + b" >>",
    ],
)
def test_what_is_no_dictionary_is_refused(wrong: bytes) -> None:
    with pytest.raises(MalformedPdf):
        entries(wrong)


def test_references_and_numbers_are_read() -> None:
    assert [reference(one) for one in (b"12 0 R", b"1\n2\rR", b"12", b"/R", None)] == [
        (12, 0),
        (1, 2),
        None,
        None,
        None,
    ]
    assert value_at(b"1 0 Rx", 0) == b"1", "no reference"
    assert number(b"12") == 12
    for wrong in (b"-1", b"1.0", b"1 0 R", None):
        with pytest.raises(MalformedPdf):
            number(wrong)
    with pytest.raises(MalformedPdf):
        items(b"<< >>")
