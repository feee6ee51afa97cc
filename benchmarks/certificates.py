"""Taking certificates, beside bare signature verification of the same ones; and early on a chain beside late."""

import gc
from collections.abc import Iterator
from functools import partial

import nacl.bindings as sodium

from benchmarks.result import Figure, at_least, at_most, figure
from benchmarks.workload import ISSUERS, LoneNode, batches, cpu_seconds, ledger, statements
from tallystick.ledger.params import Params

ROUNDS = 9
PER_ROUND = 2048
BATCHES = (1, 4, 16, 64, 256)
BATCHED = 512


def against_bare_verification() -> Iterator[Figure]:
    """A node's rate, from a peer's bytes to forged blocks, over that of libsodium alone, one core."""
    genesis = ledger(ISSUERS[:1], Params(forge_at_certificates=256))
    lone = LoneNode(genesis, ISSUERS[0])
    ratios, rates = [], []
    for number in range(ROUNDS):
        certificates = statements(genesis, PER_ROUND, number * PER_ROUND)
        messages = batches(certificates, 64)
        signed = [
            (one.signature + one.signed_bytes(genesis.ledger_id), one.issuer)
            for one in statements(genesis, PER_ROUND, number * PER_ROUND)
        ]
        gc.collect()
        bare = cpu_seconds(partial(_verify, signed))
        taking = cpu_seconds(partial(_feed, lone, messages))
        ratios.append(bare / taking)
        rates.append(PER_ROUND / taking)
    assert lone.node.state.log.size == ROUNDS * PER_ROUND
    what = "certificates from a peer's bytes (64 a message) to forged blocks of 256, one core, signatures in line"
    yield figure("taken / bare", f"{what}, a second / bare libsodium verification", ratios, goal=at_least(0.60))
    yield figure("taken", "the same alone", rates, "certificates/s")


def by_batch() -> Iterator[Figure]:
    """Processor time of a certificate, by how many come in one message and stand in one block."""
    for size in BATCHES:
        genesis = ledger(ISSUERS[:1], Params(forge_at_certificates=size))
        lone, costs = LoneNode(genesis, ISSUERS[0]), []
        for number in range(ROUNDS):
            certificates = statements(genesis, BATCHED, number * BATCHED)
            messages = batches(certificates, size)
            gc.collect()
            costs.append(1e6 * cpu_seconds(partial(_feed, lone, messages)) / BATCHED)
        assert lone.node.state.log.size == ROUNDS * BATCHED
        yield figure("cost", "a certificate, by how many a message and a block have, one core", costs, "µs", at=size)


def by_height() -> Iterator[Figure]:
    """Cost of a certificate at height 2,000 over its cost at height 10, chunk by chunk side by side."""
    genesis = ledger(ISSUERS[:1], Params(forge_at_certificates=4))
    low, high = LoneNode(genesis, ISSUERS[0]), LoneNode(genesis, ISSUERS[0])
    past = statements(genesis, 8000)
    for lone, height in ((low, 10), (high, 2000)):
        for message in batches(past[: 4 * height], 4):
            lone.take(message)
        assert lone.node.state.index == height
    del past
    ratios = []
    for number in range(ROUNDS * 2):
        messages = batches(statements(genesis, 80, 1_000_000 + 80 * number), 4)
        gc.collect()
        costs = {}
        for lone in (low, high) if number % 2 else (high, low):
            costs[lone] = cpu_seconds(partial(_feed, lone, messages))
        ratios.append(costs[high] / costs[low])
    what = "cost of a certificate in a block of 4 at height 2,000 / at height 10"
    yield figure("height 2,000 / 10", what, ratios, goal=at_most(1.10))


def _verify(signed: list[tuple[bytes, bytes]]) -> None:
    for message, key in signed:
        sodium.crypto_sign_open(message, key)


def _feed(lone: LoneNode, messages: list[bytes]) -> None:
    for message in messages:
        lone.take(message)
