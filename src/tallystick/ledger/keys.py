"""Ed25519 by libsodium's acceptance rule, with a domain and the ledger's id under every signature."""

from enum import Enum

import nacl.bindings as sodium
from nacl.exceptions import CryptoError

from tallystick.ledger.errors import Refused, Rule


class Domain(Enum):
    """What a signature is for; the value is signed, so no signature serves another purpose."""

    ADDRESS = b"tallystick.address.v1\x00"
    CERTIFICATE = b"tallystick.certificate.v1\x00"
    BLOCK = b"tallystick.block.v1\x00"
    RECOVERY = b"tallystick.recovery.v1\x00"
    VOTE = b"tallystick.vote.v1\x00"
    CONNECTION = b"tallystick.connection.v1\x00"


def signed_bytes(domain: Domain, ledger_id: bytes, body: bytes) -> bytes:
    """The message under a signature: domain, ledger id (32 bytes), body."""
    return domain.value + ledger_id + body


def is_signed(message: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether libsodium accepts the signature (rule K2); it refuses small-order and non-canonical keys."""
    try:
        sodium.crypto_sign_open(signature + message, public_key)
    except (CryptoError, ValueError, TypeError):
        return False
    return True


def check_public_key(public_key: bytes) -> None:
    """Raise `Refused` (K1) for bytes that are no point of Ed25519's main subgroup."""
    if len(public_key) != sodium.crypto_sign_PUBLICKEYBYTES:
        raise Refused(Rule.K1, f"{len(public_key)} bytes, 32 needed")
    if not sodium.crypto_core_ed25519_is_valid_point(public_key):
        raise Refused(Rule.K1, f"{public_key.hex()} is no point of the main subgroup")
