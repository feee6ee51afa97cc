"""Keys and signatures: the acceptance rule K2 and its edges."""

from itertools import count

import nacl.bindings as sodium
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError
from tests.builders import ADA, BEN, refuses
from tests.curve import (
    BASE,
    TORSION,
    L,
    P,
    add,
    at_height,
    challenge,
    decided_by,
    encoded,
    equation_holds,
    is_canonical,
    times,
)
from tests.vectors.signatures import vectors

from tallystick.ledger.errors import Rule
from tallystick.ledger.keys import REMEMBERED_KEYS, Domain, check_public_key, is_signed, signed_bytes
from tallystick.ledger.wallet import Wallet

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


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: f"{vector.decided_by}: {vector.name}")
def test_a_signature_at_the_edge_is_decided_as_its_vector_says(vector):
    assert is_signed(vector.message, vector.signature, vector.public_key) == vector.accepted


def is_signed_by_pynacl(message, signature, key):
    try:
        sodium.crypto_sign_open(signature + message, key)
    except BadSignatureError:
        return False
    return True


CRAFTED = st.tuples(
    st.integers(0, 7),  # the part of small order in the key
    st.sampled_from([0, 1, 1, 1]),  # the key's other part: there or not
    st.integers(0, 7),  # the same two of R
    st.sampled_from([0, 1, 1]),
    st.sampled_from([0, 0, 0, 1, L - 1, L]),  # added to S
    st.booleans(),  # whether k = 0 mod 8
)


@given(crafted=CRAFTED, number=st.integers(0, 2**32))
def test_the_rule_is_the_one_in_plain_integers_whatever_is_crafted(crafted, number):
    """And PyNaCl's yes is a yes, once S, R and the key have passed."""
    key_torsion, has_key, nonce_torsion, has_nonce, more, wants_multiple = crafted
    key = encoded(add(times(has_key * SECRET, BASE), TORSION[key_torsion]))
    commitment = encoded(add(times(has_nonce * NONCE, BASE), TORSION[nonce_torsion]))
    for start in count(number):
        message = start.to_bytes(8, "big")
        hashed = challenge(commitment, key, message)
        if not wants_multiple or hashed % 8 == 0:
            break
    scalar = (has_nonce * NONCE + hashed * has_key * SECRET) % L + more
    claim = message, signature_of(commitment, scalar), key
    decision = decided_by(*claim)
    assert is_signed(*claim) == (decision in ("libsodium", "cofactored"))
    if decision not in ("S", "R", "K1") and is_signed_by_pynacl(*claim):
        assert is_signed(*claim)
    if decision == "libsodium":
        assert is_signed_by_pynacl(*claim)


@given(seed=st.binary(min_size=32, max_size=32), body=st.binary(max_size=100), bit=st.integers(0, 511))
def test_what_people_sign_is_accepted_and_with_one_bit_changed_refused(seed, body, bit):
    signer = Wallet(seed)
    message, signature = signed_bytes(Domain.VOTE, LEDGER, body), signer.sign(Domain.VOTE, LEDGER, body)
    assert is_signed(message, signature, signer.public_key)
    for changed, size in ((0, 32), (1, 64), (2, len(message))):
        parts = [signer.public_key, signature, message]
        place = bit % (8 * size)
        flipped = int.from_bytes(parts[changed], "big") ^ 1 << place
        parts[changed] = flipped.to_bytes(size, "big")
        assert not is_signed(parts[2], parts[1], parts[0])


def test_a_key_is_looked_at_once_and_not_for_ever(monkeypatch):
    """Of whoever makes up new keys, so many are remembered and no more."""
    looked_at = []

    def look(key):
        looked_at.append(key)
        return False

    monkeypatch.setattr(sodium, "crypto_core_ed25519_is_valid_point", look)
    signature = ADA.sign(Domain.BLOCK, LEDGER, b"x")
    keys = [b"made up" + number.to_bytes(25, "big") for number in range(REMEMBERED_KEYS + 1)]
    for key in (keys[0], keys[0], *keys):
        assert not is_signed(b"message", signature, key)
    assert looked_at == keys
    assert not is_signed(b"message", signature, keys[0])
    assert looked_at == [*keys, keys[0]]


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


def test_a_commitment_of_small_order_is_refused_with_a_key_of_mixed_order():
    """Class 2: R small, A mixed, and S as if R were the neutral element. With a valid key such an R is accepted."""
    for order, torsion in enumerate(TORSION):
        key = add(times(SECRET, BASE), torsion)
        commitment = TORSION[-order % 8]
        message, _, hashed = craft(key, commitment, lambda h: h % 8 == 1)
        scalar = hashed * SECRET % L
        assert equation_holds(commitment, key, scalar, hashed)
        assert is_signed(message, signature_of(encoded(commitment), scalar), encoded(key)) == (order == 0)


def test_a_key_with_a_small_part_is_refused_though_the_parts_cancel():
    """Class 3: libsodium alone accepts it, and so do most libraries; K1 does not."""
    key, commitment = add(times(SECRET, BASE), TORSION[1]), add(times(NONCE, BASE), TORSION[3])
    message, scalar, hashed = craft(key, commitment, lambda h: h % 8 == 5)
    assert equation_holds(commitment, key, scalar, hashed)
    assert not is_signed(message, signature_of(encoded(commitment), scalar), encoded(key))


def test_verification_is_with_cofactor():
    """Classes 4 and 5 hold only where both sides are multiplied by 8: accepted, unless the key has the small part."""
    mixed_key, commitment = add(times(SECRET, BASE), TORSION[1]), add(times(NONCE, BASE), TORSION[3])
    for key in (times(SECRET, BASE), mixed_key):
        message, scalar, hashed = craft(key, commitment, lambda h: h % 8 != 5)
        assert equation_holds(commitment, key, scalar, hashed, cofactor=8)
        assert not equation_holds(commitment, key, scalar, hashed)
        accepted = is_signed(message, signature_of(encoded(commitment), scalar), encoded(key))
        assert accepted == (key != mixed_key)


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
    assert not any(map(is_canonical, beyond + signed_zero))
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
