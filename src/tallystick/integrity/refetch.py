"""Fetches from peers what a damaged ledger lacks, without a node: for `tallystick check --repair`.

Nothing that a peer sends is trusted: it is put in place only if the rest of the file proves it (integrity/repair.py).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from tallystick.integrity.check import Report, Verify
from tallystick.integrity.repair import put_blocks, put_finalization
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
from tallystick.network.transport import Connected, Disconnected, Received, TransportEvent
from tallystick.network.zeromq import ZeroMQTransport
from tallystick.node.limits import Limits
from tallystick.problems import DamagedStore, HostError, StoreError
from tallystick.storage.store import Store

CONNECT_S: Final = 10.0
ANSWER_S: Final = 5.0
_WINDOW_BLOCKS: Final = 64
"""Blocks that are put back together, at most: they are in memory until the first of them is there."""
_POLL_S: Final = 0.05
_PAUSE_S: Final = 1.0 / Limits().requests_per_second
"""A node answers no peer that asks more often."""

Peers = Sequence[tuple[bytes, str]]
"""Keys, each with an address; who comes first is asked first."""
Put = Callable[[int, int], object]
"""Called with how many blocks and how many finalizations were just put back."""

T = TypeVar("T", Blocks, Finalizations)


def refetch(store: Store, report: Report, session: "Session", verify: Verify, on_put: Put) -> None:
    """Close the gaps that a check found. Raises `DamagedStore` naming those that no peer could close; the rest is.

    Finalizations of epochs whose members are not known yet wait for another check, which then knows them.
    """
    refetching = _Refetching(store, session, verify, on_put)
    for first, last in reversed(report.missing_blocks):
        refetching.fill(first, last)
    for index in report.missing_finalizations:
        refetching.prove(report, index)
    if refetching.failures:
        advice = "repair again when other members run, or restore a backup"
        raise DamagedStore(f"{store.path} could not be repaired as a whole: {'; '.join(refetching.failures)}; {advice}")


@dataclass
class _Refetching:
    store: Store
    session: "Session"
    verify: Verify
    on_put: Put
    failures: list[str] = field(default_factory=list)

    def fill(self, first: int, last: int) -> None:
        """Fill a gap from its end, window by window: the block after it proves the last one in it."""
        while last >= first:
            start = max(first, last - _WINDOW_BLOCKS + 1)

            def put_from(peer: bytes, start: int = start, last: int = last) -> None:
                put_blocks(self.store, self._blocks(peer, start, last), self.verify)

            if not self._is_put(put_from, f"blocks {first} to {last}"):
                return
            self.on_put(last - start + 1, 0)
            last = start - 1

    def prove(self, report: Report, index: int) -> None:
        """Put an epoch's last finalization back, if its members are known."""
        number = report.unproven[index]
        epoch = report.epochs.get(number)
        if epoch is None:
            return

        def put_from(peer: bytes) -> None:
            answer = self.session.ask(peer, FinalizationRequest(number), Finalizations)
            proof = next((one for one in answer.proofs if one.header.index == index), None)
            if proof is None:
                raise HostError("it does not have it")
            report.epochs[number + 1] = put_finalization(self.store, proof, epoch, self.verify)

        if self._is_put(put_from, f"the finalization of block {index}"):
            self.on_put(0, 1)

    def _is_put(self, put_from: Callable[[bytes], None], what: str) -> bool:
        """Try one peer after the other; who fails comes last from then on."""
        reasons = []
        for peer in list(self.session.peers):
            try:
                put_from(peer)
            except StoreError:
                raise  # no peer's fault
            except (Refused, HostError) as error:
                reasons.append(f"{peer.hex()[:16]}…: {error}")
                self.session.put_last(peer)
            else:
                return True
        self.failures.append(f"{what} ({', '.join(reasons) or 'the connections ended'})")
        return False

    def _blocks(self, peer: bytes, first: int, last: int) -> list[Block]:
        """All of them, from one peer. Raises `HostError` when it does not have them."""
        blocks: list[Block] = []
        while len(blocks) <= last - first:
            start = first + len(blocks)
            answer = self.session.ask(peer, BlockRequest(start, last - start + 1), Blocks)
            if answer.start != start or not answer.blocks:
                raise HostError(f"it does not have block {start}")
            blocks += answer.blocks
        return blocks[: last - first + 1]


class Session:
    """Connections with peers, for as long as the `with` block lasts, and one question at a time.

    Entering it waits until each is connected or known not to be, and raises `DamagedStore` when none is.
    """

    def __init__(self, ledger_id: bytes, wallet: Wallet, peers: Peers, runner: asyncio.Runner) -> None:
        self.peers: list[bytes] = []
        """Those that are connected; who is to be asked first comes first."""
        self._transport = ZeroMQTransport(wallet, ledger_id)
        self._runner = runner
        self._dialled = peers
        self._answers: asyncio.Queue[tuple[bytes, Message | None]] = asyncio.Queue(maxsize=1024)

    def __enter__(self) -> "Session":
        try:
            self._runner.run(self._start())
        except BaseException:
            self._runner.run(self._transport.stop())
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._transport.stop())

    def put_last(self, peer: bytes) -> None:
        """Ask all others before this one from now on."""
        if peer in self.peers:
            self.peers.remove(peer)
            self.peers.append(peer)

    def ask(self, peer: bytes, question: Message, kind: type[T]) -> T:
        """The peer's answer. Raises `HostError` when it does not come in time, or the connection ends."""
        return self._runner.run(self._ask(peer, question, kind))

    async def _start(self) -> None:
        keys = {key: place for place, (key, _) in enumerate(self._dialled)}
        await self._transport.start(self._on_event)
        self._transport.admit(keys.__contains__)
        for key, address in self._dialled:
            self._transport.dial(key, address)
        deadline_s = asyncio.get_running_loop().time() + CONNECT_S
        while keys.keys() - set(self.peers) - self._transport.troubles().keys():
            if asyncio.get_running_loop().time() > deadline_s:
                break
            await asyncio.sleep(_POLL_S)
        self.peers.sort(key=keys.__getitem__)
        if not self.peers:
            troubles = "; ".join(f"{key.hex()[:16]}…: {why}" for key, why in self._transport.troubles().items())
            advice = "start another member's node, or name one under bootstrap in node.toml, and repair again"
            raise DamagedStore(f"no peer can be reached to fetch from ({troubles or 'none is known'}); {advice}")

    async def _ask(self, peer: bytes, question: Message, kind: type[T]) -> T:
        await asyncio.sleep(_PAUSE_S)
        while not self._answers.empty():
            self._answers.get_nowait()
        if peer not in self.peers:
            raise HostError("the connection ended")
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

    def _on_event(self, event: TransportEvent) -> None:
        match event:
            case Connected(peer):
                self.peers.append(peer)
            case Disconnected(peer):
                self.peers.remove(peer)
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
