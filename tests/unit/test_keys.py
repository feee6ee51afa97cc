"""Keys and signatures: libsodium's acceptance rule is the ledger's, and these are its edges."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import ADA, BEN, refuses
from tests.curve import BASE, TORSION, L, P, add, at_height, challenge, encoded, equation_holds, times

from tallystick.ledger.errors import Rule
from tallystick.ledger.keys import Domain, check_public_key, is_signed, signed_bytes

LEDGER, OTHER = b"\x01" * 32, b"\x02" * 32
SECRET, NONCE = 7**80 % L, 5**90 % L

# RFC 8032, 7.1: secret seed's public key, message, signature.
RFC_8032 = {
    "TEST 1": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "TEST 2": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "TEST 3": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
}


def signature_of(commitment: bytes, scalar: int) -> bytes:
    return commitment + scalar.to_bytes(32, "little")


def craft(key, commitment, fits):
    """The first message for which the challenge is such that `fits(h)`, and the signature over it."""
    key_bytes, commitment_bytes = encoded(key), encoded(commitment)
    for number in count():
        message = b"message %d" % number
        hashed = challenge(commitment_bytes, key_bytes, message)
        if fits(hashed):
            return message, (NONCE + hashed * SECRET) % L, hashed
    raise AssertionError


@pytest.mark.parametrize(("key", "message", "signature"), RFC_8032.values(), ids=RFC_8032)
def test_the_signatures_of_rfc_8032_verify(key, message, signature):
    assert is_signed(bytes.fromhex(message), bytes.fromhex(signature), bytes.fromhex(key))
    assert not is_signed(bytes.fromhex(message) + b"\x00", bytes.fromhex(signature), bytes.fromhex(key))


@given(body=st.binary(max_size=200), domain=st.sampled_from(Domain))
def test_a_signature_holds_for_one_domain_ledger_key_and_body(body, domain):
    """`Rule.K2`, which C1 and B3 apply."""
    signature = ADA.sign(domain, LEDGER, body)
    other_domain = next(other for other in Domain if other is not domain)
    assert is_signed(signed_bytes(domain, LEDGER, body), signature, ADA.public_key)
    assert not is_signed(signed_bytes(other_domain, LEDGER, body), signature, ADA.public_key)
    assert not is_signed(signed_bytes(domain, OTHER, body), signature, ADA.public_key)
    assert not is_signed(signed_bytes(domain, LEDGER, body + b"\x00"), signature, ADA.public_key)
    assert not is_signed(signed_bytes(domain, LEDGER, body), signature, BEN.public_key)


def test_a_signature_with_any_bit_changed_is_refused():
    message = signed_bytes(Domain.BLOCK, LEDGER, b"body")
    signature = ADA.sign(Domain.BLOCK, LEDGER, b"body")
    for bit in range(512):
        changed = (int.from_bytes(signature, "big") ^ (1 << bit)).to_bytes(64, "big")
        assert not is_signed(message, changed, ADA.public_key)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), b"\xff" * 64], ids=["empty", "short", "zero", "ones"])
def test_a_hollow_signature_is_refused(signature):
    assert not is_signed(b"message", signature, ADA.public_key)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytes(32), "x" * 32, None], ids=repr)
def test_a_key_of_the_wrong_form_verifies_nothing_and_raises_nothing(key):
    assert not is_signed(b"message", ADA.sign(Domain.BLOCK, LEDGER, b"x"), key)


# ---- the classes of ed25519-speccheck ("Taming the many EdDSAs"), made here -------------------------------------


def test_a_key_of_small_order_signs_nothing():
    """Classes 0 and 1: whoever names such a key could show one signature for any message."""
    for order, key in enumerate(TORSION):
        for step in range(8):
            small = TORSION[-step * order % 8]
            message, _, hashed = craft(key, small, lambda h, step=step: h % 8 == step)
            assert equation_holds(small, key, 0, hashed)
            assert not is_signed(message, signature_of(encoded(small), 0), encoded(key))
        mixed = add(times(NONCE, BASE), TORSION[-order % 8])
        message, _, hashed = craft(key, mixed, lambda h: h % 8 == 1)
        assert equation_holds(mixed, key, NONCE, hashed)
        assert not is_signed(message, signature_of(encoded(mixed), NONCE), encoded(key))


def test_a_commitment_of_small_order_is_refused():
    """Class 2: R small, A mixed, and S as if R were the neutral element."""
    for order, torsion in enumerate(TORSION):
        key = add(times(SECRET, BASE), torsion)
        commitment = TORSION[-order % 8]
        message, _, hashed = craft(key, commitment, lambda h: h % 8 == 1)
        scalar = hashed * SECRET % L
        assert equation_holds(commitment, key, scalar, hashed)
        assert not is_signed(message, signature_of(encoded(commitment), scalar), encoded(key))


def test_a_key_with_a_small_part_is_taken_when_the_parts_cancel():
    """Class 3: the one that libsodium accepts; both rules of verification agree on it."""
    key, commitment = add(times(SECRET, BASE), TORSION[1]), add(times(NONCE, BASE), TORSION[3])
    message, scalar, hashed = craft(key, commitment, lambda h: h % 8 == 5)
    assert equation_holds(commitment, key, scalar, hashed)
    assert is_signed(message, signature_of(encoded(commitment), scalar), encoded(key))


def test_verification_is_without_cofactor():
    """Classes 4 and 5: these would pass where both sides are multiplied by 8."""
    key, commitment = add(times(SECRET, BASE), TORSION[1]), add(times(NONCE, BASE), TORSION[3])
    message, scalar, hashed = craft(key, commitment, lambda h: h % 8 != 5)
    assert equation_holds(commitment, key, scalar, hashed, cofactor=8)
    assert not equation_holds(commitment, key, scalar, hashed)
    assert not is_signed(message, signature_of(encoded(commitment), scalar), encoded(key))


def test_a_scalar_beyond_the_order_is_refused():
    """Classes 6 and 7: S + L, S + 2L… satisfy the equation, and would give a certificate further signatures."""
    message = signed_bytes(Domain.CERTIFICATE, LEDGER, b"body")
    signature = ADA.sign(Domain.CERTIFICATE, LEDGER, b"body")
    scalar = int.from_bytes(signature[32:], "little")
    assert scalar < L
    assert is_signed(message, signature, ADA.public_key)
    for multiple in range(1, 15):
        assert not is_signed(message, signature_of(signature[:32], scalar + multiple * L), ADA.public_key)


def non_canonical_encodings() -> list[bytes]:
    """Every encoding of a point whose y is not below p, and the ones with a sign that x = 0 cannot have."""
    heights = [y + P for y in range(19) if at_height(y)]
    beyond = [(y | sign << 255).to_bytes(32, "little") for y in heights for sign in (0, 1)]
    signed_zero = [(y | 1 << 255).to_bytes(32, "little") for y in (1, P - 1)]
    return beyond + signed_zero


def test_a_non_canonical_commitment_is_refused():
    """Classes 8 and 9, hashed as it stands or as its reduced form."""
    key = times(SECRET, BASE)
    for commitment in non_canonical_encodings():
        y = int.from_bytes(commitment, "little") % 2**255 % P
        for hashed_as in (commitment, y.to_bytes(32, "little")):
            for number in range(8):
                message = b"message %d" % number
                scalar = challenge(hashed_as, encoded(key), message) * SECRET % L
                assert not is_signed(message, signature_of(commitment, scalar), encoded(key))


def test_a_non_canonical_key_is_refused():
    """Classes 10 and 11, the key hashed as it stands or as its reduced form."""
    commitment = encoded(times(NONCE, BASE))
    for key in non_canonical_encodings():
        with refuses(Rule.K1):
            check_public_key(key)
        for number in range(8):
            assert not is_signed(b"message %d" % number, signature_of(commitment, NONCE), key)


def test_k1_takes_the_keys_of_people_and_refuses_points_beside_them():
    check_public_key(ADA.public_key)
    check_public_key(encoded(times(SECRET, BASE)))
    not_on_curve = next(y for y in range(2, 100) if at_height(y) is None).to_bytes(32, "little")
    mixed = [encoded(add(times(SECRET, BASE), torsion)) for torsion in TORSION[1:]]
    for key in (*map(encoded, TORSION), *mixed, not_on_curve, b"", bytes(31), bytes(33)):
        with refuses(Rule.K1):
            check_public_key(key)
