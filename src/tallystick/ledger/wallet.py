"""A person's digital identity: a key that signs, and the sealed form in which it is kept.

Randomness comes from the caller (`seed`, `entropy`): the core has none. The key *file* is the shell's business.
"""

import json
from typing import Final

import nacl.bindings as sodium
from nacl import pwhash
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.keys import Domain, signed_bytes

SEED_BYTES: Final = 32
ENTROPY_BYTES: Final = pwhash.argon2id.SALTBYTES + SecretBox.NONCE_SIZE
"""Random bytes that sealing a key uses up: Argon2id's salt, then the secret box's nonce."""

_FORMAT: Final = "tallystick-key-v1"
_MAX_SEALED_BYTES: Final = 1024
_STRENGTHS: Final = {
    "moderate": (pwhash.argon2id.OPSLIMIT_MODERATE, pwhash.argon2id.MEMLIMIT_MODERATE),
    "interactive": (pwhash.argon2id.OPSLIMIT_INTERACTIVE, pwhash.argon2id.MEMLIMIT_INTERACTIVE),
}


class Wallet:
    """Holds one Ed25519 key. Its secret leaves it only sealed, or as what encrypts connections."""

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

    def x25519_secret(self) -> bytes:
        """The secret of this key's X25519 form, 32 bytes, for encrypted connections.

        It gives away no seed, but it is the scalar that signs (RFC 8032, section 5.1.5): guard it as the key itself.
        """
        return sodium.crypto_sign_ed25519_sk_to_curve25519(self._secret)

    def seal(self, passphrase: str, entropy: bytes, strength: str = "moderate") -> bytes:
        """Return the key file's bytes: JSON with the seed in a secret box under Argon2id of the passphrase.

        `entropy` is `ENTROPY_BYTES` fresh random bytes; `strength` is `moderate` or `interactive`.
        """
        if len(entropy) != ENTROPY_BYTES:
            raise Refused(Rule.E2, f"sealing a key takes {ENTROPY_BYTES} random bytes, not {len(entropy)}")
        salt, nonce = entropy[: pwhash.argon2id.SALTBYTES], entropy[pwhash.argon2id.SALTBYTES :]
        box = _secret_box(passphrase, salt, strength)
        sealed = box.encrypt(self._secret[:SEED_BYTES], nonce).ciphertext
        fields = {
            "format": _FORMAT,
            "public_key": self.public_key.hex(),
            "kdf": f"argon2id-{strength}",
            "salt": salt.hex(),
            "nonce": nonce.hex(),
            "sealed_seed": sealed.hex(),
        }
        return json.dumps(fields, indent=2).encode() + b"\n"

    @classmethod
    def unseal(cls, data: bytes, passphrase: str) -> "Wallet":
        """Open a sealed key. Raises `Refused` (E1, E2 not a key file; E4 a later format; K4 wrong passphrase)."""
        fields = _parse_sealed(data)
        strength = fields["kdf"].removeprefix("argon2id-")
        if strength not in _STRENGTHS:
            raise Refused(Rule.E4, f"key derivation {fields['kdf']!r} is not known")
        try:
            salt, nonce, sealed = (bytes.fromhex(fields[name]) for name in ("salt", "nonce", "sealed_seed"))
            public_key = bytes.fromhex(fields["public_key"])
        except ValueError as error:
            raise Refused(Rule.E2, f"key file: {error}") from None
        if len(salt) != pwhash.argon2id.SALTBYTES or len(nonce) != SecretBox.NONCE_SIZE:
            raise Refused(Rule.E2, "key file: salt or nonce has the wrong length")
        try:
            seed = _secret_box(passphrase, salt, strength).decrypt(sealed, nonce)
        except CryptoError:
            raise Refused(Rule.K4, "wrong passphrase, or the file was altered") from None
        wallet = cls(seed)
        if wallet.public_key != public_key:
            raise Refused(Rule.K4, "the sealed key is not the one that the file names")
        return wallet


def sealed_public_key(data: bytes) -> bytes:
    """The public key that a key file names, without its passphrase. Raises `Refused` (E1, E2, E4)."""
    named = _parse_sealed(data)["public_key"]
    try:
        return bytes.fromhex(named)
    except ValueError as error:
        raise Refused(Rule.E2, f"key file: {error}") from None


def _secret_box(passphrase: str, salt: bytes, strength: str) -> SecretBox:
    opslimit, memlimit = _STRENGTHS[strength]
    try:
        secret = passphrase.encode()
    except UnicodeEncodeError:
        raise Refused(Rule.K4, "a passphrase is text, and this is none") from None
    key = pwhash.argon2id.kdf(SecretBox.KEY_SIZE, secret, salt, opslimit=opslimit, memlimit=memlimit)
    return SecretBox(key)


def _parse_sealed(data: bytes) -> dict[str, str]:
    if len(data) > _MAX_SEALED_BYTES:
        raise Refused(Rule.E1, f"key file of {len(data)} bytes, {_MAX_SEALED_BYTES} allowed")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise Refused(Rule.E2, "key file: not JSON") from None
    wanted = ("format", "public_key", "kdf", "salt", "nonce", "sealed_seed")
    if not isinstance(fields, dict) or any(not isinstance(fields.get(name), str) for name in wanted):
        raise Refused(Rule.E2, f"key file: needs the text fields {', '.join(wanted)}")
    if fields["format"] != _FORMAT:
        raise Refused(Rule.E4, f"key file of format {fields['format']!r}, {_FORMAT!r} is known")
    return fields
