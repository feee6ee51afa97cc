"""The network as an adversary: it knows what it carries, and keeps back or loses what hurts most."""

from functools import lru_cache
from random import Random

from tests.simulation.campaign.scenario import HELD_BACK_MS

from tallystick.host.batches import verify_batch
from tallystick.ledger.encoding import encode
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.messages import Message, RecoveryResponse, Votes, encode_message
from tallystick.network.simulated import Link, SimulatedNetwork


def _is_signed(*claim: bytes) -> bool:
    """As a node on this machine verifies it: by the native module where that is built."""
    return verify_batch(encode([claim])) == b"\x01"


class Adversary(SimulatedNetwork):
    """Decides by the seed, and by what it was told to do for the time being."""

    def __init__(self, genesis: Genesis, seed: int, link: Link) -> None:
        super().__init__(genesis, seed, link)
        self.verify = lru_cache(maxsize=65_536)(_is_signed)
        self.held_back = 0
        """The kind of vote of which every other message is late; 0: none."""
        self.lost: frozenset[int] = frozenset()
        """The kinds of votes that do not arrive at all."""
        self.withholds_answers = False
        """Whether most answers to who lost its guard are lost, and the others late."""
        self._whim = Random(f"whim {seed}")

    def send(self, sender: str, receiver: str, data: bytes) -> None:
        """See `SimulatedNetwork`."""
        message: Message | None = self.decode(data) if self.held_back or self.lost or self.withholds_answers else None
        is_late = False
        if isinstance(message, Votes):
            tallies = tuple(one for one in message.tallies if one.ballot.kind not in self.lost)
            if not tallies:
                return
            data = data if len(tallies) == len(message.tallies) else encode_message(Votes(tallies))
            is_late = any(one.ballot.kind == self.held_back for one in tallies) and self._whim.random() < 0.5
        elif isinstance(message, RecoveryResponse) and self.withholds_answers:
            if self._whim.random() < 0.6:
                self.faults["answers withheld"] += 1
                return
            is_late = True
        if is_late:
            self.faults["held back"] += 1
            late_ms = self._whim.randint(0, HELD_BACK_MS)
            self.at(self.now_ms + late_ms, lambda: super(Adversary, self).send(sender, receiver, data))
        else:
            super().send(sender, receiver, data)
