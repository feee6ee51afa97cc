"""Two processes on this machine: the transport beside bare ZeroMQ sockets, with encryption and without."""

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Protocol

import zmq.asyncio
from zmq.utils import z85

from benchmarks.result import Figure, at_least, figure
from benchmarks.workload import ISSUERS
from tallystick.ledger.wallet import Wallet
from tallystick.network.curve import x25519_key, x25519_secret
from tallystick.network.transport import Connected, Received, TransportEvent
from tallystick.network.zeromq import ZeroMQTransport

ROUNDS = 5
TRIPS = 1_000
TRIP_BYTES = 1_024
STREAMS = (("200 B", 200, 20_000), ("64 KiB", 65_536, 1_500), ("1 MiB", 1_048_576, 150))
SPAN_BYTES = 1_048_576
"""After so much of a stream the other side says that it has come so far; two such spans are under way at a time."""
NEAR, FAR = ISSUERS[:2]
BACK, ON = b"B", b"O"
"""A frame's first byte: whether it is to come back."""


class End(Protocol):
    """One end of a line between two processes."""

    async def listen(self) -> str: ...

    async def dial(self, address: str) -> None: ...

    async def send(self, frame: bytes) -> None: ...

    async def receive(self) -> bytes: ...

    async def stop(self) -> None: ...


class Ours:
    """The transport."""

    def __init__(self, wallet: Wallet, peer: bytes) -> None:
        self._peer = peer
        self._transport = ZeroMQTransport(wallet, bytes(32), "127.0.0.1:0")
        self._told: asyncio.Queue[TransportEvent] = asyncio.Queue()

    async def listen(self) -> str:
        await self._transport.start(self._told.put_nowait)
        self._transport.admit(lambda key: True)
        assert self._transport.listening is not None
        return self._transport.listening

    async def dial(self, address: str) -> None:
        await self.listen()
        self._transport.dial(self._peer, address)
        assert isinstance(await self._told.get(), Connected)

    async def send(self, frame: bytes) -> None:
        self._transport.send(self._peer, frame)

    async def receive(self) -> bytes:
        while True:
            event = await self._told.get()
            if isinstance(event, Received):
                return event.frame

    async def stop(self) -> None:
        await self._transport.stop()


class Bare:
    """A ZeroMQ socket, as its documentation shows."""

    def __init__(self, wallet: Wallet, peer: bytes) -> None:
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0

    async def listen(self) -> str:
        return f"127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"

    async def dial(self, address: str) -> None:
        self._socket.connect(f"tcp://{address}")

    async def send(self, frame: bytes) -> None:
        await self._socket.send(frame)

    async def receive(self) -> bytes:
        frame = await self._socket.recv()
        assert isinstance(frame, bytes)
        return frame

    async def stop(self) -> None:
        self._socket.close()
        self._context.term()


class Encrypted(Bare):
    """The same with CURVE."""

    def __init__(self, wallet: Wallet, peer: bytes) -> None:
        super().__init__(wallet, peer)
        self._socket.curve_publickey = z85.encode(x25519_key(wallet.public_key))
        self._socket.curve_secretkey = z85.encode(x25519_secret(wallet))
        self._peer = peer

    async def listen(self) -> str:
        self._socket.curve_server = True
        return await super().listen()

    async def dial(self, address: str) -> None:
        self._socket.curve_serverkey = z85.encode(x25519_key(self._peer))
        await super().dial(address)


ENDS: dict[str, type[Ours | Bare]] = {"ours": Ours, "bare": Bare, "bare encrypted": Encrypted}


def against_bare_sockets() -> Iterator[Figure]:
    """Round trips and streams, as ratios of speed within each round."""
    rounds = [{name: asyncio.run(_measured(name)) for name in ENDS} for _ in range(ROUNDS)]
    titles = [f"round trip of {TRIP_BYTES:,} B", *(f"stream of {size} frames" for size, _, _ in STREAMS)]
    for column, title in enumerate(titles):
        taken, is_trip = {name: [one[name][column] for one in rounds] for name in ENDS}, column == 0
        for name in ("bare", "bare encrypted"):
            pairs = zip(taken["ours"], taken[name], strict=True)
            speeds = [theirs / ours if is_trip else ours / theirs for ours, theirs in pairs]
            goal = at_least(0.5) if is_trip else None
            yield figure(
                f"{title} / {name}", f"speed between two processes / {name} ZeroMQ sockets'", speeds, goal=goal
            )
        yield figure(title, "the same alone", taken["ours"], "µs" if is_trip else "MB/s")


async def _measured(name: str) -> list[float]:
    """One round: microseconds of a round trip (median), then megabytes a second of each stream."""
    spawned = multiprocessing.get_context("spawn")
    near, far = spawned.Pipe()
    process = spawned.Process(target=_echo, args=(name, far))
    process.start()
    end = ENDS[name](NEAR, FAR.public_key)
    try:
        await end.dial(await asyncio.to_thread(near.recv))
        await _round_trips(end, TRIPS // 10)
        return [await _round_trips(end, TRIPS), *[await _stream(end, size, count) for _, size, count in STREAMS]]
    finally:
        near.send("that was all")
        await end.stop()
        await asyncio.to_thread(process.join)


async def _round_trips(end: End, count: int) -> float:
    frame, took = BACK + bytes(TRIP_BYTES - 1), []
    for _ in range(count):
        began = time.perf_counter()
        await end.send(frame)
        await end.receive()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


async def _stream(end: End, size: int, count: int) -> float:
    frame = ON + bytes(size - 1)
    every, under_way = max(1, SPAN_BYTES // size), 0
    began = time.perf_counter()
    for number in range(1, count + 1):
        await end.send(frame)
        if number % every == 0:
            await end.send(BACK)
            under_way += 1
        if under_way > 2:
            await end.receive()
            under_way -= 1
    await end.send(BACK)
    for _ in range(under_way + 1):
        await end.receive()
    return size * count / (time.perf_counter() - began) / 1e6


def _echo(name: str, pipe: Connection) -> None:
    async def run() -> None:
        end = ENDS[name](FAR, NEAR.public_key)
        pipe.send(await end.listen())
        echoing = asyncio.create_task(_send_back(end))
        await asyncio.to_thread(pipe.recv)
        echoing.cancel()
        await asyncio.gather(echoing, return_exceptions=True)
        await end.stop()

    asyncio.run(run())


async def _send_back(end: End) -> None:
    while True:
        frame = await end.receive()
        if frame.startswith(BACK):
            await end.send(frame)
