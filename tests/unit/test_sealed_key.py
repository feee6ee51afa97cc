"""The sealed form of a key opens with its passphrase alone."""

import json

import pytest
from tests.builders import ADA, refuses

from tallystick.host.key_file import ENTROPY_BYTES, seal, sealed_public_key, unseal
from tallystick.ledger.errors import Rule
from tallystick.ledger.keys import Domain, is_signed, signed_bytes

ENTROPY = bytes(range(ENTROPY_BYTES))
SEALED = seal(ADA, "open sesame", ENTROPY, strength="interactive")


def resealed(**changes):
    return json.dumps({**json.loads(SEALED), **changes}).encode()


def test_a_sealed_wallet_opens_with_its_passphrase_and_signs_the_same():
    opened = unseal(SEALED, "open sesame")
    assert opened.public_key == ADA.public_key == sealed_public_key(SEALED)
    signature = opened.sign(Domain.BLOCK, bytes(32), b"body")
    assert is_signed(signed_bytes(Domain.BLOCK, bytes(32), b"body"), signature, ADA.public_key)


def test_the_seal_depends_on_the_entropy_alone():
    assert seal(ADA, "open sesame", ENTROPY, strength="interactive") == SEALED
    assert seal(ADA, "open sesame", bytes(ENTROPY_BYTES), strength="interactive") != SEALED
    with refuses(Rule.E2):
        seal(ADA, "open sesame", bytes(ENTROPY_BYTES - 1))


@pytest.mark.parametrize("passphrase", ["", "open sesam", "Open sesame", "open sesame ", "open\x00sesame"])
def test_another_passphrase_is_refused(passphrase):
    with refuses(Rule.K4):
        unseal(SEALED, passphrase)


def test_a_passphrase_may_be_empty_or_of_any_script():
    for passphrase in ("", "пароль 密码 🔑"):
        assert unseal(seal(ADA, passphrase, ENTROPY, "interactive"), passphrase).public_key == ADA.public_key


def test_a_passphrase_that_is_no_text_is_refused():
    """What a terminal hands over when bytes are no UTF-8."""
    with refuses(Rule.K4):
        unseal(SEALED, "open \udcff sesame")


def test_an_altered_seal_is_refused():
    fields = json.loads(SEALED)
    for name in ("salt", "nonce", "sealed_seed"):
        altered = bytearray(bytes.fromhex(fields[name]))
        altered[0] ^= 1
        with refuses(Rule.K4):
            unseal(resealed(**{name: altered.hex()}), "open sesame")
    for sealed_seed in ("", "00", fields["sealed_seed"][:-2]):
        with refuses(Rule.K4):
            unseal(resealed(sealed_seed=sealed_seed), "open sesame")


def test_hexadecimal_digits_may_be_capital_letters():
    names = ("public_key", "salt", "nonce", "sealed_seed")
    capital = resealed(**{name: json.loads(SEALED)[name].upper() for name in names})
    assert unseal(capital, "open sesame").public_key == ADA.public_key


@pytest.mark.parametrize("name", ["public_key", "salt", "nonce", "sealed_seed"])
def test_a_line_end_behind_the_digits_is_refused(name):
    with refuses(Rule.E2):
        unseal(resealed(**{name: json.loads(SEALED)[name] + "\n"}), "open sesame")


def test_a_file_that_names_another_key_is_refused():
    with refuses(Rule.K4):
        unseal(resealed(public_key="00" * 32), "open sesame")


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
        unseal(data, "open sesame")


@pytest.mark.parametrize(
    ("data", "rule"),
    [(b"{", Rule.E2), (resealed(public_key="zz"), Rule.E2), (resealed(format="?"), Rule.E4), (b" " * 2000, Rule.E1)],
    ids=["no JSON", "no hex", "unknown format", "oversized"],
)
def test_a_public_key_is_not_read_from_what_is_no_key_file(data, rule):
    with refuses(rule):
        sealed_public_key(data)
