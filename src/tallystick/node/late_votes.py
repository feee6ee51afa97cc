"""Votes that come late, for views that are over: what is kept of those views may show that they contradict it."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from tallystick.consensus.agreement import Equivocation
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.keys import is_signed
from tallystick.ledger.state import State
from tallystick.ledger.vote import Tally, Vote, tally_of
from tallystick.node.archive import Archive, kept_epoch
from tallystick.node.events import Action, PersistFinalization

_TALLIES_A_MESSAGE: Final = 4
_REMEMBERED: Final = 1_024


class LastFinalization:
    """The votes for the last block of the epoch before: those that come late join what is kept, for proofs to come."""

    def __init__(self, index: int, tally: Tally, epoch: Epoch) -> None:
        self._index, self._epoch = index, epoch
        self.tally = tally

    @classmethod
    def of(cls, index: int, tally: Tally | None, epoch: Epoch) -> "LastFinalization | None":
        """Of the block that ended this epoch, if these votes did it."""
        return cls(index, tally, epoch) if tally is not None and tally.ballot.epoch == epoch.number else None

    @classmethod
    def kept(cls, archive: Archive, chain: Blockchain) -> "LastFinalization | None":
        """As it is kept."""
        number, index = chain.state.epoch.number - 1, chain.state.epoch.first_index - 1
        return cls.of(index, archive.finalization(index), kept_epoch(number, archive, chain)) if number >= 0 else None

    def lacking(self, tally: Tally) -> list[Vote]:
        """Votes of the epoch's members that are not there yet."""
        if tally.ballot != self.tally.ballot:
            return []
        held = {member for member, _ in self.tally.signatures}
        return [one for one in tally.votes if one.member not in held and self._epoch.stake(one.member)]

    def add(self, tally: Tally, actions: list[Action]) -> None:
        """Have them kept with the others; their signatures are good."""
        if lacking := self.lacking(tally):
            self.tally = tally_of([*self.tally.votes, *lacking])
            actions.append(PersistFinalization(self._index, self.tally))


class LateVotes:
    """Which late votes are worth a look at what is kept: each once, and only while evidence of their epoch is legal."""

    def __init__(self) -> None:
        self._seen: dict[Vote, None] = {}

    @staticmethod
    def select(tallies: Iterable[Tally], state: State, is_final: Callable[[bytes], bool]) -> tuple[Tally, ...]:
        """Some of these votes, none of them verified, of members that have stake to lose.

        Votes for a block that is final here contradict nothing.
        """
        oldest = state.epoch_ends[0].epoch if state.epoch_ends else state.epoch.number
        late = (one for one in tallies if one.ballot.epoch >= oldest and not is_final(one.ballot.block_hash))
        liable = ([vote for vote in one.votes if state.stakes.account(vote.member).liable] for one in late)
        return tuple(islice((tally_of(votes) for votes in liable if votes), _TALLIES_A_MESSAGE))

    def compare(self, late: Iterable[Tally], kept: Iterable[Tally], ledger_id: bytes) -> Iterator[Equivocation]:
        """What late votes and kept ones prove; only signatures of votes that prove something are verified.

        A tally with a bad one is passed on by nobody who is honest: it is looked at no further.
        """
        held: dict[bytes, list[Vote]] = {}
        for vote in (one for tally in kept for one in tally.votes):
            held.setdefault(vote.member, []).append(vote)
        for tally in late:
            for vote in tally.votes:
                other = next((one for one in held.get(vote.member, ()) if one.conflicts_with(vote)), None)
                if other is None or vote in self._seen:
                    continue
                self._seen[vote] = None
                if len(self._seen) > _REMEMBERED:
                    del self._seen[next(iter(self._seen))]
                if not is_signed(vote.ballot.signed_bytes(ledger_id), vote.signature, vote.member):
                    break
                yield Equivocation(other, vote)
