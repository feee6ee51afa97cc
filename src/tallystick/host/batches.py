"""Verifies batches of claims by rule K2: together where the native module is installed, else one by one with PyNaCl.

Both give the same verdict on every claim; `check_acceptance` holds both to the frozen vectors.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from tallystick.ledger.keys import is_signed
from tallystick.problems import VerificationFailed

Claim = tuple[bytes, bytes, bytes]
"""What stands under a signature, the signature, and the public key that is said to have made it."""

VerifyBatch = Callable[[bytes], bytes]
"""A byte for each claim, 1 if its signature is accepted (K2), else 0.

A batch is the MessagePack of its claims, with lengths and counts in any of their forms, in `bytes` and no other buffer.
"""

NATIVE_ADVICE: Final = "build tallystick-native anew (make fast), or remove it: all works without it, slower"

_NAME: Final = "tallystick_native"
_decoder: Final = msgspec.msgpack.Decoder(list[Claim])


def verify_one_by_one(batch: bytes) -> bytes:
    """Verify with PyNaCl. Raises `ValueError` for what is not the MessagePack of claims."""
    return bytes(is_signed(*claim) for claim in _decoder.decode(batch))


def _load() -> tuple[VerifyBatch | None, str]:
    """What verifies natively, and the name of what verifies here.

    Only a module that is not there is done without, as else a node would be slower and nobody knew why. One that is
    there and does not load fails when it is to verify: commands that verify nothing work with it.
    """
    try:
        import tallystick_native  # noqa: PLC0415

        return (
            tallystick_native.verify_batch,
            f"tallystick-native {tallystick_native.VERSION}, {tallystick_native.arithmetic()}",
        )
    except Exception as error:  # a half or an older module raises what it likes
        if isinstance(error, ModuleNotFoundError) and error.name == _NAME:
            return None, "PyNaCl"
        told = f"signatures cannot be verified here: tallystick-native does not load ({error!r}); {NATIVE_ADVICE}"

    def fail(_batch: bytes) -> bytes:
        raise VerificationFailed(told)

    return fail, "tallystick-native, which does not load"


_loaded: Final = _load()

verify_natively: Final = _loaded[0]
"""Verify with the native module, which lets go of the interpreter's lock. Raises `ValueError` for the same, and
`VerificationFailed` when the module is there and does not load."""

VERIFIER: Final = _loaded[1]
"""The name of what verifies here, as `tallystick status` tells it."""

verify_batch: Final[VerifyBatch] = verify_natively or verify_one_by_one
"""The quickest of the two that this machine has."""
