"""The verifier's worker processes, beside as many processes, or threads, that do nothing but verify."""

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from multiprocessing import get_context
from threading import Barrier

import nacl.bindings as sodium

from benchmarks.result import Figure, at_least, at_most, figure
from benchmarks.workload import ISSUERS, ledger, statements
from tallystick.host.batches import Claim
from tallystick.host.verification import Verifier
from tallystick.ledger.keys import is_signed

ROUNDS = 7
PER_ROUND = 8192
PER_CALL = 1024
PER_THREAD = 256
"""Few: beside a thread that computes another takes its time."""
SLICE_S = 0.005
"""How long the busy loop computes before it gives others a turn, as a node does with a message."""
WARM_UP_CLAIMS = 512

GENESIS = ledger(ISSUERS[:1])
_start_together: Barrier


def in_worker_processes() -> list[Figure]:
    """All cores, with an idle loop and with one that computes all the time; and what few claims take."""
    return asyncio.run(_measure())


async def _measure() -> list[Figure]:
    processes = os.cpu_count() or 1
    verifier = Verifier(processes)
    await verifier.start()
    await verifier.verify(_claims(0, WARM_UP_CLAIMS))
    turns_s, firsts = [[0.0], [0.0]], count(WARM_UP_CLAIMS, PER_ROUND)
    idle, busy, threads, rates, cpu_us = [], [], [], [], []
    spawn = get_context("spawn")
    with (
        ProcessPoolExecutor(processes, spawn, _prepare, (spawn.Barrier(processes),)) as bare,
        ThreadPoolExecutor(processes) as pool,
    ):
        for _ in range(ROUNDS):
            claims, cpu_s = _claims(first := next(firsts), PER_ROUND), time.process_time()
            rate = await _ask(verifier, claims)
            cpu_us.append((time.process_time() - cpu_s) / PER_ROUND * 1e6)
            rates.append(rate)
            idle.append(rate / await _together(bare, _shares(first, processes)))
            first = next(firsts)
            reference = await _busily(turns_s[0], _together(bare, _shares(first, processes)))
            claims = _claims(first, PER_ROUND)
            busy.append(await _busily(turns_s[1], _ask(verifier, claims)) / reference)
            few = [pool.submit(_verify, claims[:PER_THREAD]) for _ in range(processes)]
            while not all(one.done() for one in few):
                pass
            threads.append(sum(one.result() for one in few) / reference)
        latencies = {size: await _latency(verifier, size) for size in (1, 5, 16, 64, 256)}
    await verifier.stop()
    p99_ms = [statistics.quantiles(turns, n=100)[-1] * 1000 for turns in turns_s]
    bare_processes = f"bare libsodium verification in {processes} processes"
    few_claims = "time of one call for so many claims with an idle verifier / of verifying them in line"
    return [
        figure("workers / bare", f"the verifier / {bare_processes}", idle, goal=at_least(0.85)),
        figure("beside work / bare", "the same beside a loop that computes all the time", busy, goal=at_least(0.85)),
        figure("threads / bare", f"{processes} threads instead, while the main thread computes", threads),
        figure("loop's wait", "for its turn, 99th percentile", [p99_ms[1]], "ms", goal=at_most(20)),
        figure("loop's own", "processor time of a claim in the loop's process", cpu_us, "µs"),
        figure("workers", "the verifier", rates, "claims/s"),
        *(figure("few", few_claims, ratios, at=size) for size, ratios in latencies.items()),
    ]


def _claims(first: int, size: int) -> list[Claim]:
    return [
        (one.signed_bytes(GENESIS.ledger_id), one.signature, one.issuer) for one in statements(GENESIS, size, first)
    ]


async def _ask(verifier: Verifier, claims: list[Claim]) -> float:
    """Claims per second when they are asked about as by several peers at once."""
    start = time.perf_counter()
    calls = [claims[first : first + PER_CALL] for first in range(0, len(claims), PER_CALL)]
    found = await asyncio.gather(*map(verifier.verify, calls))
    assert all(map(all, found))
    return len(claims) / (time.perf_counter() - start)


async def _together(executor: Executor, calls: Sequence[Callable[[], float]]) -> float:
    """Claims per second that these, each of which tells its rate, come to together."""
    loop = asyncio.get_running_loop()
    return sum(await asyncio.gather(*(loop.run_in_executor(executor, call) for call in calls)))


def _shares(first: int, processes: int) -> list[Callable[[], float]]:
    share = PER_ROUND // processes
    return [partial(_verify_own, first + number * share, share) for number in range(processes)]


async def _busily(turns_s: list[float], measured: Coroutine[None, None, float]) -> float:
    """What was measured while the loop had something to compute all the time, and how long that waited each turn."""

    async def compute() -> None:
        while True:
            end = time.perf_counter() + SLICE_S
            while time.perf_counter() < end:
                pass
            start = time.perf_counter()
            await asyncio.sleep(0)
            turns_s.append(time.perf_counter() - start)

    computing = asyncio.create_task(compute())
    try:
        return await measured
    finally:
        computing.cancel()
        with suppress(asyncio.CancelledError):
            await computing


async def _latency(verifier: Verifier, size: int) -> list[float]:
    """Time of one call with an idle verifier over that of verifying in line."""
    ratios = []
    for number in range(25):
        claims = _claims(10**7 + 10**5 * size + size * number, size)
        start = time.perf_counter()
        for claim in claims:
            is_signed(*claim)
        middle = time.perf_counter()
        await verifier.verify(claims)
        ratios.append((time.perf_counter() - middle) / (middle - start))
    return ratios


def _prepare(barrier: Barrier) -> None:
    global _start_together  # noqa: PLW0603 -- how a pool's process is told something
    _start_together = barrier


def _verify_own(first: int, size: int) -> float:
    claims = _claims(first, size)
    _start_together.wait()
    return _verify(claims)


def _verify(claims: list[Claim]) -> float:
    signed = [(signature + message, key) for message, signature, key in claims]
    start = time.perf_counter()
    for message, key in signed:
        sodium.crypto_sign_open(message, key)
    return len(claims) / (time.perf_counter() - start)
