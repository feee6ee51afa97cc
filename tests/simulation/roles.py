"""Peers that are no honest node, each named by what it does."""

from collections.abc import Sequence
from functools import lru_cache

from tests.builders import STRANGER, Scribe, agreement_of, statement

from tallystick.ledger.block import Block
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.messages import BlockRequest, Blocks, Message, NewBlock, Status, decode_message, encode_message
from tallystick.network.simulated import SimulatedNetwork
from tallystick.node.events import Event, PeerConnected


class Silent:
    """Connects, listens, and never says a word. The others build on it."""

    is_up = True

    def __init__(self, network: SimulatedNetwork, name: str) -> None:
        network.add(name, agreement_of(None))
        network.hosts[name] = self  # type: ignore[assignment]
        self.network, self.name = network, name
        self.heard: list[Message] = []

    def handle(self, event: Event) -> None:
        if isinstance(event, PeerConnected):
            self.greet(str(event.peer))

    def receive(self, peer: str, data: bytes) -> None:
        message = decode_message(data)
        self.heard.append(message)
        if isinstance(message, BlockRequest):
            self.answer(peer, message)

    def send(self, peer: str, message: Message | bytes) -> None:
        self.network.send(self.name, peer, message if isinstance(message, bytes) else encode_message(message))

    def greet(self, peer: str) -> None:
        """What it says when it meets somebody."""

    def answer(self, peer: str, request: BlockRequest) -> None:
        """What it says to somebody who asks for blocks."""


class Boaster(Silent):
    """Claims a chain of a million blocks, and never answers."""

    def greet(self, peer: str) -> None:
        self.send(peer, Status(self.network.genesis.ledger_id, 10**6, 10**6, ZERO_DIGEST, ()))


class Repeater(Boaster):
    """Boasts again whenever it hears anything at all."""

    def receive(self, peer: str, data: bytes) -> None:
        super().receive(peer, data)
        self.greet(peer)


class EmptyHanded(Boaster):
    """Claims a million blocks, and answers that it has none."""

    def answer(self, peer: str, request: BlockRequest) -> None:
        self.send(peer, Blocks(request.start, ()))


class Tantalizer(EmptyHanded):
    """Answers that it has no blocks, and boasts again in the same breath."""

    def answer(self, peer: str, request: BlockRequest) -> None:
        super().answer(peer, request)
        self.greet(peer)


class Counterfeiter(Boaster):
    """Answers with more blocks than were asked for, well signed and on nobody's chain, and boasts again."""

    def answer(self, peer: str, request: BlockRequest) -> None:
        blocks = tuple(stray_block(self.network.genesis, request.start + place) for place in range(request.count + 1))
        self.send(peer, Blocks(request.start, blocks))
        self.greet(peer)


class Trickler(Boaster):
    """Has the true chain and hands it out a block at a time."""

    def __init__(self, network: SimulatedNetwork, name: str, blocks: Sequence[Block]) -> None:
        super().__init__(network, name)
        self.blocks = blocks

    def answer(self, peer: str, request: BlockRequest) -> None:
        self.send(peer, Blocks(request.start, tuple(self.blocks[request.start - 1 : request.start])))


class Muddler(Trickler):
    """Answers with true blocks, but not with the ones that were asked for."""

    def answer(self, peer: str, request: BlockRequest) -> None:
        self.send(peer, Blocks(request.start, tuple(self.blocks[request.start : request.start + request.count])))


class Foreigner(Silent):
    """Is on another ledger, and offers its blocks."""

    def __init__(self, network: SimulatedNetwork, name: str, foreign: Scribe) -> None:
        super().__init__(network, name)
        self.foreign = foreign

    def greet(self, peer: str) -> None:
        self.send(peer, NewBlock(self.foreign.blocks[0]))
        self.send(peer, Status(self.foreign.genesis.ledger_id, 10**6, 10**6, ZERO_DIGEST, ()))


@lru_cache(maxsize=2_000)
def stray_block(genesis: Genesis, index: int) -> Block:
    """A block that anybody can make: well signed by a stranger, on a parent that is nobody's."""
    return Scribe(genesis).draft(
        statement(ledger=genesis.ledger_id), signer=STRANGER, index=index, view=index, parent_hash=b"\x07" * 32
    )
