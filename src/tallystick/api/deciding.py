"""How a decision is signed, by a node or by a client with a key of its own."""

import os

from tallystick.api import decisions as d
from tallystick.host.clock import now_ms
from tallystick.ledger.certificate import SALT_BYTES, Payload, sign_certificate
from tallystick.ledger.messages import Entry
from tallystick.ledger.wallet import Wallet


def signed_decision(wallet: Wallet, ledger_id: bytes, decision: d.AnyDecision, words: str = "") -> Entry:
    """The decision, signed by the wallet; its words are its payload. Raises `Refused` (E1, E2)."""
    kind, values = d.signed_as(decision)
    payload = Payload.about(words, None, os.urandom(SALT_BYTES)) if words else None
    unsigned = kind(wallet.public_key, now_ms(), "", payload.hash() if payload else None, *values)
    return Entry(sign_certificate(unsigned, wallet, ledger_id), payload)
