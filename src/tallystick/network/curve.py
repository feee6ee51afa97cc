"""An Ed25519 key in its X25519 form, in which CURVE encrypts with it, and the way back (RFC 7748, section 4.1)."""

from typing import Final

import nacl.bindings as sodium
from nacl.exceptions import CryptoError

from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.wallet import Wallet

_FIELD: Final = 2**255 - 19
_SIGN_BIT: Final = 0x80


def x25519_key(public_key: bytes) -> bytes:
    """The X25519 form of an Ed25519 public key; both have 32 bytes. Raises `Refused` (K1) for what is no key."""
    try:
        return sodium.crypto_sign_ed25519_pk_to_curve25519(public_key)
    except (CryptoError, ValueError, TypeError):
        raise Refused(Rule.K1, f"{public_key.hex()} has no X25519 form") from None


def x25519_secret(wallet: Wallet) -> bytes:
    """The secret of a key's X25519 form, 32 bytes.

    It gives away no seed, but it is the scalar that signs (RFC 8032, section 5.1.5): guard it as the key itself.
    """
    _, secret = sodium.crypto_sign_seed_keypair(wallet.seed())
    return sodium.crypto_sign_ed25519_sk_to_curve25519(secret)


def ed25519_keys(key: bytes) -> tuple[bytes, bytes]:
    """The two Ed25519 public keys that have this X25519 form: a point and its negative."""
    u = int.from_bytes(key, "little") & ((1 << 255) - 1)
    y = (u - 1) * pow(u + 1, _FIELD - 2, _FIELD) % _FIELD
    positive = y.to_bytes(32, "little")
    return positive, positive[:31] + bytes([positive[31] | _SIGN_BIT])
