"""The verifier with its real processes: right verdicts, each claim once, whatever is killed; nothing is left behind."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import tracemalloc
from functools import cache
from random import Random

import pytest
from msgspec.structs import replace
from tests.builders import BEN, LEDGER, Bench, statement, statements

from tallystick.host import verification
from tallystick.host.batches import verify_natively, verify_one_by_one
from tallystick.host.claims import settle
from tallystick.host.verification import (
    ATTEMPTS,
    BATCH_CLAIMS,
    CLAIMS_PER_WORKER,
    IN_LINE_CLAIMS,
    REMEMBERED_CLAIMS,
    WORKERS_FROM_CLAIMS,
    Verifier,
    verifying,
)
from tallystick.ledger.keys import is_signed
from tallystick.ledger.messages import Certificates, Entry, encode_message
from tallystick.problems import VerificationFailed

WORKERS = 2


class CountingVerifier(Verifier):
    """Counts the claims that it verified."""

    def __init__(self, workers=None):
        super().__init__(workers)
        self.verified = 0

    def _settle(self, batch, verdicts):
        self.verified += len(batch.claims)
        super()._settle(batch, verdicts)


def fullness(verifier):
    """Claims under way over the most there may be."""
    return verifier._bulk.under_way / verifier._limit


def pids_of(verifier):
    """The processes that are ready to verify."""
    return [worker._process.pid for worker in verifier._workers if worker.is_ready]


def with_verifier(use, workers=WORKERS):
    """What `use` makes of a started verifier, which is stopped afterwards, in a loop of its own."""

    async def run():
        verifier = CountingVerifier(workers)
        await verifier.start()
        try:
            async with asyncio.timeout(90):
                return await use(verifier)
        finally:
            await verifier.stop()

    return asyncio.run(run())


def claim(certificate):
    return certificate.signed_bytes(LEDGER), certificate.signature, certificate.issuer


@cache
def good_and_bad():
    """A thousand claims in a fixed order, a fifth of them false in one way or another."""
    random, claims = Random(1), [claim(one) for one in statements(1_000)]
    for place in random.sample(range(1_000), 200):
        signed, signature, key = claims[place]
        claims[place] = random.choice(
            [
                (signed + b"more", signature, key),
                (signed, bytes(64), key),
                (signed, signature, BEN.public_key),
                (signed, signature[:-1], key),
                (signed, signature, key + b"\x00"),
                (signed, signature, b"\x01" + bytes(31)),
                (b"", b"", b""),
            ]
        )
    return claims


def verdicts(claims):
    return [is_signed(*one) for one in claims]


def unseen(count, start=0, size_bytes=300):
    """Claims nobody asked about before, each as much work as a good one: one signature under other bytes."""
    _, signature, key = claim(statement())
    return [(number.to_bytes(size_bytes, "big"), signature, key) for number in range(start, start + count)]


def kill(pids, number=signal.SIGKILL):
    for pid in pids:
        os.kill(pid, number)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("count", [0, 1, IN_LINE_CLAIMS, IN_LINE_CLAIMS + 1, 33, BATCH_CLAIMS, BATCH_CLAIMS + 1, 1_000])
def test_verdicts_are_those_of_verifying_in_line(count):
    claims = good_and_bad()[:count]
    assert with_verifier(lambda verifier: verifier.verify(claims)) == verdicts(claims)


def test_each_of_many_callers_gets_its_own_verdicts(seed):
    random = Random(seed)
    pool, expected = good_and_bad(), verdicts(good_and_bad())
    picks = [[random.randrange(1_000) for _ in range(random.choice([1, 3, 5, 30, 300, 900]))] for _ in range(100)]

    async def use(verifier):
        async def ask(places):
            await asyncio.sleep(random.random() / 20)
            return await verifier.verify([pool[place] for place in places])

        return await asyncio.gather(*map(ask, picks))

    answers = with_verifier(use)
    assert answers == [[expected[place] for place in places] for places in picks], f"seed {seed}"


# ---- once ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, IN_LINE_CLAIMS, 40, 900])
def test_what_several_peers_send_at_once_is_verified_once(count):
    async def use(verifier):
        claims = good_and_bad()[:count]
        same = await asyncio.gather(*(verifier.verify(claims) for _ in range(8)))
        again = await verifier.verify(claims[::-1])
        assert same == [verdicts(claims)] * 8
        assert again == verdicts(claims[::-1])
        return verifier.verified

    assert with_verifier(use) == len(set(good_and_bad()[:count]))


def test_claims_of_a_large_call_are_verified_by_themselves_and_not_remembered():
    """As those of blocks that a node asked for: nobody else sends them."""

    async def use(verifier):
        claims = good_and_bad() + unseen(REMEMBERED_CLAIMS)
        large, small = await asyncio.gather(verifier.verify(claims), verifier.verify(claims[:900]))
        assert (large, small) == (verdicts(claims), verdicts(claims[:900]))
        assert set(verifier._places) == set(claims[:900])
        assert fullness(verifier) == 0
        return verifier.verified

    assert with_verifier(use) == 1_000 + REMEMBERED_CLAIMS + len(set(good_and_bad()[:900]))


def test_peers_that_send_the_same_certificates_at_the_same_time_cost_one_verification_each():
    bad = replace(statement("bad"), signature=bytes(64))
    data = encode_message(Certificates(tuple(map(Entry, [*statements(50), bad]))))
    intake = Bench().intake

    async def use(verifier):
        async def receive():
            return await settle(lambda verify: intake.verifying_by(verify).check("peer", data), verifier.verify)

        from_two = await asyncio.gather(receive(), receive())
        return [(checked.message, [one.reason for one in checked.refusals]) for checked in from_two], verifier.verified

    expected = intake.check("peer", data)
    shown = expected.message, [one.reason for one in expected.refusals]
    assert with_verifier(use) == ([shown, shown], 51)


def test_what_was_verified_vouches_for_no_other_signature_bytes_or_key():
    signed, signature, key = claim(statement())
    # The same bytes in a row, cut elsewhere.
    others = [(signed + signature[:1], signature[1:], key), (signed, signature + key[:1], key[1:])]

    async def use(verifier):
        assert await verifier.verify([(signed, signature, key)]) == [True]
        return await verifier.verify([*others, (signed, bytes(64), key), (signed, signature, BEN.public_key)])

    assert with_verifier(use) == [False] * 4


@pytest.mark.parametrize("size_bytes", [100, 300, 2_000])
def test_the_memory_of_what_was_verified_is_bounded_in_bytes(monkeypatch, size_bytes):
    monkeypatch.setattr(verification, "REMEMBERED_BYTES", 600 * (500 + size_bytes))

    async def use(verifier):
        counts = []
        for first, last in ((0, 300), (0, 300), (300, 900), (0, 300)):
            await verifier.verify(unseen(last - first, first, size_bytes))
            counts.append(verifier.verified)
        return counts

    assert with_verifier(use) == [300, 300, 900, 1_200]


@pytest.mark.parametrize("size_bytes", [100, 2_100])
def test_what_is_remembered_takes_no_more_memory_than_it_may(monkeypatch, size_bytes):
    monkeypatch.setattr(verification, "REMEMBERED_BYTES", 1_000_000)

    def signed(number):
        """As they are decoded: each with a signature and a key of its own."""
        return [
            (message, bytes(bytearray(signature)), bytes(bytearray(key)))
            for message, signature, key in unseen(256, 256 * number, size_bytes)
        ]

    async def use(verifier):
        tracemalloc.start()
        try:
            for number in range(20):
                await verifier.verify(signed(number))
            gc.collect()
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    assert with_verifier(use) < 1_100_000


def test_the_oldest_claim_that_is_remembered_may_come_with_a_new_one(monkeypatch):
    claims = good_and_bad()[:9]
    monkeypatch.setattr(verification, "REMEMBERED_BYTES", sum(500 + len(one[0]) for one in claims[:8]))

    async def use(verifier):
        for one in claims[:8]:
            await verifier.verify([one])
            await asyncio.sleep(0)  # so that each is verified in the loop
        return await verifier.verify([claims[0], claims[8]])

    assert with_verifier(use) == verdicts([claims[0], claims[8]])


def test_a_claim_whose_verification_in_line_fails_is_verified_when_it_comes_again(monkeypatch):
    def fail(_batch):
        raise OSError("no randomness")

    async def use(verifier):
        with monkeypatch.context() as patched:
            patched.setattr(verification, "verify_batch", fail)
            with pytest.raises(OSError, match="no randomness"):
                await verifier.verify(good_and_bad()[:1])
        return await verifier.verify(good_and_bad()[:1])

    assert with_verifier(use) == verdicts(good_and_bad()[:1])


# ---- how much at once -----------------------------------------------------------------------------------------------


def test_a_bounded_number_is_under_way_and_the_others_wait():
    async def use(verifier):
        seen = []
        asked = [asyncio.create_task(verifier.verify(unseen(100, 100 * number))) for number in range(60)]
        while not all(one.done() for one in asked):
            seen.append(fullness(verifier))
            await asyncio.sleep(0)
        assert [one.result() for one in asked] == [[False] * 100] * 60
        assert fullness(verifier) == 0
        return max(seen)

    assert 1 - 100 / CLAIMS_PER_WORKER < with_verifier(use, workers=1) <= 1


def asking(verifier, order):
    """What asks under a name, which is noted in `order` when it is answered."""

    async def ask(name, claims, **how):
        found = await verifier.verify(claims, **how)
        order.append(name)
        return found

    return ask


def test_a_call_larger_than_what_may_be_under_way_keeps_nobody_else_out():
    order = list[str]()

    async def use(verifier):
        ask = asking(verifier, order)
        large = asyncio.create_task(ask("large", unseen(4 * CLAIMS_PER_WORKER)))
        await until(lambda: fullness(verifier) > 0.9)
        small = asyncio.create_task(ask("small", good_and_bad()[:20]))
        assert await small == verdicts(good_and_bad()[:20])
        assert await large == [False] * 4 * CLAIMS_PER_WORKER

    with_verifier(use, workers=1)
    assert order == ["small", "large"]


def test_urgent_claims_are_verified_before_all_that_wait():
    order = list[str]()

    async def use(verifier):
        ask = asking(verifier, order)
        bulk = [asyncio.create_task(ask("bulk", unseen(900, 900 * number))) for number in range(3)]
        await until(lambda: fullness(verifier) > 0.5)
        votes = good_and_bad()[:40]
        urgent = asyncio.create_task(ask("urgent", votes, is_urgent=True))
        few = asyncio.create_task(ask("few", good_and_bad()[40:42], is_urgent=True))
        assert await urgent == verdicts(votes)
        assert await few == verdicts(good_and_bad()[40:42])
        assert await asyncio.gather(*bulk) == [[False] * 900] * 3

    with_verifier(use, workers=1)
    assert order.index("few") == 0
    assert order.index("urgent") == 1


def test_claims_that_wait_in_bulk_and_become_urgent_are_verified_before_others():
    order = list[str]()

    async def use(verifier):
        ask = asking(verifier, order)
        bulk = [asyncio.create_task(ask("bulk", unseen(600, 600 * number))) for number in range(3)]
        await until(lambda: fullness(verifier) > 0.8)
        proposed = unseen(1800)[-100:]
        urgent = asyncio.create_task(ask("urgent", proposed, is_urgent=True))
        few = asyncio.create_task(ask("few", proposed[:2], is_urgent=True))
        assert await urgent == [False] * 100
        assert await few == [False] * 2
        assert await asyncio.gather(*bulk) == [[False] * 600] * 3
        assert verifier._bulk.under_way == verifier._urgent.under_way == 0

    with_verifier(use, workers=1)
    assert set(order[:2]) == {"urgent", "few"}


def test_what_becomes_urgent_leaves_its_room_to_who_waits_for_it():
    parts = [unseen(512, first) for first in range(0, CLAIMS_PER_WORKER, 512)]

    async def use(verifier):
        kill(pids_of(verifier), signal.SIGSTOP)
        before = [asyncio.create_task(verifier.verify(part)) for part in parts]
        await until(lambda: verifier._bulk.under_way == CLAIMS_PER_WORKER)
        waiting = asyncio.create_task(verifier.verify(unseen(100, CLAIMS_PER_WORKER)))
        for _ in range(10):
            await asyncio.sleep(0)
        urgent = asyncio.create_task(verifier.verify(parts[-1][-300:], is_urgent=True))
        await until(lambda: verifier._urgent.under_way > 0)
        left = CLAIMS_PER_WORKER - verifier._urgent.under_way
        await until(lambda: verifier._bulk.under_way == left + 100)
        kill(pids_of(verifier), signal.SIGCONT)
        assert await asyncio.gather(*before) == [[False] * 512] * len(parts)
        assert (await waiting, await urgent) == ([False] * 100, [False] * 300)

    with_verifier(use, workers=1)


def test_urgent_claims_are_bounded_by_themselves():
    count = CLAIMS_PER_WORKER * 9 // 8

    async def use(verifier):
        bulk = asyncio.create_task(verifier.verify(unseen(count)))
        urgent = asyncio.create_task(verifier.verify(unseen(count, 10**6), is_urgent=True))
        seen = []
        while not (bulk.done() and urgent.done()):
            seen.append(max(verifier._bulk.under_way, verifier._urgent.under_way))
            await asyncio.sleep(0.001)
        assert await urgent == await bulk == [False] * count
        return max(seen) / CLAIMS_PER_WORKER

    assert 0.9 < with_verifier(use, workers=1) <= 1


def test_a_caller_that_gives_up_takes_nothing_from_the_others():
    claims = good_and_bad()[:500]

    async def use(verifier):
        first, second = (asyncio.create_task(verifier.verify(claims)) for _ in range(2))
        await until(lambda: fullness(verifier) > 0)
        first.cancel()
        return await second

    assert with_verifier(use) == verdicts(claims)


# ---- killed ---------------------------------------------------------------------------------------------------------


def test_a_worker_killed_in_the_middle_is_replaced_and_nobody_notices():
    claims = good_and_bad() + unseen(1_000)

    async def use(verifier):
        before = pids_of(verifier)
        asked = asyncio.create_task(verifier.verify(claims))
        await until(lambda: fullness(verifier) > 0)
        kill(before[:1])
        assert await asked == verdicts(claims)
        await until(lambda: len(pids_of(verifier)) == WORKERS)
        assert before[0] not in pids_of(verifier)
        assert before[1] in pids_of(verifier)
        assert await verifier.verify(unseen(600, 5_000)) == [False] * 600

    with_verifier(use)


def test_all_workers_may_be_killed_again_and_again(seed):
    random, rounds = Random(seed), ATTEMPTS + 2

    async def use(verifier):
        for number in range(rounds):
            claims = random.sample(good_and_bad(), 300) + unseen(600, 600 * number)
            asked = [asyncio.create_task(verifier.verify(part)) for part in (claims[:450], claims[450:])]
            await asyncio.sleep(random.random() / 50)
            kill(pids_of(verifier))
            found = await asyncio.gather(*asked)
            assert found == [verdicts(claims[:450]), verdicts(claims[450:])], f"seed {seed}"
            await until(lambda: len(pids_of(verifier)) == WORKERS)

    with_verifier(use)


def test_an_idle_worker_that_is_killed_is_replaced():
    async def use(verifier):
        for _ in range(ATTEMPTS + 1):
            before = pids_of(verifier)
            kill(before)
            await until(
                lambda gone=before: len(pids_of(verifier)) == WORKERS and not set(gone) & set(pids_of(verifier))
            )
        return await verifier.verify(good_and_bad()[:100])

    assert with_verifier(use) == verdicts(good_and_bad()[:100])


def test_signatures_over_which_worker_after_worker_dies_are_an_error_and_others_are_not():
    async def use(verifier):
        # So large that no worker is done with them before it is killed.
        asked = asyncio.create_task(verifier.verify(unseen(16, size_bytes=2_000_000)))
        killed = set[int]()
        while not asked.done():
            if fullness(verifier) and not set(pids_of(verifier)) <= killed:
                kill(set(pids_of(verifier)) - killed)
                killed |= set(pids_of(verifier))
            await asyncio.sleep(0)
        with pytest.raises(VerificationFailed, match="died over the same"):
            await asked
        assert len(killed) == ATTEMPTS
        assert fullness(verifier) == 0
        return await verifier.verify(good_and_bad()[:100])

    assert with_verifier(use, workers=1) == verdicts(good_and_bad()[:100])


@pytest.mark.parametrize("program", ["/bin/false", "/bin/echo", "/no/such/program"])
def test_workers_that_do_not_start_are_an_error(monkeypatch, program):
    monkeypatch.setattr(sys, "executable", program)

    async def run():
        verifier = Verifier(WORKERS)
        with pytest.raises(VerificationFailed, match="do not start"):
            await verifier.start()
        with pytest.raises(VerificationFailed, match="do not start"):
            await verifier.verify(unseen(1))

    asyncio.run(run())


def test_workers_that_verify_by_another_library_than_this_process_are_an_error(monkeypatch):
    """Else a node would tell of the native module while its workers do without, or the other way round."""

    def other(_batch):
        raise AssertionError

    monkeypatch.setattr(verification, "verify_batch", other if verify_natively is None else verify_one_by_one)

    async def run():
        with pytest.raises(VerificationFailed, match=r"tallystick-native.*start this again"):
            await Verifier(WORKERS).start()

    asyncio.run(run())


def test_workers_leave_signals_to_the_node():
    async def use(verifier):
        before = pids_of(verifier)
        assert {os.getpgid(pid) for pid in before}.isdisjoint({os.getpgid(0)})
        kill(before, signal.SIGINT)
        kill(before, signal.SIGTERM)
        assert await verifier.verify(good_and_bad()[:600]) == verdicts(good_and_bad()[:600])
        assert pids_of(verifier) == before

    with_verifier(use)


@pytest.mark.parametrize("count", [10, WORKERS_FROM_CLAIMS + 1])
def test_who_has_no_event_loop_gets_the_same_verdicts_and_leaves_no_process(monkeypatch, count):
    started = []

    def start():
        started.append(Verifier(WORKERS))
        return started[-1]

    monkeypatch.setattr(verification, "Verifier", start)
    claims = (good_and_bad() * 2)[:count]
    with asyncio.Runner() as runner, verifying(runner) as verify:
        for _ in range(2):
            assert verify(claims) == [is_signed(*one) for one in claims]
        pids = [pid for verifier in started for pid in pids_of(verifier)]
    assert len(pids) == (WORKERS if count > WORKERS_FROM_CLAIMS else 0)
    assert not any(is_running(pid) for pid in pids)


# ---- the end --------------------------------------------------------------------------------------------------------


def test_stopping_leaves_no_process_and_tells_who_waits():
    async def run():
        verifier = Verifier(WORKERS)
        with pytest.raises(VerificationFailed, match="not started"):
            await verifier.verify(unseen(1))
        await verifier.start()
        pids = pids_of(verifier)
        asked = [asyncio.create_task(verifier.verify(unseen(3_000, 3_000 * number))) for number in range(3)]
        await until(lambda: fullness(verifier) > 0)
        await verifier.stop()
        for one in asked:
            with pytest.raises(VerificationFailed, match="stopped"):
                await one
        with pytest.raises(VerificationFailed, match="stopped"):
            await verifier.verify(unseen(1))
        assert len(pids) == WORKERS
        return pids

    assert not any(is_running(pid) for pid in asyncio.run(run()))


def test_stopping_at_any_moment_leaves_no_process(seed):
    """Also while a worker is being replaced. What is not reaped warns when it is collected, and a warning fails."""
    random = Random(seed)

    async def run():
        pids = set()
        for _ in range(8):
            verifier = Verifier(WORKERS)
            await verifier.start()
            pids.update(pids_of(verifier))
            kill(pids_of(verifier))
            await asyncio.sleep(random.random() / 10)
            pids.update(pids_of(verifier))
            await verifier.stop()
        return pids

    assert not any(is_running(pid) for pid in asyncio.run(run())), f"seed {seed}"
    gc.collect()


PARENT = """
import asyncio
from tallystick.host.verification import Verifier
from tallystick.ledger.keys import Domain
from tallystick.ledger.wallet import Wallet

async def main():
    verifier, wallet = Verifier(2), Wallet(bytes(32))
    await verifier.start()
    signature = wallet.sign(Domain.BLOCK, bytes(32), b"")
    claims = [(number.to_bytes(300, "big"), signature, wallet.public_key) for number in range(100_000)]
    asked = asyncio.create_task(verifier.verify(claims))
    while not any(one.batches for one in verifier._workers):
        await asyncio.sleep(0)
    print(sum(one.is_ready for one in verifier._workers), flush=True)
    await asked

asyncio.run(main())
"""


def test_a_node_killed_leaves_no_worker():
    """The workers share its standard error, which is at its end only when the last of them has ended."""
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    ) as parent:
        assert parent.stdout.readline() == "2\n"
        parent.kill()
        assert parent.communicate(timeout=60) == ("", "")
