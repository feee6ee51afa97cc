"""What a member of Simplex remembers: the votes of each view, and the blocks above the final tip."""

from dataclasses import dataclass, field

from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import State
from tallystick.ledger.vote import Ballot, Tally, Vote, tally_of


@dataclass
class Round:
    """What is known of one view."""

    votes: dict[bytes, list[Vote]] = field(default_factory=dict)
    """Of each member those that count; only who contradicts itself has more than three."""
    weight: dict[Ballot, int] = field(default_factory=dict)
    proposed: bytes | None = None
    notarized: bytes | None = None
    is_nullified: bool = False
    finalized: bytes | None = None
    blocks: int = 0
    kept: set[Ballot] = field(default_factory=set)
    """Quorums that were handed out to be persisted."""

    def tally(self, ballot: Ballot) -> Tally:
        """The votes for a ballot (at least one)."""
        return tally_of(vote for votes in self.votes.values() for vote in votes if vote.ballot == ballot)


@dataclass
class Pending:
    """A block above the final tip, whole and judged legal on its parent."""

    block: Block
    state: State
    ids: frozenset[bytes]
    parent: "Pending | None"

    def holds(self, certificate_id: bytes) -> bool:
        """Whether this block or one below it, down to the final tip, holds the certificate with this id."""
        link: Pending | None = self
        while link is not None:
            if certificate_id in link.ids:
                return True
            link = link.parent
        return False
