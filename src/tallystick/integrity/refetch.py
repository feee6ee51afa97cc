"""Fetches from peers what a damaged ledger lacks, without a node: for `tallystick check --repair`.

Nothing that a peer sends is trusted: it is put in place only if the rest of the file proves it (integrity/repair.py).
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

from tallystick.integrity.check import Report, Verify
from tallystick.integrity.repair import put_blocks, put_finalization
from tallystick.ledger import messages
from tallystick.ledger.block import Block
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused
from tallystick.ledger.wallet import Wallet
from tallystick.network.transport import Connected, Disconnected, Received, TransportEvent
from tallystick.network.zeromq import ZeroMQTransport
from tallystick.node.limits import Limits
from tallystick.problems import DamagedStore, Problem, StoreError
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

T = TypeVar("T", messages.Blocks, messages.Finalizations)


class Session:
    """Connections with peers, and one question at a time; made by `connected`."""

    def __init__(self, transport: ZeroMQTransport, runner: asyncio.Runner) -> None:
        self.peers: list[bytes] = []
        """Those that are connected; who is to be asked first comes first."""
        self._transport = transport
        self._runner = runner
        self._asked: tuple[bytes, type[messages.Message], asyncio.Future[Any]] | None = None

    def ask(self, peer: bytes, question: messages.Message, kind: type[T]) -> T:
        """The peer's answer. Raises `Problem` when it does not come in time, or the connection ends."""
        return self._runner.run(self._ask(peer, question, kind))

    async def start(self, dialled: Peers) -> None:
        """Wait until each is connected or known not to be. Raises `DamagedStore` when none is."""
        keys, transport = {key: place for place, (key, _) in enumerate(dialled)}, self._transport
        loop = asyncio.get_running_loop()
        await transport.start(self._on_event)
        transport.admit(keys.__contains__)
        for key, address in dialled:
            transport.dial(key, address)
        deadline_s = loop.time() + CONNECT_S
        while keys.keys() - set(self.peers) - transport.troubles().keys() and loop.time() <= deadline_s:
            await asyncio.sleep(_POLL_S)
        self.peers.sort(key=keys.__getitem__)
        if not self.peers:
            troubles = "; ".join(f"{key.hex()[:16]}…: {why}" for key, why in transport.troubles().items())
            advice = "start another member's node, or name one under bootstrap in node.toml, and repair again"
            raise DamagedStore(f"no peer can be reached to fetch from ({troubles or 'none is known'}); {advice}")

    async def _ask(self, peer: bytes, question: messages.Message, kind: type[T]) -> T:
        await asyncio.sleep(_PAUSE_S)
        if peer not in self.peers:
            raise Problem("the connection ended")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked = peer, kind, answer
        self._transport.send(peer, messages.encode_message(question))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            raise Problem("it did not answer in time") from None

    def _on_event(self, event: TransportEvent) -> None:
        peer, kind, answer = self._asked or (None, None, None)
        match event:
            case Connected(one):
                self.peers.append(one)
            case Disconnected(one):
                self.peers.remove(one)
                if one == peer and answer and not answer.done():
                    answer.set_exception(Problem("the connection ended"))
            case Received(one, frame) if one == peer and kind and answer and not answer.done():
                with suppress(Refused):
                    message = messages.decode_message(frame)
                    if isinstance(message, kind):
                        answer.set_result(message)


@contextmanager
def connected(ledger_id: bytes, wallet: Wallet, peers: Peers, runner: asyncio.Runner) -> Iterator[Session]:
    """A session with those of the peers that can be reached. Raises `DamagedStore` when none can."""
    transport = ZeroMQTransport(wallet, ledger_id)
    session = Session(transport, runner)
    try:
        runner.run(session.start(peers))
        yield session
    finally:
        runner.run(transport.stop())


def refetch(store: Store, report: Report, session: Session, verify: Verify, on_put: Put) -> None:
    """Close the gaps that a check found. Raises `DamagedStore` naming those that no peer could close; the rest is.

    Finalizations of epochs whose members are not known yet wait for another check, which then knows them.
    """
    failures: list[str] = []

    def put_range(first: int, last: int, peer: bytes) -> None:
        put_blocks(store, _fetched(session, peer, first, last), verify)

    def put_proof(index: int, epoch: Epoch, peer: bytes) -> None:
        answer = session.ask(peer, messages.FinalizationRequest(epoch.number), messages.Finalizations)
        proof = next((one for one in answer.proofs if one.header.index == index), None)
        if proof is None:
            raise Problem("it does not have it")
        report.epochs[epoch.number + 1] = put_finalization(store, proof, epoch, verify)

    for first, last in reversed(report.missing_blocks):
        # Window by window, from the end: the block after a gap proves the last one in it.
        for end in range(last, first - 1, -_WINDOW_BLOCKS):
            start = max(first, end - _WINDOW_BLOCKS + 1)
            if why := _tried(session, partial(put_range, start, end)):
                failures.append(f"blocks {first} to {end} ({why})")
                break
            on_put(end - start + 1, 0)
    for index in report.missing_finalizations:
        epoch = report.epochs.get(report.unproven[index])
        if epoch is None:
            continue
        if why := _tried(session, partial(put_proof, index, epoch)):
            failures.append(f"the finalization of block {index} ({why})")
        else:
            on_put(0, 1)
    if failures:
        advice = "repair again when other members run, or restore a backup"
        raise DamagedStore(f"{store.path} could not be repaired as a whole: {'; '.join(failures)}; {advice}")


def _tried(session: Session, put_from: Callable[[bytes], None]) -> str:
    """Try one peer after the other, those that failed last; why it was in vain, or nothing."""
    reasons = []
    for peer in list(session.peers):
        try:
            put_from(peer)
        except StoreError:
            raise  # no peer's fault
        except (Refused, Problem) as error:
            reasons.append(f"{peer.hex()[:16]}…: {error}")
            session.peers.sort(key=peer.__eq__)  # it is asked last from now on
        else:
            return ""
    return ", ".join(reasons) or "the connections ended"


def _fetched(session: Session, peer: bytes, first: int, last: int) -> list[Block]:
    """All of these blocks, from one peer. Raises `Problem` when it does not have them."""
    blocks: list[Block] = []
    while len(blocks) <= last - first:
        start = first + len(blocks)
        answer = session.ask(peer, messages.BlockRequest(start, last - start + 1), messages.Blocks)
        if answer.start != start or not answer.blocks:
            raise Problem(f"it does not have block {start}")
        blocks += answer.blocks
    return blocks[: last - first + 1]
