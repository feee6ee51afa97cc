"""Ed25519 by the acceptance rule K2 (docs/protocol.md, docs/adr/0017), with a domain and the ledger's id signed too."""

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from hashlib import sha512
from typing import Final

import nacl.bindings as sodium
from nacl.exceptions import CryptoError

from tallystick.ledger.errors import Refused, Rule

REMEMBERED_KEYS: Final = 16_384
"""Of so many keys a process remembers whether they are valid (K1): to find out costs nearly as much as to verify."""

_P: Final = 2**255 - 19
_SIGN: Final = 1 << 255
_L_BIG_ENDIAN: Final = (2**252 + 27742317777372353535851937790883648493).to_bytes(32, "big")
"""The order of the main subgroup. S stands in a signature the other way round, from its last byte to the 33rd."""
_IDENTITY: Final = (1).to_bytes(32, "little")

_NON_CANONICAL: Final = frozenset(
    [(y | sign).to_bytes(32, "little") for y in range(_P, _SIGN) for sign in (0, _SIGN)]
    + [(y | _SIGN).to_bytes(32, "little") for y in (1, _P - 1)]
)
"""All 40: y not below p, and the two points with x = 0 under the sign bit."""


class Domain(bytes, Enum):
    """What a signature is for; these bytes are signed, so no signature serves another purpose."""

    ADMISSION = b"tallystick.admission.v1\x00"
    ADDRESS = b"tallystick.address.v1\x00"
    CERTIFICATE = b"tallystick.certificate.v1\x00"
    BLOCK = b"tallystick.block.v1\x00"
    RECOVERY = b"tallystick.recovery.v1\x00"
    VOTE = b"tallystick.vote.v1\x00"
    CONTINUATION = b"tallystick.continuation.v1\x00"
    CONNECTION = b"tallystick.connection.v1\x00"


def signed_bytes(domain: Domain, ledger_id: bytes, body: bytes) -> bytes:
    """The message under a signature: domain, ledger id (32 bytes), body."""
    return domain + ledger_id + body


Verify = Callable[[bytes, bytes, bytes], bool]
"""Whether a signature is good: the message under it, the signature, the public key that is said to have made it."""


def is_signed(message: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether the signature is accepted: rule K2, its checks in their order.

    Only what PyNaCl refuses reaches the equation, which takes about four times as long.
    """
    if len(signature) != sodium.crypto_sign_BYTES or signature[:31:-1] >= _L_BIG_ENDIAN:
        return False
    if signature[:32] in _NON_CANONICAL or not _is_valid_key(public_key):
        return False
    try:
        sodium.crypto_sign_open(signature + message, public_key)
    except CryptoError:
        return _cofactored_equation_holds(message, signature[:32], signature[32:], public_key)
    return True


def check_public_key(public_key: bytes) -> None:
    """Raise `Refused` (K1) for bytes that are no point of Ed25519's main subgroup."""
    if not _is_valid_key(public_key):
        raise Refused(Rule.K1, f"{public_key.hex()} is no point of the main subgroup")


@lru_cache(maxsize=REMEMBERED_KEYS)
def _is_valid_key(public_key: bytes) -> bool:
    try:
        return sodium.crypto_core_ed25519_is_valid_point(public_key)
    except (TypeError, ValueError):  # not 32 bytes
        return False


def _cofactored_equation_holds(message: bytes, commitment: bytes, scalar: bytes, public_key: bytes) -> bool:
    """Whether [8]([S]B - [k]A - R) = 0, for a valid key, a canonical R and S < L."""
    challenge = sodium.crypto_core_ed25519_scalar_reduce(sha512(commitment + public_key + message).digest())
    # The bindings raise where a multiple is the identity.
    of_base = sodium.crypto_scalarmult_ed25519_base_noclamp(scalar) if any(scalar) else _IDENTITY
    of_key = sodium.crypto_scalarmult_ed25519_noclamp(challenge, public_key) if any(challenge) else _IDENTITY
    try:
        difference = sodium.crypto_core_ed25519_sub(sodium.crypto_core_ed25519_sub(of_base, of_key), commitment)
    except CryptoError:  # R is not on the curve
        return False
    for _ in range(3):
        difference = sodium.crypto_core_ed25519_add(difference, difference)
    return difference == _IDENTITY
