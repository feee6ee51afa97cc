"""A wallet derives one key from one seed, and its sealed form opens with its passphrase alone."""

import json

import pytest
from tests.builders import ADA, refuses

from tallystick.ledger.errors import Rule
from tallystick.ledger.keys import Domain, is_signed, signed_bytes
from tallystick.ledger.wallet import ENTROPY_BYTES, SEED_BYTES, Wallet, sealed_public_key

ENTROPY = bytes(range(ENTROPY_BYTES))
SEALED = ADA.seal("open sesame", ENTROPY, strength="interactive")


def resealed(**changes):
    return json.dumps({**json.loads(SEALED), **changes}).encode()


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


def test_a_sealed_wallet_opens_with_its_passphrase_and_signs_the_same():
    opened = Wallet.unseal(SEALED, "open sesame")
    assert opened.public_key == ADA.public_key == sealed_public_key(SEALED)
    signature = opened.sign(Domain.BLOCK, bytes(32), b"body")
    assert is_signed(signed_bytes(Domain.BLOCK, bytes(32), b"body"), signature, ADA.public_key)


def test_the_seal_depends_on_the_entropy_alone():
    assert ADA.seal("open sesame", ENTROPY, strength="interactive") == SEALED
    assert ADA.seal("open sesame", bytes(ENTROPY_BYTES), strength="interactive") != SEALED
    with refuses(Rule.E2):
        ADA.seal("open sesame", bytes(ENTROPY_BYTES - 1))


@pytest.mark.parametrize("passphrase", ["", "open sesam", "Open sesame", "open sesame ", "open\x00sesame"])
def test_another_passphrase_is_refused(passphrase):
    with refuses(Rule.K4):
        Wallet.unseal(SEALED, passphrase)


def test_a_passphrase_may_be_empty_or_of_any_script():
    for passphrase in ("", "пароль 密码 🔑"):
        assert Wallet.unseal(ADA.seal(passphrase, ENTROPY, "interactive"), passphrase).public_key == ADA.public_key


def test_a_passphrase_that_is_no_text_is_refused():
    """What a terminal hands over when bytes are no UTF-8."""
    with refuses(Rule.K4):
        Wallet.unseal(SEALED, "open \udcff sesame")


def test_an_altered_seal_is_refused():
    fields = json.loads(SEALED)
    for name in ("salt", "nonce", "sealed_seed"):
        altered = bytearray(bytes.fromhex(fields[name]))
        altered[0] ^= 1
        with refuses(Rule.K4):
            Wallet.unseal(resealed(**{name: altered.hex()}), "open sesame")
    for sealed_seed in ("", "00", fields["sealed_seed"][:-2]):
        with refuses(Rule.K4):
            Wallet.unseal(resealed(sealed_seed=sealed_seed), "open sesame")


def test_a_file_that_names_another_key_is_refused():
    with refuses(Rule.K4):
        Wallet.unseal(resealed(public_key="00" * 32), "open sesame")


NO_KEY_FILES = {
    "empty": (b"", Rule.E2),
    "no JSON": (b"-----BEGIN", Rule.E2),
    "no UTF-8": (b'{"format": "\xff"}', Rule.E2),
    "no object": (b"[]", Rule.E2),
    "deeply nested": (b"[" * 1024, Rule.E2),
    "no fields": (b"{}", Rule.E2),
    "truncated": (SEALED[:-5], Rule.E2),
    "a number for text": (resealed(salt=5), Rule.E2),
    "no hex": (resealed(nonce="zz"), Rule.E2),
    "short salt": (resealed(salt="00"), Rule.E2),
    "long nonce": (resealed(nonce="00" * 25), Rule.E2),
    "a later format": (resealed(format="tallystick-key-v2"), Rule.E4),
    "unknown derivation": (resealed(kdf="argon2id-weak"), Rule.E4),
    "oversized": (SEALED + b" " * 1024, Rule.E1),
}


@pytest.mark.parametrize(("data", "rule"), NO_KEY_FILES.values(), ids=NO_KEY_FILES)
def test_what_is_no_key_file_is_refused(data, rule):
    with refuses(rule):
        Wallet.unseal(data, "open sesame")


@pytest.mark.parametrize(
    ("data", "rule"),
    [(b"{", Rule.E2), (resealed(public_key="zz"), Rule.E2), (resealed(format="?"), Rule.E4), (b" " * 2000, Rule.E1)],
    ids=["no JSON", "no hex", "unknown format", "oversized"],
)
def test_a_public_key_is_not_read_from_what_is_no_key_file(data, rule):
    with refuses(rule):
        sealed_public_key(data)
