"""Rule K2 as this machine's libraries carry it out, held at start to the frozen vectors."""

import json
from collections.abc import Callable
from importlib import resources
from typing import Any, Final

from nacl.exceptions import CryptoError

from tallystick.host.batches import NATIVE_ADVICE, Claim, verify_natively
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.keys import is_signed
from tallystick.problems import VerificationFailed

VECTORS: Final = "signatures.json"
"""Beside this module. tests/vectors/README.md says what it holds; `python -m tests.vectors.make` writes it."""

_PYNACL: Final = "install PyNaCl from its own wheel, which brings the libsodium it was tested with"


def check_acceptance() -> None:
    """Raise `VerificationFailed` unless each vector is accepted or refused as it has to be. Takes about 30 ms.

    PyNaCl is always in use, for single signatures; the native module is asked about each vector alone and among others.
    """
    vectors = json.loads(resources.files(__package__).joinpath(VECTORS).read_text(encoding="ascii"))
    claims = list(map(_claim, vectors))
    _hold(vectors, claims, lambda claim: is_signed(*claim), _PYNACL)
    if verify_natively is not None:
        verdict_of = dict(zip(claims, _native_verdicts(claims), strict=True))
        _hold(vectors, claims, lambda claim: verdict_of[claim], NATIVE_ADVICE)
        _hold(vectors, claims, lambda claim: _native_verdicts([claim])[0], NATIVE_ADVICE)


def _claim(vector: dict[str, Any]) -> Claim:
    message, signature, public_key = (bytes.fromhex(vector[name]) for name in ("message", "signature", "public_key"))
    return message, signature, public_key


def _native_verdicts(claims: list[Claim]) -> list[bool]:
    """What the native module says of each claim. Raises `VerificationFailed` when it does not."""
    assert verify_natively is not None
    try:
        verdicts = list(map(bool, verify_natively(encode(claims))))
    except VerificationFailed:
        raise
    except Exception as error:  # another module of that name raises what it likes
        found = f"ends in {error!r}"
    else:
        if len(verdicts) == len(claims):
            return verdicts
        found = f"gives {len(verdicts)} verdicts on {len(claims)} signatures"
    raise VerificationFailed(f"signatures cannot be verified here: tallystick-native {found}; {NATIVE_ADVICE}")


def _hold(vectors: list[dict[str, Any]], claims: list[Claim], verify: Callable[[Claim], bool], advice: str) -> None:
    for one, claim in zip(vectors, claims, strict=True):
        try:
            accepted = verify(claim)
        except (CryptoError, AttributeError) as error:
            found = f"ends in {error!r}"
        else:
            if accepted == one["accepted"]:
                continue
            found = "is accepted" if accepted else "is refused"
        needed = "accepted" if one["accepted"] else "refused"
        raise VerificationFailed(
            f"signatures cannot be verified here by the ledger's rule: [{Rule.K2.name}] the signature "
            f"{one['name']!r} {found}, and has to be {needed} ({one['decided_by']}); {advice}"
        )
