"""Votes that come late, for views that are over: what is kept of those views may show that they contradict it."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from tallystick.consensus.agreement import Equivocation
from tallystick.ledger.keys import is_signed
from tallystick.ledger.state import State
from tallystick.ledger.vote import Tally, Vote, tally_of

_TALLIES_A_MESSAGE: Final = 4
_REMEMBERED: Final = 1_024


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
