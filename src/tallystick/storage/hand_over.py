"""How the voters of a later epoch follow from those of an earlier one: the steps of a hand-over (ledger/bundle.py)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from tallystick.ledger.bundle import FinalVotes, HandOver, Step, Voters
from tallystick.ledger.finality import FinalHeader, Members
from tallystick.ledger.vote import Tally
from tallystick.problems import StoreError
from tallystick.storage.store import Store

_AT_HAND: Final = 4_096


class NotKept(StoreError):
    """What a proof needs is not kept here."""

    code, http_status = "not-kept", 404


class EpochEnds:
    """What a store keeps of epochs: their voters, and what proves their last blocks final."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._first = store.genesis.stakes().members
        self.voters = lru_cache(_AT_HAND)(self._voters)

    def changes(self, after: int, last: int) -> list[int]:
        """The epochs after one, and up to another, that have other voters than the epoch before."""
        return self._store.changes_of_voters(after, last)

    def _voters(self, epoch: int) -> Members:
        kept = self._store.voters(epoch)
        return self._first if kept is None else kept

    def end(self, epoch: int) -> FinalHeader | None:
        """The last block of an epoch that is over; `None`: no votes for it are kept."""
        found = [self._store.final_header(index) for index in self._store.epoch_ends(epoch, 1)]
        return next((one for one in found if one is not None and one.header.epoch == epoch), None)


def final_votes(tally: Tally, voters: Members) -> FinalVotes:
    """Votes that finalize a block, as a proof has them."""
    places = {key: place for place, (key, _) in enumerate(voters)}
    return FinalVotes(tally.ballot.view, tuple((places[key], signature) for key, signature in tally.signatures))


def plan_hand_over(ends: EpochEnds, since: int, epoch: int, votes: Tally) -> HandOver:
    """The steps from the voters of epoch `since` to those of a later one, a block of which these votes finalize.

    A step goes as far as it can: to the last block of an epoch whose votes hold more than 2/3 of the stake known so
    far, and of that of each epoch in between: a verifier may have stopped there before. Raises `NotKept`.
    """
    known, reached, keys, steps = ends.voters(since), since, _Keys(ends.voters(0)), list[Step]()
    first = keys.told(known, ends.voters(0))
    while reached < epoch and not _leads(ends, reached, epoch, votes):
        at, end = _furthest(ends, reached, epoch)
        assert end.roots is not None, "the last block of an epoch is kept with its state roots"
        own, following = ends.voters(at), ends.voters(at + 1)
        told, told_next = keys.told(own, known), keys.told(following, own)
        cast = final_votes(end.finalization, own)
        steps.append(Step(end.header, cast, end.roots.of_log, end.roots.of_members, told, told_next))
        known, reached = following, at + 1
    voters = keys.told(ends.voters(epoch), known)
    return HandOver(since, first, tuple(keys.added), tuple(steps), voters)


class _Keys:
    """The keys of a hand-over, each once; the first are those of the genesis's voters."""

    def __init__(self, first: Members) -> None:
        self._places = {key: place for place, (key, _) in enumerate(first)}
        self.added: list[bytes] = []

    def told(self, voters: Members, known: Members) -> Voters | None:
        """Voters by the places of their keys; `None` if they are the known ones."""
        return None if voters == known else tuple((self._place(key), stake) for key, stake in voters)

    def _place(self, key: bytes) -> int:
        if key not in self._places:
            self._places[key] = len(self._places)
            self.added.append(key)
        return self._places[key]


def _furthest(ends: EpochEnds, reached: int, epoch: int) -> tuple[int, FinalHeader]:
    """The last of the epochs from the one reached on, and before `epoch`, whose end the known voters lead to.

    The further away, the more voters are others, so it is found by bisection; the epoch reached always is one.
    """
    low, high, found = reached, epoch, ends.end(reached)
    middle = epoch - 1
    while high - low > 1:
        tried = ends.end(middle)
        if tried is not None and _leads(ends, reached, middle, tried.finalization):
            low, found = middle, tried
        else:
            high = middle
        middle = (low + high) // 2
    if found is None:
        said = f"the votes that make the last block of epoch {reached} final are not kept here"
        raise NotKept(f"{said}; ask another member's node for the proof, or for one since a later epoch")
    return low, found


def _leads(ends: EpochEnds, reached: int, epoch: int, votes: Tally) -> bool:
    """Whether who voted in this epoch holds more than 2/3 of the stake of each from the one reached on."""
    epochs, voted = [reached, *ends.changes(reached, epoch)], [key for key, _ in votes.signatures]
    return all(3 * _stake(one, voted) > 2 * sum(stake for _, stake in one) for one in map(ends.voters, epochs))


def _stake(known: Members, keys: Sequence[bytes]) -> int:
    stakes = dict(known)
    return sum(stakes.get(key, 0) for key in keys)
