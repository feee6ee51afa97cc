"""Certificates of votes, and proof that blocks are final, ahead of the blocks themselves.

Whoever knows an epoch's members, and holds the finalization of its last block with the state roots in its header,
knows the next epoch's members: from the genesis on, one epoch after the other.
"""

from dataclasses import InitVar, dataclass
from typing import Annotated, ClassVar

from msgspec import Meta

from tallystick.ledger.encoding import Codec, Encoded
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import ZERO_DIGEST, PublicKey, Stake
from tallystick.ledger.header import Header
from tallystick.ledger.params import MAX_GENESIS_BYTES, MAX_GENESIS_MEMBERS
from tallystick.ledger.roots import StateRoots
from tallystick.ledger.stake import Account, StakeTable
from tallystick.ledger.vote import FINALIZE, NAMES, NOTARIZE, NULLIFY, Ballot, Tally

Members = Annotated[tuple[tuple[PublicKey, Stake], ...], Meta(min_length=1, max_length=MAX_GENESIS_MEMBERS)]

members_codec: Codec[Members] = Codec(Members, MAX_GENESIS_BYTES, "members")


@dataclass(frozen=True)
class VoteCertificate:
    """Votes of more than 2/3 of an epoch's stake for one ballot: it cannot be made from less.

    Raises `Refused` (V2) for votes of another kind or epoch, for members that are not distinct and ascending, and for
    too little stake. Signatures are known to be good.
    """

    kind: ClassVar[int]

    tally: Tally
    voters: InitVar[Epoch]

    def __post_init__(self, voters: Epoch) -> None:
        ballot, members = self.ballot, [member for member, _ in self.tally.signatures]
        what = f"{NAMES[self.kind]} certificate of view {ballot.view}"
        if (ballot.kind, ballot.epoch) != (self.kind, voters.number):
            raise Refused(Rule.V2, f"{what}: votes to {NAMES[ballot.kind]} in epoch {ballot.epoch}")
        if (self.kind == NULLIFY) != (ballot.block_hash == ZERO_DIGEST):
            raise Refused(Rule.V2, f"{what}: it names a block, or none, against its kind")
        if members != sorted(set(members)):
            raise Refused(Rule.V2, f"{what}: its members are not distinct and in ascending order")
        stake = sum(voters.stake(member) for member in members)
        if not voters.is_quorum(stake):
            raise Refused(Rule.V2, f"{what}: {stake} of {voters.total} staked tokens voted")

    @property
    def ballot(self) -> Ballot:
        """What they voted for."""
        return self.tally.ballot

    @property
    def members(self) -> frozenset[bytes]:
        """Who voted."""
        return frozenset(member for member, _ in self.tally.signatures)


class Notarization(VoteCertificate):
    """The view's block, the only one: members may build on it."""

    kind = NOTARIZE


class Nullification(VoteCertificate):
    """No block of the view is final, ever."""

    kind = NULLIFY


class Finalization(VoteCertificate):
    """The block and all before it are final."""

    kind = FINALIZE


_OF_KIND = {one.kind: one for one in (Notarization, Nullification, Finalization)}


def certificate_of(tally: Tally, epoch: Epoch) -> Notarization | Nullification | Finalization:
    """The certificate of the ballot's kind. Raises `Refused` (V2) as its constructor does."""
    return _OF_KIND[tally.ballot.kind](tally, epoch)


class FinalHeader(Encoded):
    """A block's header and the votes that finalize it.

    The last of an epoch comes with its state roots, and with the next epoch's members, if they or their stakes differ.
    """

    header: Header
    finalization: Tally
    roots: StateRoots | None = None
    members: Members | None = None


def check_final(epoch: Epoch, header: Header, finalization: Tally | None) -> None:
    """Raise `Refused` (V2) unless the epoch's members finalized this block; the signatures are known to be good."""
    if finalization is None:
        raise Refused(Rule.V2, f"block {header.index} comes without a finalization")
    if (header.epoch, header.hash) != (epoch.number, Finalization(finalization, epoch).ballot.block_hash):
        raise Refused(Rule.V2, f"these votes do not finalize block {header.index} in epoch {epoch.number}")


def next_epoch(epoch: Epoch, last: FinalHeader) -> Epoch:
    """The epoch after the one whose last block this is. Raises `Refused` (V2) unless its state root proves it."""
    header, roots = last.header, last.roots
    check_final(epoch, header, last.finalization)
    stakes = epoch.stakes
    if last.members is not None:
        stakes = StakeTable({member: Account(0, staked) for member, staked in last.members})
    following = Epoch(epoch.number + 1, stakes, header.index + 1, header.timestamp_ms)
    if roots is None or (roots.hash, roots.next_voters) != (header.state_root, following.hash):
        raise Refused(Rule.V2, f"block {header.index} does not lead to epoch {following.number} with these members")
    if last.members is not None and last.members != following.members:
        raise Refused(Rule.V2, f"the members of epoch {following.number} are not distinct and in ascending order")
    return following
