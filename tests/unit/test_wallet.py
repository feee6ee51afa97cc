"""A wallet derives one key from one seed, and shows nothing of its secret."""

import pytest
from tests.builders import ADA, refuses

from tallystick.ledger.errors import Rule
from tallystick.ledger.wallet import SEED_BYTES, Wallet


def test_a_seed_gives_the_key_of_rfc_8032():
    made = Wallet(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert made.public_key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@pytest.mark.parametrize("length", [0, SEED_BYTES - 1, SEED_BYTES + 1, 64])
def test_a_seed_of_another_length_is_refused(length):
    with refuses(Rule.E2):
        Wallet(bytes(length))


def test_a_wallet_shows_its_name_and_not_its_secret():
    assert ADA.public_key.hex()[:16] in repr(ADA)
    assert not hasattr(ADA, "__dict__")
