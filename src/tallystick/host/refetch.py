"""Fetches from peers what a damaged ledger lacks, without a node: for `tallystick check --repair`.

Nothing that a peer sends is trusted: it is put in place only if the rest of the file proves it (host/repair.py).
"""

import asyncio
from collections.abc import Sequence
from typing import Final, TypeVar

from tallystick.host.check import Report
from tallystick.host.errors import HostError
from tallystick.host.repair import put_blocks, put_finalization
from tallystick.host.store import Store
from tallystick.ledger.block import Block
from tallystick.ledger.errors import Refused
from tallystick.ledger.messages import (
    BlockRequest,
    Blocks,
    FinalizationRequest,
    Finalizations,
    Message,
    decode_message,
    encode_message,
)
from tallystick.ledger.wallet import Wallet
from tallystick.network.transport import Connected, Disconnected, Happening, Received
from tallystick.network.zeromq import ZeroMQTransport

CONNECT_S: Final = 10.0
ANSWER_S: Final = 5.0
_WINDOW_BLOCKS: Final = 128
"""Blocks that are put back together, at most."""

Peers = Sequence[tuple[bytes, str]]
"""Keys, each with an address."""

T = TypeVar("T", Blocks, Finalizations)


def refetch(store: Store, report: Report, wallet: Wallet, peers: Peers) -> None:
    """Close every gap that a check found. Raises `HostError` for what no peer could close; the rest is closed."""
    asyncio.run(_refetch(store, report, wallet, peers))


async def _refetch(store: Store, report: Report, wallet: Wallet, peers: Peers) -> None:
    session = _Session(ZeroMQTransport(wallet, store.genesis.ledger_id))
    await session.start(peers)
    try:
        for first, last in reversed(report.missing_blocks):
            for end in range(last, first - 1, -_WINDOW_BLOCKS):
                await _fill(session, store, max(first, end - _WINDOW_BLOCKS + 1), end)
        for index in report.missing_finalizations:
            await _prove(session, store, report, index)
    finally:
        await session.stop()


async def _fill(session: "_Session", store: Store, first: int, last: int) -> None:
    reasons = []
    for peer in session.connected:
        try:
            blocks = await _blocks(session, peer, first, last)
            put_blocks(store, blocks)
        except (Refused, HostError) as error:
            reasons.append(f"{peer.hex()[:16]}…: {error}")
        else:
            return
    raise _unmended(f"blocks {first} to {last}", reasons)


async def _blocks(session: "_Session", peer: bytes, first: int, last: int) -> list[Block]:
    """All of them, from one peer. Raises `HostError` when it does not have them."""
    blocks: list[Block] = []
    while len(blocks) <= last - first:
        start = first + len(blocks)
        answer = await session.ask(peer, BlockRequest(start, last - start + 1), Blocks)
        if answer.start != start or not answer.blocks:
            raise HostError(f"it does not have block {start}")
        blocks += answer.blocks
    return blocks[: last - first + 1]


async def _prove(session: "_Session", store: Store, report: Report, index: int) -> None:
    number = store.genesis.params.epoch_of(index)
    reasons = []
    for peer in session.connected if number in report.epochs else ():
        try:
            answer = await session.ask(peer, FinalizationRequest(number), Finalizations)
            proof = next((one for one in answer.proofs if one.header.index == index), None)
            if proof is None:
                raise HostError("it does not have it")
            report.epochs[number + 1] = put_finalization(store, proof, report.epochs[number])
        except (Refused, HostError) as error:
            reasons.append(f"{peer.hex()[:16]}…: {error}")
        else:
            return
    raise _unmended(f"the finalization of block {index}", reasons)


def _unmended(what: str, reasons: Sequence[str]) -> HostError:
    said = "; ".join(reasons) or "no peer answered"
    return HostError(f"{what} could not be fetched: {said}; try again when other members run, or restore a backup")


class _Session:
    """A transport, the peers that it reached, and one question at a time."""

    def __init__(self, transport: ZeroMQTransport) -> None:
        self.connected: list[bytes] = []
        self._transport = transport
        self._some_connected = asyncio.Event()
        self._answers: asyncio.Queue[tuple[bytes, Message | None]] = asyncio.Queue(maxsize=1024)

    async def start(self, peers: Peers) -> None:
        """Dial all; returns when most had the time to answer. Raises `HostError` when nobody did."""
        if not peers:
            raise HostError("no peer is known to fetch from; name one under bootstrap in node.toml")
        await self._transport.start(self._tell)
        keys = frozenset(key for key, _ in peers)
        self._transport.admit(keys.__contains__)
        for key, address in peers:
            self._transport.dial(key, address)
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._some_connected.wait()
        except TimeoutError:
            await self._transport.stop()
            troubles = "; ".join(f"{key.hex()[:16]}…: {why}" for key, why in self._transport.troubles().items())
            advice = "start another member's node, and repair again"
            raise HostError(f"no peer can be reached to fetch from ({troubles or 'no answer'}); {advice}") from None
        await asyncio.sleep(0.5)  # others may be as near

    async def stop(self) -> None:
        """Hang up."""
        await self._transport.stop()

    async def ask(self, peer: bytes, question: Message, kind: type[T]) -> T:
        """The peer's answer. Raises `HostError` when it does not come in time, or the connection ends."""
        while not self._answers.empty():
            self._answers.get_nowait()
        self._transport.send(peer, encode_message(question))
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    sender, answer = await self._answers.get()
                    if sender == peer and answer is None:
                        raise HostError("the connection ended")
                    if sender == peer and isinstance(answer, kind):
                        return answer
        except TimeoutError:
            raise HostError("it did not answer in time") from None

    def _tell(self, happening: Happening) -> None:
        match happening:
            case Connected(peer):
                self.connected.append(peer)
                self._some_connected.set()
            case Disconnected(peer):
                self.connected.remove(peer)
                self._put(peer, None)
            case Received(peer, frame):
                try:
                    message = decode_message(frame)
                except Refused:
                    return
                if isinstance(message, Blocks | Finalizations):
                    self._put(peer, message)

    def _put(self, peer: bytes, message: Message | None) -> None:
        if not self._answers.full():
            self._answers.put_nowait((peer, message))
