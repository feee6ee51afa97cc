"""A key's X25519 form: what connections are encrypted with, and how it is told whose it is."""

import nacl.bindings as sodium
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import refuses

from tallystick.ledger.errors import Rule
from tallystick.ledger.wallet import Wallet
from tallystick.network.curve import ed25519_keys, x25519_key, x25519_secret

SEEDS = st.binary(min_size=32, max_size=32)


@given(seed=SEEDS)
def test_both_halves_of_a_key_have_matching_x25519_forms(seed):
    wallet = Wallet(seed)
    assert sodium.crypto_scalarmult_base(x25519_secret(wallet)) == x25519_key(wallet.public_key)


@given(seed=SEEDS)
def test_the_way_back_leads_to_the_key_and_its_negative(seed):
    key = Wallet(seed).public_key
    assert set(ed25519_keys(x25519_key(key))) == {key, key[:31] + bytes([key[31] ^ 0x80])}


@given(form=SEEDS)
def test_the_way_back_takes_any_bytes_for_they_come_from_strangers(form):
    assert [len(key) for key in ed25519_keys(form)] == [32, 32]


@given(one=SEEDS, other=SEEDS)
def test_two_keys_agree_on_a_secret(one, other):
    ada, ben = Wallet(one), Wallet(other)
    assert sodium.crypto_scalarmult(x25519_secret(ada), x25519_key(ben.public_key)) == sodium.crypto_scalarmult(
        x25519_secret(ben), x25519_key(ada.public_key)
    )


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"", bytes(31)], ids=bytes.hex)
def test_what_is_no_key_has_no_x25519_form(key):
    with refuses(Rule.K1):
        x25519_key(key)
