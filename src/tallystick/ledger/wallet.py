"""A user's digital identity: a key that signs. How it is kept is the shell's business (host/key_file.py)."""

from typing import ClassVar, Final, TypeVar

import nacl.bindings as sodium
from msgspec.structs import replace

from tallystick.ledger.encoding import Encoded
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.keys import Domain, signed_bytes

SEED_BYTES: Final = 32

_SIGNATURE_BYTES: Final = 66
"""A signature as the last field of an array: MessagePack `bin8`, its length, 64 bytes."""


class Wallet:
    """Holds one Ed25519 key."""

    __slots__ = ("_secret", "public_key")

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

    def sign_note(self, message: bytes) -> bytes:
        """Return the 64-byte signature over a message of notes. It has no NUL, and all that `sign` signs has one."""
        assert b"\x00" not in message, "a note is text"
        return sodium.crypto_sign(message, self._secret)[:64]

    def seed(self) -> bytes:
        """The secret that the key is derived from, 32 bytes: for its file, and its X25519 form."""
        return self._secret[:SEED_BYTES]


class Signable(Encoded):
    """Base of what ends with a signature (`UNSIGNED` at first), which covers all fields before it."""

    domain: ClassVar[Domain]

    @property
    def body(self) -> bytes:
        """The canonical bytes up to the signature."""
        return self.encoded[:-_SIGNATURE_BYTES]

    def signed_bytes(self, ledger_id: bytes) -> bytes:
        """The message under the signature."""
        return signed_bytes(self.domain, ledger_id, self.body)


S = TypeVar("S", bound=Signable)


def sign(unsigned: S, wallet: Wallet, ledger_id: bytes) -> S:
    """The same, signed. Its bounds are not looked at."""
    return replace(unsigned, signature=wallet.sign(unsigned.domain, ledger_id, unsigned.body))
