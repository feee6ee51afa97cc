"""What a node and agreement ask of each other."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import State
from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.header import Header, SignedHeader
from tallystick.ledger.vote import Ballot, Tally, Vote

Holds = Callable[[bytes], bool]
"""Whether blocks above the final tip hold the certificate with this id."""


class Waiting(Protocol):
    """The certificate box, as far as agreement looks into it."""

    def due_ms(self, holds: Holds) -> int | None:
        """When the certificates that no block holds yet want to be forged; `None`: never, as things stand."""

    def choose(self, base: State, holds: Holds) -> list[AnyCertificate]:
        """Certificates for a block on `base`, legal in this order."""


class Cast(NamedTuple):
    """Persist the vote, and the block it is for (if given), then broadcast: the vote, and one's own proposal."""

    vote: Vote
    block: Block | None


class Keep(NamedTuple):
    """Persist these votes: what this member votes next rests on their quorum, and must after a restart, too."""

    quorum: Tally


class Finalized(NamedTuple):
    """These blocks follow the tip, each with the state it leads to; the last has this finalization, if it takes one."""

    blocks: tuple[Block, ...]
    states: tuple[State, ...]
    finalization: Tally | None


class Drifted(NamedTuple):
    """A quorum finalized a block with stakes that do not follow from it here: this node's state is not the ledger's."""

    ballot: Ballot


class Lacks(NamedTuple):
    """A block that was voted for is not known whole: ask for it."""

    block_hash: bytes


class Share(NamedTuple):
    """The view lasts: pass on these votes, which some members may not hear from those who cast them."""

    tallies: tuple[Tally, ...]


class Repeat(NamedTuple):
    """Nothing moves: tell the others again where this member stands."""


class CaughtVoting(NamedTuple):
    """Two votes that no honest member signs both."""

    first: Vote
    second: Vote

    @property
    def offender(self) -> bytes:
        """Whose votes they are."""
        return self.first.member


class CaughtForging(NamedTuple):
    """Two headers that no honest forger signs both."""

    first: SignedHeader
    second: SignedHeader

    @property
    def offender(self) -> bytes:
        """Who forged them."""
        return self.first.header.forger


Output = Cast | Keep | Finalized | Drifted | Lacks | Share | Repeat
Caught = CaughtVoting | CaughtForging


class Turns(Protocol):
    """Agreement by turns: who may forge, and forging for this node's own key; the forger's signature is final."""

    def check_forger(self, state: State, header: Header) -> None:
        """Raise `Refused` (B4) unless the header's forger may extend `state`."""

    def may_forge(self, state: State) -> bool:
        """Whether this node has a turn to take after `state`."""

    def forge(self, now_ms: int, state: State, certificates: list[AnyCertificate]) -> Block | None:
        """Forge, or spend one step of work on it and return `None`: call again."""
