"""`Wallet`: a user's digital identity."""

import os

from tallystick.course.certificate import Certificate
from tallystick.course.ledger import LEDGER_ID
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.wallet import SEED_BYTES
from tallystick.ledger.wallet import Wallet as EngineWallet


class Wallet:
    """A fresh key. `publicKey` (hex) is for everybody; the secret stays inside."""

    def __init__(self) -> None:
        self._engine = EngineWallet(os.urandom(SEED_BYTES))

    def __repr__(self) -> str:
        return f"<Wallet {self.publicKey[:10]}…>"

    @property
    def publicKey(self) -> str:
        """The public key, 64 hex digits."""
        return self._engine.public_key.hex()

    @property
    def engine(self) -> EngineWallet:
        """The engine's wallet: what a node forges with."""
        return self._engine

    def sign(self, signable: object) -> None:
        """Set the `signature` of a certificate or block; whatever is changed in it afterwards makes it illegal.

        Anybody can sign anything: only the issuer's own signature is legal. Raises `Refused` (E1, E2) for what cannot
        be encoded, so that nonsense is never signed.
        """
        if not isinstance(signable, Certificate):
            kind = type(signable).__name__
            raise Refused(Rule.E2, f"a wallet signs a Certificate or a Block, not a {kind}")
        domain, body = signable.signed_part()
        signable.signature = self._engine.sign(domain, LEDGER_ID, body).hex()
