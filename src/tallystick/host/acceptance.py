"""Rule K2 as this machine's libsodium carries it out, held at start to the frozen vectors."""

import json
from importlib import resources
from typing import Final

from nacl.exceptions import CryptoError

from tallystick.ledger.errors import Rule
from tallystick.ledger.keys import is_signed
from tallystick.problems import VerificationFailed

VECTORS: Final = "signatures.json"
"""Beside this module. tests/vectors/README.md says what it holds; `python -m tests.vectors.make` writes it."""

_ADVICE: Final = "install PyNaCl from its own wheel, which brings the libsodium it was tested with"


def check_acceptance() -> None:
    """Raise `VerificationFailed` unless each vector is accepted or refused as it has to be. Takes about 20 ms."""
    for one in json.loads(resources.files(__package__).joinpath(VECTORS).read_text(encoding="ascii")):
        claim = (bytes.fromhex(one[name]) for name in ("message", "signature", "public_key"))
        try:
            accepted = is_signed(*claim)
        except (CryptoError, AttributeError) as error:
            found = f"ends in {error!r}"
        else:
            if accepted == one["accepted"]:
                continue
            found = "is accepted" if accepted else "is refused"
        needed = "accepted" if one["accepted"] else "refused"
        raise VerificationFailed(
            f"signatures cannot be verified here by the ledger's rule: [{Rule.K2.name}] the signature "
            f"{one['name']!r} {found}, and has to be {needed} ({one['decided_by']}); {_ADVICE}"
        )
