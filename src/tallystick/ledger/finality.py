"""Proof that blocks are final, ahead of the blocks themselves: headers, and votes of more than 2/3 of the stake.

A finalize vote names the stakes that the next block is voted on with. So who knows an epoch's members, and holds the
finalization of its last block, knows the next epoch's members: from the genesis on, one epoch after the other.
"""

from typing import Annotated

from msgspec import Meta, Struct

from tallystick.ledger.encoding import Codec, PublicKey
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.header import Header
from tallystick.ledger.params import MAX_GENESIS_BYTES, MAX_GENESIS_MEMBERS, MAX_TOKENS
from tallystick.ledger.stake import Account, StakeTable
from tallystick.ledger.vote import FINALIZE, Ballot, Tally

Members = Annotated[
    tuple[tuple[PublicKey, Annotated[int, Meta(ge=1, le=MAX_TOKENS)]], ...],
    Meta(min_length=1, max_length=MAX_GENESIS_MEMBERS),
]

members_codec: Codec[Members] = Codec(Members, MAX_GENESIS_BYTES, "members")


class FinalHeader(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A block's header, the votes that finalize it, and the members of the epoch that it begins.

    `members` is `None` unless the block is the last of its epoch and the next one has other members, or stakes.
    """

    header: Header
    finalization: Tally
    members: Members | None = None


def check_final(epoch: Epoch, header: Header, finalization: Tally | None, next_stakes: bytes | None) -> None:
    """Raise `Refused` (V2) unless the epoch's members finalized this block; the signatures are known to be good.

    `next_stakes` is the hash of the stakes that the next block is voted on with; `None`: not known yet.
    """
    what = f"block {header.index}"
    if finalization is None:
        raise Refused(Rule.V2, f"{what} comes without a finalization")
    ballot = finalization.ballot
    expected = ballot.stakes_hash if next_stakes is None else next_stakes
    if ballot != Ballot(FINALIZE, epoch.number, ballot.view, header.hash, expected):
        raise Refused(Rule.V2, f"these votes do not finalize {what} in epoch {epoch.number}, or with other stakes")
    stake = sum(epoch.stake(member) for member in {member for member, _ in finalization.signatures})
    if not epoch.is_quorum(stake):
        raise Refused(Rule.V2, f"{stake} of {epoch.total} staked tokens voted to finalize {what}")


def next_epoch(epoch: Epoch, last: FinalHeader) -> Epoch:
    """The epoch after the one whose last block this is. Raises `Refused` (V2) unless the block's voters name it."""
    check_final(epoch, last.header, last.finalization, None)
    stakes = epoch.stakes
    if last.members is not None:
        stakes = StakeTable({member: Account(0, staked) for member, staked in last.members})
    following = Epoch(epoch.number + 1, stakes)
    if following.hash != last.finalization.ballot.stakes_hash or (last.members or epoch.members) != following.members:
        raise Refused(Rule.V2, f"the members given for epoch {following.number} are not those that its voters named")
    return following
