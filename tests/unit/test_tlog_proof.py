"""Proofs as files, as c2sp.org/tlog-proof has them, and the part that only this verifier reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import refuses, unless_refused
from tests.proof_corpus import FOLDER

from tallystick.ledger.bundle import extra_codec, hand_over_codec, read_bundle
from tallystick.ledger.errors import Rule
from tallystick.ledger.fields import MAX_INDEX
from tallystick.ledger.note import NoteSignature, make_note
from tallystick.ledger.tlog_proof import MAX_PATH, MAX_PROOF_BYTES, TlogProof, parse_proof

NOTE = make_note("origin\n1\nAAAA\n", [NoteSignature("north.example", b"0123", b"s" * 64)])
PROOF = TlogProof(b"extra", 12, (b"h" * 32, b"i" * 32), NOTE)
FILE = (FOLDER / "base-valid.tlog-proof").read_bytes()

proofs = st.builds(
    TlogProof,
    st.none() | st.binary(max_size=100),
    st.integers(0, MAX_INDEX),
    st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_PATH).map(tuple),
    st.just(NOTE),
)


@given(proofs)
def test_a_proof_is_written_and_read_the_same(proof):
    assert parse_proof(proof.encoded.encode()) == proof


@given(proofs, st.data())
def test_a_changed_byte_is_refused_or_gives_another_proof(proof, data):
    encoded = proof.encoded.encode()
    at, byte = data.draw(st.integers(0, len(encoded) - 1)), data.draw(st.binary(max_size=2))
    other = encoded[:at] + byte + encoded[at + 1 :]
    found = unless_refused(parse_proof, other, Rule.P1)
    if found is not None:
        assert (found == proof) == (other == encoded)
        assert found.encoded.encode() == other


def test_the_form_is_that_of_the_document():
    assert PROOF.encoded == (
        "c2sp.org/tlog-proof@v1\n"
        "extra ZXh0cmE=\n"
        "index 12\n"
        "aGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGg=\n"
        "aWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWk=\n"
        "\n" + NOTE.encoded
    )


def test_bounds():
    with refuses(Rule.P1, f"{MAX_PROOF_BYTES} allowed"):
        parse_proof(bytes(MAX_PROOF_BYTES + 1))
    with refuses(Rule.P1, "64 hashes, 63 allowed"):
        parse_proof(PROOF._replace(path=(bytes(32),) * 64).encoded.encode())
    with refuses(Rule.P1, "UTF-8"):
        parse_proof(b"\xff" + FILE)


@pytest.mark.parametrize("at", range(0, len(FILE), 41))
def test_a_changed_byte_of_a_whole_proof_is_another_bundle_or_refused(at):
    """Never is it read as the same."""
    other = FILE[:at] + bytes([FILE[at] ^ 1]) + FILE[at + 1 :]
    found = unless_refused(read_bundle, other, Rule.P1, Rule.P2)
    if found is not None:
        assert found != read_bundle(FILE)


def test_extra_and_hand_over_have_one_form():
    bundle = read_bundle(FILE)
    for codec, value in ((extra_codec, bundle.extra), (hand_over_codec, bundle.hand_over)):
        encoded = value.encoded
        assert codec.decode(encoded) == value
        for at in range(0, len(encoded), 17):
            for other in (
                encoded[:at] + bytes([encoded[at] ^ 4]) + encoded[at + 1 :],
                encoded[:at],
                encoded[:at] + b"\x00" + encoded[at:],
            ):
                found = unless_refused(codec.decode, other, Rule.E1, Rule.E2, Rule.E3)
                if found is not None:
                    assert found != value
