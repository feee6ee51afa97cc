"""Verifies signatures in worker processes: in batches, each claim once, however many peers send it."""

import asyncio
import os
import socket
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from tallystick.host.acceptance import check_acceptance
from tallystick.host.batches import Claim, verify_batch
from tallystick.host.verification_worker import READY_NATIVELY, READY_ONE_BY_ONE, frame, ready_byte
from tallystick.ledger.encoding import encode
from tallystick.problems import VerificationFailed

BATCH_CLAIMS: Final = 256
CLAIMS_PER_WORKER: Final = 2048
"""How many may be under way; beyond that, `verify` waits. A tenth of a second's work for a core."""

IN_LINE_CLAIMS: Final = 4
"""As many are verified in the loop in a turn, and as many urgent ones: handing them to a worker takes it longer."""

MIN_SHARE_CLAIMS: Final = 16
"""Fewer are not worth being split among workers."""

REMEMBERED_BYTES: Final = 8_000_000
"""What the claims that are remembered take: 10,000 of 300 bytes, 3,000 of the longest certificates."""

ATTEMPTS: Final = 5
"""How often a worker is started in vain, or a batch given to one that dies over it, before that is an error."""

REMEMBERED_CLAIMS: Final = 1024
"""Of one call. Those of more are not remembered: so many has an answer with blocks, which nobody else is asked for."""

WORKERS_FROM_CLAIMS: Final = 1024
"""For fewer at once nobody without an event loop starts processes: they are verified sooner."""

_CLAIM_BYTES: Final = 500
"""What a remembered claim takes beside what stands under its signature."""

_BATCHES_AT_WORKER: Final = 2
"""One being verified, and the next already there when it is done."""


class _Batch:
    """Claims that go to a worker together; whoever asked for one of them waits for all."""

    def __init__(self, queue: "_Queue", claims: Sequence[Claim] = (), *, is_shared: bool = True) -> None:
        self.claims = list(claims)
        self.queue = queue
        self.is_shared = is_shared
        """Whether others may ask for its claims, now and later."""
        self.deaths = 0
        self.verdicts: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        """In the order of the claims."""
        self.verdicts.add_done_callback(asyncio.Future.exception)  # a failure is nobody's if nobody waits any more


class _Queue:
    """Batches of urgent claims, or of others, that no worker has yet, and how many such claims are under way."""

    def __init__(self) -> None:
        self.batches: deque[_Batch] = deque()
        self.under_way = 0
        self.turn = asyncio.Lock()
        self.in_line_left = IN_LINE_CLAIMS


class _Worker:
    """One process after another, each replacing the one that died; and the batches it has."""

    def __init__(self) -> None:
        self.batches: deque[_Batch] = deque()
        self.is_ready = False
        self._writer: StreamWriter | None = None
        self._process: Process | None = None

    async def start(self) -> StreamReader:
        """Start a process and wait until it is ready.

        Raises `OSError`, `EOFError`; `VerificationFailed` if it verifies by another library than this process.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "tallystick.host.verification_worker"),
                    stdin=theirs.fileno(),
                    stdout=DEVNULL,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    process_group=0,  # out of the reach of the terminal's Ctrl-C, from the first moment on
                )
            reader, self._writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        ready = await reader.readexactly(1)
        if ready not in (READY_ONE_BY_ONE, READY_NATIVELY):
            raise OSError("it does not speak as a worker does")
        if ready != ready_byte(verify_batch):
            raise VerificationFailed(
                "a verification worker finds tallystick-native and this process did not, or the other way round: it "
                "was installed or removed meanwhile; start this again"
            )
        self.is_ready = True
        return reader

    def take(self, batch: _Batch) -> None:
        """Hand the batch over. It is written as the process reads; `_BATCHES_AT_WORKER` bounds what that takes."""
        assert self._writer is not None
        self.batches.append(batch)
        self._writer.write(frame(batch.claims))

    async def end(self) -> None:
        """End the process, which has nothing to lose, and reap it."""
        self.is_ready = False
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None


class Verifier:
    """Worker processes, one a core unless told otherwise. All methods belong to one event loop."""

    def __init__(self, workers: int | None = None) -> None:
        self._workers = [_Worker() for _ in range(workers or _cores())]
        self._limit = CLAIMS_PER_WORKER * len(self._workers)
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: VerificationFailed | None = VerificationFailed("the verifier was not started")
        self._bulk, self._urgent = _Queue(), _Queue()
        self._places: dict[Claim, tuple[_Batch, int]] = {}
        """Of each claim that is shared."""
        self._settled: deque[tuple[int, list[Claim]]] = deque()
        self._remembered_bytes = 0
        self._changed = asyncio.Event()
        self._is_turn_begun = False

    async def start(self) -> None:
        """Start the workers. Raises `VerificationFailed` when they cannot be started."""
        self._failure = None
        self._tasks = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        try:
            while not all(worker.is_ready for worker in self._workers):
                await self._change()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the workers; who still waits for verdicts gets `VerificationFailed`."""
        self._fail(VerificationFailed("the verifier was stopped"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def verify(self, claims: Sequence[Claim], *, is_urgent: bool = False) -> list[bool]:
        """Whether each claim's signature is good. Raises `VerificationFailed`.

        Waits while too much is under way. Urgent claims wait for urgent ones alone, or for what a worker has already.
        """
        queue = self._urgent if is_urgent else self._bulk
        if is_urgent:
            self._hasten(claims)
        elif len(claims) > REMEMBERED_CLAIMS:
            return await self._verify_unshared(claims)
        share = min(BATCH_CLAIMS, max(MIN_SHARE_CLAIMS, -(-len(claims) // len(self._workers))))
        places = list[tuple[_Batch, int]]()
        for start in range(0, len(claims), share):
            part = claims[start : start + share]
            if not self._verify_in_line(queue, part):
                await self._room_for(queue, len(part))
                self._queue(queue, part, is_later_share=start > 0)
            places += [self._places[claim] for claim in part]
        for batch in dict.fromkeys(batch for batch, _ in places):
            await asyncio.shield(batch.verdicts)
        return [batch.verdicts.result()[place] for batch, place in places]

    async def _verify_unshared(self, claims: Sequence[Claim]) -> list[bool]:
        """In batches of their own: to look each up, and to remember it, costs more than all else that is done here."""
        batches = []
        for start in range(0, len(claims), BATCH_CLAIMS):
            part = claims[start : start + BATCH_CLAIMS]
            await self._room_for(self._bulk, len(part))
            batches.append(_Batch(self._bulk, part, is_shared=False))
            self._bulk.batches.append(batches[-1])
            self._bulk.under_way += len(part)
            self._begin_turn()
        return [verdict for batch in batches for verdict in await asyncio.shield(batch.verdicts)]

    def _verify_in_line(self, queue: _Queue, claims: Sequence[Claim]) -> bool:
        """Whether the claims, few as they are, were all asked for before, or have been verified on the spot."""
        if self._failure:
            raise self._failure
        if len(claims) > queue.in_line_left:
            return False
        new = self._new(claims)
        if new:
            verdicts = verify_in_line(new)  # before anything is noted: where this fails, nobody waits for the claims
            self._begin_turn()
            queue.in_line_left -= len(new)
            self._add(batch := _Batch(queue), new)
            self._settle(batch, verdicts)
        return True

    def _new(self, claims: Sequence[Claim]) -> list[Claim]:
        """Those of these that were not asked for before."""
        return list(dict.fromkeys(claim for claim in claims if claim not in self._places))

    def _add(self, batch: _Batch, claims: list[Claim]) -> None:
        self._places.update((claim, (batch, place)) for place, claim in enumerate(claims, start=len(batch.claims)))
        batch.claims += claims

    def _begin_turn(self) -> None:
        """See to it that what is queued in this turn of the loop is handed over at its end, together."""
        if not self._is_turn_begun:
            self._is_turn_begun = True
            asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._is_turn_begun = False
        self._bulk.in_line_left = self._urgent.in_line_left = IN_LINE_CLAIMS
        self._forget()
        self._hand_over()

    def _hasten(self, claims: Sequence[Claim]) -> None:
        """What waits in bulk and is urgent now goes with what is: in whole batches, which others wait for."""
        urgent = {self._places[claim][0] for claim in claims if claim in self._places}
        for batch in [one for one in self._bulk.batches if one in urgent]:
            self._bulk.batches.remove(batch)
            self._urgent.batches.append(batch)
            self._bulk.under_way -= len(batch.claims)
            self._urgent.under_way += len(batch.claims)
            batch.queue = self._urgent
            self._changed.set()

    async def _room_for(self, queue: _Queue, count: int) -> None:
        async with queue.turn:  # first come, first served
            while queue.under_way + count > self._limit:
                await self._change()
        if self._failure:
            raise self._failure

    async def _change(self) -> None:
        """Wait until something has changed. Raises `VerificationFailed` when that was for the worse."""
        if not self._failure:
            self._changed.clear()
            await self._changed.wait()
        if self._failure:
            raise self._failure

    def _queue(self, queue: _Queue, claims: Sequence[Claim], *, is_later_share: bool) -> None:
        """Put those that are new into the last batch that waits; a share that is not its call's first, into another."""
        new = self._new(claims)
        if not new:
            return
        last = queue.batches[-1] if queue.batches else None
        can_grow = last is not None and last.is_shared and not last.deaths
        if last is None or is_later_share or not can_grow or len(last.claims) + len(new) > BATCH_CLAIMS:
            queue.batches.append(last := _Batch(queue))
        self._add(last, new)
        queue.under_way += len(new)
        self._begin_turn()

    def _hand_over(self) -> None:
        """Give the waiting batches to workers, urgent ones first; one that can still grow only to an idle worker."""
        while waiting := self._urgent.batches or self._bulk.batches:
            can_grow = len(waiting) == 1 and len(waiting[0].claims) < BATCH_CLAIMS and waiting is self._bulk.batches
            ready = [worker for worker in self._workers if worker.is_ready]
            idlest = min(ready, key=lambda worker: len(worker.batches), default=None)
            if idlest is None or len(idlest.batches) >= (1 if can_grow else _BATCHES_AT_WORKER):
                return
            idlest.take(waiting.popleft())

    async def _keep(self, worker: _Worker) -> None:
        """Keep a process running for this worker, and take in its verdicts."""
        failed_starts = 0
        try:
            while failed_starts < ATTEMPTS:
                try:
                    reader = await worker.start()
                    failed_starts = 0
                    self._changed.set()
                    self._hand_over()
                    await self._take_in(worker, reader)
                except (OSError, EOFError):
                    failed_starts += 0 if worker.is_ready else 1
                await worker.end()
                self._take_back(worker)
            self._fail(VerificationFailed("verification workers do not start; what they print above says why"))
        except VerificationFailed as failure:
            await worker.end()  # `stop` may cancel this while it reaps; `finally` does the rest then
            self._fail(failure)
        except Exception as error:
            self._fail(VerificationFailed(f"the verifier is broken: {error!r}"))
            raise
        finally:
            await worker.end()

    async def _take_in(self, worker: _Worker, reader: StreamReader) -> None:
        """Settle batches with what the worker answers, until it is dead."""
        received = b""
        while data := await reader.read(BATCH_CLAIMS * _BATCHES_AT_WORKER):
            received += data
            while worker.batches and len(received) >= (count := len(worker.batches[0].claims)):
                batch = worker.batches.popleft()
                batch.queue.under_way -= count
                self._settle(batch, received[:count])
                received = received[count:]
            self._forget()
            self._hand_over()

    def _take_back(self, worker: _Worker) -> None:
        """Have the batches of a dead worker verified by another; it died over the first of them."""
        if worker.batches:
            first = worker.batches[0]
            first.deaths += 1
            if first.deaths == ATTEMPTS:
                worker.batches.popleft()
                self._drop(first, VerificationFailed(f"{ATTEMPTS} verification workers died over the same signatures"))
        for batch in reversed(worker.batches):
            batch.queue.batches.appendleft(batch)
        worker.batches.clear()
        self._hand_over()

    def _settle(self, batch: _Batch, verdicts: Iterable[int | bool]) -> None:
        batch.verdicts.set_result(list(map(bool, verdicts)))
        if batch.is_shared:
            size_bytes = sum(_CLAIM_BYTES + len(message) for message, _, _ in batch.claims)
            self._settled.append((size_bytes, batch.claims))
            self._remembered_bytes += size_bytes
        batch.claims = []
        self._changed.set()

    def _forget(self) -> None:
        """Let go of the oldest verdicts; never while `verify` is between queueing its claims and looking them up."""
        while self._remembered_bytes > REMEMBERED_BYTES:
            size_bytes, oldest = self._settled.popleft()
            self._remembered_bytes -= size_bytes
            for claim in oldest:
                del self._places[claim]

    def _drop(self, batch: _Batch, failure: VerificationFailed) -> None:
        for claim in batch.claims if batch.is_shared else ():
            del self._places[claim]
        batch.queue.under_way -= len(batch.claims)
        batch.verdicts.set_exception(failure)
        self._changed.set()

    def _fail(self, failure: VerificationFailed) -> None:
        """From now on nothing is verified."""
        self._failure = self._failure or failure
        queues = [self._urgent.batches, self._bulk.batches, *(worker.batches for worker in self._workers)]
        for batch in [batch for batches in queues for batch in batches]:
            self._drop(batch, failure)
        for batches in queues:
            batches.clear()
        self._changed.set()


def verify_in_line(claims: Iterable[Claim]) -> list[bool]:
    """Verify claims in this process."""
    return list(map(bool, verify_batch(encode(list(claims)))))


@contextmanager
def verifying(runner: asyncio.Runner) -> Iterator[Callable[[Sequence[Claim]], list[bool]]]:
    """For code without an event loop: verifies claims, many of them in worker processes, and returns when it is done.

    Whatever else is at work in the runner's loop goes on meanwhile. Raises `VerificationFailed`.
    """
    check_acceptance()
    verifier: Verifier | None = None

    def verify(claims: Sequence[Claim]) -> list[bool]:
        nonlocal verifier
        if verifier is None:
            if len(claims) < WORKERS_FROM_CLAIMS:
                return verify_in_line(claims)
            verifier = Verifier()
            runner.run(verifier.start())
        return runner.run(verifier.verify(claims))

    try:
        yield verify
    finally:
        if verifier is not None:
            runner.run(verifier.stop())


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
