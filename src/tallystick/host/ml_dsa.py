"""ML-DSA-44 (FIPS 204) by the library `cryptography`, which comes with the extra `pq`: not every machine has it."""

from functools import cache
from typing import TYPE_CHECKING

from tallystick.ledger.fields import ML_DSA_KEY_BYTES
from tallystick.ledger.keys import Verify
from tallystick.problems import Problem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

SEED_BYTES = 32


class NoMlDsa(Problem):
    """This machine has no library that knows ML-DSA-44."""


class MlDsaWallet:
    """A key of ML-DSA-44. No two of its signatures over the same bytes are the same; each is good."""

    def __init__(self, seed: bytes) -> None:
        """`seed` is 32 bytes. Raises `NoMlDsa`."""
        self._key = _private_key(seed)
        self.public_key = self._key.public_key().public_bytes_raw()
        """1,312 bytes."""

    def sign(self, message: bytes) -> bytes:
        """The signature, 2,420 bytes."""
        return self._key.sign(message)


def ml_dsa_verifier() -> Verify | None:
    """Tells whether a signature is good; `None`: this machine cannot tell."""
    return _is_signed if has_ml_dsa() else None


@cache
def has_ml_dsa() -> bool:
    """Whether this machine can sign and verify by ML-DSA-44."""
    try:
        _private_key(bytes(SEED_BYTES))
    except NoMlDsa:
        return False
    return True


def _private_key(seed: bytes) -> "MLDSA44PrivateKey":
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # an extra
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey  # noqa: PLC0415
    except ImportError:
        raise NoMlDsa("there is no library for ML-DSA-44 here; install tallystick[pq]") from None
    try:
        return MLDSA44PrivateKey.from_seed_bytes(seed)
    except UnsupportedAlgorithm:
        raise NoMlDsa("the library `cryptography` here knows no ML-DSA-44; install its wheel: tallystick[pq]") from None


def _is_signed(message: bytes, signature: bytes, public_key: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey  # noqa: PLC0415

    if len(public_key) != ML_DSA_KEY_BYTES:
        return False
    try:
        MLDSA44PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
