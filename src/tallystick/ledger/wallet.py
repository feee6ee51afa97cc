"""A person's digital identity: a key that signs. How it is kept is the shell's business (host/key_file.py)."""

from typing import Final

import nacl.bindings as sodium

from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.keys import Domain, signed_bytes

SEED_BYTES: Final = 32


class Wallet:
    """Holds one Ed25519 key."""

    __slots__ = ("_secret", "public_key")

    public_key: bytes

    def __init__(self, seed: bytes) -> None:
        """Derive the key from 32 random bytes (RFC 8032)."""
        if len(seed) != SEED_BYTES:
            raise Refused(Rule.E2, f"a key's seed has {SEED_BYTES} bytes, not {len(seed)}")
        self.public_key, self._secret = sodium.crypto_sign_seed_keypair(seed)

    def __repr__(self) -> str:
        return f"Wallet({self.public_key.hex()[:16]}…)"

    def sign(self, domain: Domain, ledger_id: bytes, body: bytes) -> bytes:
        """Return the 64-byte signature over domain, ledger id and body."""
        return sodium.crypto_sign(signed_bytes(domain, ledger_id, body), self._secret)[:64]

    def seed(self) -> bytes:
        """The secret that the key is derived from, 32 bytes: only for sealing it into its file."""
        return self._secret[:SEED_BYTES]

    def x25519_secret(self) -> bytes:
        """The secret of this key's X25519 form, 32 bytes, for encrypted connections.

        It gives away no seed, but it is the scalar that signs (RFC 8032, section 5.1.5): guard it as the key itself.
        """
        return sodium.crypto_sign_ed25519_sk_to_curve25519(self._secret)
