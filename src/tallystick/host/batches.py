"""Verifies batches of claims by rule K2: together where the native module is installed, else one by one with PyNaCl.

Both give the same verdict on every claim; `check_acceptance` holds both to the frozen vectors.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from tallystick.ledger.keys import is_signed

VerifyBatch = Callable[[bytes], bytes]
"""A byte for each claim, 1 if its signature is accepted (K2), else 0. A batch is the MessagePack of its claims."""

_decoder: Final = msgspec.msgpack.Decoder(list[tuple[bytes, bytes, bytes]])


def verify_one_by_one(batch: bytes) -> bytes:
    """Verify with PyNaCl. Raises `ValueError` for what is not the MessagePack of claims."""
    return bytes(is_signed(*claim) for claim in _decoder.decode(batch))


verify_natively: VerifyBatch | None = None
"""Verify with the native module, which lets go of the interpreter's lock. Raises `ValueError` for the same."""

VERIFIER = "PyNaCl"
"""The name of what verifies here, as `tallystick status` tells it."""

try:
    import tallystick_native
except ImportError:  # the extra `fast` is not installed
    pass
else:
    verify_natively = tallystick_native.verify_batch
    VERIFIER = f"tallystick-native {tallystick_native.VERSION}, {tallystick_native.arithmetic()}"

verify_batch: Final[VerifyBatch] = verify_natively or verify_one_by_one
"""The quickest of the two that this machine has."""
