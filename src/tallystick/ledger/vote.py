"""Votes of Simplex, tallies of them, and what two of them prove against their signer."""

from collections.abc import Callable, Iterable
from typing import Annotated, Final

from msgspec import Meta

from tallystick.ledger.encoding import Codec, Encoded
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import UNSIGNED, ZERO_DIGEST, Digest, Index, PublicKey, Signature
from tallystick.ledger.keys import Domain, Verify, is_signed, signed_bytes
from tallystick.ledger.params import MAX_GENESIS_BYTES, MAX_GENESIS_MEMBERS
from tallystick.ledger.wallet import Wallet

NOTARIZE: Final = 1
NULLIFY: Final = 2
FINALIZE: Final = 3
NAMES: Final = {NOTARIZE: "notarize", NULLIFY: "nullify", FINALIZE: "finalize"}


class Ballot(Encoded):
    """What a vote says; `block_hash` is zero in a nullify vote."""

    kind: Annotated[int, Meta(ge=1, le=3)]
    epoch: Index
    view: Index
    block_hash: Digest

    def conflicts_with(self, other: "Ballot") -> bool:
        """Whether no honest member signs both (rule V3): two of one kind in one view, or nullify beside finalize."""
        if (self.epoch, self.view) != (other.epoch, other.view):
            return False
        if self.kind == other.kind:
            return self.block_hash != other.block_hash
        return {self.kind, other.kind} == {NULLIFY, FINALIZE}

    def signed_bytes(self, ledger_id: bytes) -> bytes:
        """The message under a member's signature."""
        return signed_bytes(Domain.VOTE, ledger_id, self.encoded)


class Vote(Encoded):
    """One member's signature on a ballot."""

    ballot: Ballot
    member: PublicKey
    signature: Signature = UNSIGNED

    def conflicts_with(self, other: "Vote") -> bool:
        """Whether one member signed both, and no honest member does (rule V3)."""
        return self.member == other.member and self.ballot.conflicts_with(other.ballot)


class Tally(Encoded):
    """Votes for one ballot, not necessarily a quorum: members in ascending order, each with its signature."""

    ballot: Ballot
    signatures: Annotated[tuple[tuple[PublicKey, Signature], ...], Meta(min_length=1, max_length=MAX_GENESIS_MEMBERS)]

    @property
    def votes(self) -> list[Vote]:
        """The votes one by one."""
        return [Vote(self.ballot, member, signature) for member, signature in self.signatures]


tally_codec: Codec[Tally] = Codec(Tally, MAX_GENESIS_BYTES, "tally")


def tally_of(votes: Iterable[Vote]) -> Tally:
    """One tally of votes for the same ballot (at least one)."""
    ordered = sorted(votes, key=lambda vote: vote.member)
    return Tally(ordered[0].ballot, tuple((vote.member, vote.signature) for vote in ordered))


def check_tally(tally: Tally) -> None:
    """Raise `Refused` (E3, E2) unless the members ascend, and a block is named by all votes but those to nullify."""
    members = [member for member, _ in tally.signatures]
    if members != sorted(set(members)):
        raise Refused(Rule.E3, "the members of a tally stand in ascending order, each once")
    if (tally.ballot.kind == NULLIFY) != (tally.ballot.block_hash == ZERO_DIGEST):
        raise Refused(Rule.E2, "a vote to nullify names no block, any other does")


def check_vote_signatures(
    tally: Tally, ledger_id: bytes, verify: Verify = is_signed, is_known: Callable[[Vote], bool] = lambda vote: False
) -> None:
    """Raise `Refused` (V1) unless every vote that is not known is signed by its member."""
    signed = tally.ballot.signed_bytes(ledger_id)
    for vote in tally.votes:
        if not is_known(vote) and not verify(signed, vote.signature, vote.member):
            raise Refused(Rule.V1, f"the vote is not signed by {vote.member.hex()[:16]}…")


def cast(wallet: Wallet, ledger_id: bytes, ballot: Ballot) -> Vote:
    """Sign a ballot. Only `SigningGuard` may call this: it remembers what was signed before."""
    return Vote(ballot, wallet.public_key, wallet.sign(Domain.VOTE, ledger_id, ballot.encoded))
