"""Checkpoints and what members sign of them, as c2sp.org/tlog-checkpoint and tlog-cosignature have them."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.builders import ADA, BEN, CY, DOT, refuses, unless_refused, wallet

from tallystick.ledger.checkpoint import (
    MAX_LOG_LINES,
    Checkpoint,
    check_cosigned,
    cosign,
    cosigned_bytes,
    cosigner_key,
    decode_digest,
    log_key,
    parse_checkpoint,
    parse_number,
    signed_at,
    signed_checkpoint,
    split_cosignature,
)
from tallystick.ledger.errors import Rule
from tallystick.ledger.fields import MAX_INDEX
from tallystick.ledger.note import make_note

HEAD = Checkpoint("governed/" + "ab" * 32, 20_852_163, b"r" * 32)
MEMBERS = (ADA, BEN, CY, DOT)
ROOT = b64encode(HEAD.root).decode()

lines = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)
heads = st.builds(Checkpoint, lines, st.integers(0, MAX_INDEX), st.binary(min_size=32, max_size=32))


@given(heads, st.lists(lines, max_size=2))
def test_a_checkpoint_is_written_and_read_the_same_and_may_be_extended(head, more):
    assert parse_checkpoint(head.text + "".join(f"{one}\n" for one in more)) == head


@given(heads, st.data())
def test_a_changed_character_is_refused_or_gives_another_checkpoint(head, data):
    text = head.text
    at = data.draw(st.integers(0, len(text) - 1))
    other = text[:at] + data.draw(st.characters(codec="utf-8")) + text[at + 1 :]
    found = unless_refused(parse_checkpoint, other, Rule.P1)
    if found is not None:
        assert (found == head) == (other == text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n",
        "o\n1\n",
        f"o\n1\n{ROOT}",
        f"\n1\n{ROOT}\n",
        f"o\n\n{ROOT}\n",
        f"o\n1\n{ROOT}\n\n",
        f"o\n1\n{ROOT}\n\nmore\n",
        f"o\n1\n{ROOT}\nmore",
        f"o\n\n1\n{ROOT}\n",
        f"o\n1 \n{ROOT}\n",
        f"o\n01\n{ROOT}\n",
        f"o\n1\n{ROOT} \n",
        f"o\n1\n{ROOT[:-1]}\n",
        f"o\n1\n{b64encode(bytes(31)).decode()}\n",
        f"o\n1\n{b64encode(bytes(33)).decode()}\n",
    ],
)
def test_what_is_no_checkpoint(text):
    with refuses(Rule.P1):
        parse_checkpoint(text)


@pytest.mark.parametrize("number", [0, 1, 9, 10, 20_852_163, MAX_INDEX])
def test_numbers(number):
    assert parse_number(str(number), "it") == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "00",
        "01",
        " 1",
        "1 ",
        "1\n",
        "1.0",
        "1e3",
        "0x1",
        "1_0",
        "\u0661",
        "\uff11",
        str(2**53),
        "9" * 5_000,
    ],
)
def test_what_is_no_number(text):
    with refuses(Rule.P1, "it is no decimal number"):
        parse_number(text, "it")


def test_hashes_have_32_bytes():
    assert decode_digest(ROOT, "it") == HEAD.root
    with refuses(Rule.P1, "31 bytes, 32 expected"):
        decode_digest(b64encode(bytes(31)).decode(), "it")


# ---- signatures -----------------------------------------------------------------------------------------------


def test_what_a_cosigner_signs():
    """The example of c2sp.org/tlog-cosignature."""
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert cosigned_bytes(1_679_315_147, text) == b"cosignature/v1\ntime 1679315147\n" + text.encode()
    assert parse_checkpoint(text).text == text


def test_a_member_cosigns_and_signs_as_the_log():
    one = cosign(ADA, HEAD, 1_700_000_000)
    assert one.is_signed(HEAD.origin)
    assert not one.is_signed(HEAD.origin + "x")
    for changed in (
        replace(one, size=one.size + 1),
        replace(one, root=bytes(32)),
        replace(one, time_s=one.time_s + 1),
        replace(one, member=BEN.public_key),
        replace(one, signature=one.log_signature),
        replace(one, log_signature=one.signature),
    ):
        assert not changed.is_signed(HEAD.origin)


def test_a_signed_checkpoint_has_each_members_two_lines_in_the_order_of_keys():
    note = signed_checkpoint(HEAD.origin, [cosign(one, HEAD, 5) for one in MEMBERS])
    keys = sorted(one.public_key for one in MEMBERS)
    assert [one.name for one in note.signatures] == [HEAD.origin] * 4 + [
        f"{HEAD.origin}/{key.hex()[:16]}" for key in keys
    ]
    assert check_cosigned(note, HEAD.origin, keys) == dict.fromkeys(keys, 5)
    assert parse_checkpoint(note.text) == HEAD
    for key in keys:
        assert signed_at(log_key(HEAD.origin, key), note) == [0]
        assert signed_at(cosigner_key(HEAD.origin, key), note) == [5]


def test_of_many_members_one_signs_as_the_log():
    many = [wallet(f"member {number}") for number in range(MAX_LOG_LINES + 1)]
    signed = [cosign(one, HEAD, 5) for one in many]
    first = min(one.public_key for one in many)
    for chosen, expected in ((None, first), (many[0].public_key, many[0].public_key), (ADA.public_key, first)):
        note = signed_checkpoint(HEAD.origin, signed, chosen)
        logs = [one for one in note.signatures if one.name == HEAD.origin]
        assert [one.key_id for one in logs] == [log_key(HEAD.origin, expected).id]
        assert len(note.signatures) == len(many) + 1


def test_a_member_that_cosigned_twice_did_so_at_the_later_time():
    both = [cosign(ADA, HEAD, time_s) for time_s in (7, 5)]
    note = signed_checkpoint(HEAD.origin, both)
    assert check_cosigned(note, HEAD.origin, [ADA.public_key]) == {ADA.public_key: 7}
    assert signed_at(cosigner_key(HEAD.origin, ADA.public_key), note) == [7, 5]


@pytest.mark.parametrize("line", range(4))
def test_a_bad_signature_of_a_member_fails_the_checkpoint(line):
    note = signed_checkpoint(HEAD.origin, [cosign(one, HEAD, 5) for one in (ADA, BEN)])
    signatures = list(note.signatures)
    signatures[line] = signatures[line]._replace(signature=signatures[line].signature[:-1] + b"\x00")
    with refuses(Rule.P7, "is not by its key"):
        check_cosigned(make_note(note.text, signatures), HEAD.origin, [ADA.public_key, BEN.public_key])


def test_without_a_log_signature_a_checkpoint_does_not_count():
    note = signed_checkpoint(HEAD.origin, [cosign(one, HEAD, 5) for one in MEMBERS])
    cosigned = make_note(note.text, [one for one in note.signatures if one.name != HEAD.origin])
    with refuses(Rule.P7, "as the log"):
        check_cosigned(cosigned, HEAD.origin, [one.public_key for one in MEMBERS])


def test_a_cosignature_is_time_and_signature():
    assert split_cosignature(bytes(7) + b"\x05" + b"s" * 64) == (5, b"s" * 64)
    assert split_cosignature(b"\x7f" + b"\xff" * 7 + b"s" * 64) == (2**63 - 1, b"s" * 64)
    for length in (0, 71, 73, 2_428):
        with refuses(Rule.P1, f"{length} bytes, 72 expected"):
            split_cosignature(bytes(length))
    with refuses(Rule.P1, f"{2**63 - 1} allowed"):
        split_cosignature(b"\x80" + bytes(7) + b"s" * 64)
