"""ML-DSA-44 (FIPS 204) by the library `cryptography`, which comes with the extra `pq`: not every machine has it."""

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallystick.host.key_file import (
    ENTROPY_BYTES,
    ML_DSA,
    SecretKey,
    check_same_key,
    read_sealed,
    seal_secret,
    sealed_public_key,
    unseal_secret,
    write_sealed,
)
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import ML_DSA_KEY_BYTES
from tallystick.ledger.keys import Verify
from tallystick.problems import Problem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

SEED_BYTES: Final = 32


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


def create_ml_dsa_file(path: Path, passphrase: str, strength: str = "moderate") -> MlDsaWallet:
    """Make a key, sealed in a new file of mode 0600. Raises `NoMlDsa`, `KeyFileError`; a file that is there stays."""
    seed = os.urandom(SEED_BYTES)
    wallet = MlDsaWallet(seed)
    sealed = seal_secret(SecretKey(ML_DSA, seed, wallet.public_key), passphrase, os.urandom(ENTROPY_BYTES), strength)
    write_sealed(path, sealed)
    return wallet


def open_ml_dsa_file(path: Path, passphrase: str) -> MlDsaWallet:
    """Open the key in a file. Raises `NoMlDsa`, `KeyFileError`, and `Refused` as for other keys."""
    secret = unseal_secret(read_sealed(path), passphrase, ML_DSA)
    if len(secret.seed) != SEED_BYTES:
        raise Refused(Rule.K4, f"the sealed seed has {len(secret.seed)} bytes, {SEED_BYTES} expected")
    wallet = MlDsaWallet(secret.seed)
    check_same_key(wallet.public_key, secret)
    return wallet


def ml_dsa_public_key(path: Path) -> bytes:
    """The public key that a file names, without passphrase and library. Raises `KeyFileError`, `Refused`."""
    return sealed_public_key(read_sealed(path), ML_DSA)


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
