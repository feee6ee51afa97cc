"""Keys of ML-DSA-44, from names, and what they signed: kept in vectors/ml_dsa, as each signature is another.

`python -m tests.vectors.proofs` signs what is not there yet, and keeps what was asked for.
"""

import json
from hashlib import sha256, shake_256
from pathlib import Path

from tallystick.host.ml_dsa import MlDsaWallet, has_ml_dsa
from tallystick.ledger.fields import ML_DSA_KEY_BYTES, ML_DSA_SIGNATURE_BYTES

KEPT = Path(__file__).parent / "vectors" / "ml_dsa" / "signatures.json"
LACKING = "no ML-DSA-44 here: the extra pq (cryptography >= 50) is not installed, so nothing about it is tested"
_KNOWN: dict[str, dict[str, str]] = json.loads(KEPT.read_text()) if KEPT.exists() else {"keys": {}, "signatures": {}}
_asked: dict[str, dict[str, str]] = {"keys": {}, "signatures": {}}


class KnownWallet:
    """The key of a name, which needs no library for what it signed before."""

    def __init__(self, name: str) -> None:
        self._name = name
        known = _KNOWN["keys"].get(name) or self._wallet().public_key.hex()
        _asked["keys"][name] = known
        self.public_key = bytes.fromhex(known)

    def _wallet(self) -> MlDsaWallet:
        return MlDsaWallet(sha256(f"tallystick test ML-DSA key {self._name}".encode()).digest())

    def sign(self, message: bytes) -> bytes:
        """The one signature of these bytes that is kept."""
        place = f"{self._name} {sha256(message).hexdigest()}"
        known = _asked["signatures"].get(place) or _KNOWN["signatures"].get(place) or self._wallet().sign(message).hex()
        _asked["signatures"][place] = known
        return bytes.fromhex(known)


class StandIn:
    """A key of no scheme: quick, needs no library, and keeps nobody out who knows the public key."""

    def __init__(self, name: str) -> None:
        self.public_key = _stretched(name.encode(), ML_DSA_KEY_BYTES)

    def sign(self, message: bytes) -> bytes:
        return _stretched(self.public_key + message, ML_DSA_SIGNATURE_BYTES)


def verify_stand_in(message: bytes, signature: bytes, public_key: bytes) -> bool:
    return signature == _stretched(public_key + message, ML_DSA_SIGNATURE_BYTES)


def _stretched(data: bytes, size_bytes: int) -> bytes:
    return shake_256(data).digest(size_bytes)


def keep() -> None:
    """Write what was asked for."""
    assert has_ml_dsa(), LACKING
    KEPT.write_text(json.dumps(_asked, indent=1, sort_keys=True) + "\n", encoding="ascii")
