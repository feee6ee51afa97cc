"""Signatures in batches, by the native module, over bare PyNaCl; and what a bad one costs its batch."""

import statistics
from collections.abc import Iterator

import nacl.bindings as sodium

from benchmarks.result import Absent, Figure, figure
from benchmarks.workload import CREATED_MS, ISSUERS, cpu_seconds, ledger
from tallystick.host.batches import VERIFIER, Claim, verify_natively
from tallystick.ledger.certificate import issue_statement
from tallystick.ledger.encoding import encode
from tallystick.ledger.wallet import Wallet

ROUNDS = 9
SIZES = (1, 4, 16, 64, 256, 1024)
PER_ROUND = 1024
BAD = (1, 4, 256)


def natively() -> Iterator[Figure | Absent]:
    """Processor time of one core. Keys are known already, as they are to a node: each is looked at once."""
    if verify_natively is None:
        yield Absent("native / libsodium", "the native module is not built (make fast)")
        return
    few, many = ISSUERS, [Wallet(number.to_bytes(32, "big")) for number in range(10_000, 10_000 + PER_ROUND)]
    for issuers, name in ((few, "64 issuers"), (many, "all issuers different")):
        claims, what = _claims(issuers), f"signatures in batches by {VERIFIER}, {name} / bare libsodium, one core"
        for size in SIZES:
            yield figure(f"native / libsodium, {name}", what, _faster(claims, size), at=size)
    claims = _claims(many)[:256]
    good_s = statistics.median(_native_seconds(claims, 256) for _ in range(ROUNDS))
    for bad in BAD:
        spoilt = [
            (message + b"!" * (number % (256 // bad) == 0), signature, key)
            for number, (message, signature, key) in enumerate(claims)
        ]
        costs = [_native_seconds(spoilt, 256) / good_s for _ in range(ROUNDS)]
        yield figure("bad ones", "a batch of 256 with so many badly signed / one without", costs, at=bad)


def _claims(issuers: list[Wallet]) -> list[Claim]:
    genesis = ledger(ISSUERS[:1])
    signed = [
        issue_statement(issuers[number % len(issuers)], genesis.ledger_id, CREATED_MS + number, f"sample {number:>60}")
        for number in range(PER_ROUND)
    ]
    return [(one.signed_bytes(genesis.ledger_id), one.signature, one.issuer) for one in signed]


def _faster(claims: list[Claim], size: int) -> list[float]:
    signed = [(signature + message, key) for message, signature, key in claims]

    def one_by_one() -> None:
        for message, key in signed:
            sodium.crypto_sign_open(message, key)

    _native_seconds(claims, size)
    pairs = [(_native_seconds(claims, size), cpu_seconds(one_by_one)) for _ in range(ROUNDS)]
    return [bare_s / native_s for native_s, bare_s in pairs]


def _native_seconds(claims: list[Claim], size: int) -> float:
    batches = [encode(claims[start : start + size]) for start in range(0, len(claims), size)]
    assert verify_natively is not None
    verify = verify_natively
    return cpu_seconds(lambda: [verify(batch) for batch in batches])
