"""Follows a ledger's members from epoch to epoch by a hand-over, and says what does not hold."""

from collections.abc import Iterable
from typing import NamedTuple

from tallystick.ledger.bundle import FinalVotes, HandOver, Step, Voters
from tallystick.ledger.encoding import Encoded
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import NotProven, Rule, expect, step
from tallystick.ledger.fields import Digest, Index, Milliseconds, PublicKey, Stake
from tallystick.ledger.finality import Finalization
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import VERSION, Header
from tallystick.ledger.roots import LogRoots, MemberRoots
from tallystick.ledger.stake import Account, StakeTable
from tallystick.ledger.vote import FINALIZE, Ballot, Tally, check_vote_signatures

_UNKNOWN_START = "the proof starts from an epoch not verified here before; make it without --since"


class Conflict(NotProven):
    """Two histories of one ledger, each proven: its members signed both, or their keys were stolen."""


class Anchor(Encoded):
    """The newest header of a ledger that a verifier has verified, and who voted in its epoch."""

    ledger_id: Digest
    epoch: Index
    voters: tuple[tuple[PublicKey, Stake], ...]
    """Keys ascending."""
    index: Index
    block_hash: Digest
    timestamp_ms: Milliseconds


class MemberChange(NamedTuple):
    """Voters of an epoch that are others than those known before: they changed by then."""

    epoch: int
    joined: tuple[bytes, ...]
    left: tuple[bytes, ...]


class FinalBlock(NamedTuple):
    """A header with what makes it final, and opens its state root."""

    header: Header
    last: Header
    """The block that was voted for: its own, or one that follows it in its epoch."""
    votes: FinalVotes
    log: LogRoots
    of_members: MemberRoots


class Members:
    """Who votes, as far as it is proven: from the genesis on, or from what was verified before. `NotProven` (P4)."""

    def __init__(self, genesis: Genesis, hand_over: HandOver, anchors: Iterable[Anchor] = ()) -> None:
        self.changes: list[MemberChange] = []
        self._ledger_id = genesis.ledger_id
        self._anchors = {one.epoch: one for one in anchors}
        first = Epoch(0, genesis.stakes(), 1, 0)
        self._keys = (*(key for key, _ in first.members), *hand_over.keys)
        self._known = self._epoch(hand_over.since, hand_over.first, first)
        self._is_trusted = hand_over.since == 0 and hand_over.first is None
        if not self._is_trusted and all(one < hand_over.since for one in self._anchors):
            raise NotProven(Rule.P4, _UNKNOWN_START)
        self._meet(self._known)

    def follow(self, step: Step) -> None:
        """Go on to the epoch after the step's. Raises `NotProven` (P4), `Conflict`."""
        header = step.header
        final = FinalBlock(header, header, step.votes, step.log, step.of_members)
        voters = self.final_voters(final, step.voters, Rule.P4)
        following = self._epoch(header.epoch + 1, step.next_voters, voters)
        expect(Rule.P4, f"voters of epoch {following.number}", step.of_members.next_voters, following.hash)
        self._move(following)

    def final_voters(self, final: FinalBlock, listed: Voters | None, rule: Rule) -> Epoch:
        """The epoch of a header that is final: its voters, as the header names them, made it so.

        Those who voted hold more than 2/3 of its stake, of the stake known before, and of that of each anchor between.
        Raises `NotProven` (P4, or the rule), `Conflict`.
        """
        header = final.header
        expect(rule, "ledger of the header", self._ledger_id, header.ledger_id)
        expect(rule, "version of the header", VERSION, header.version)
        if header.epoch < self._known.number:
            raise NotProven(Rule.P4, "epoch of the next header", f"{self._known.number} or later", header.epoch)
        voters = self._epoch(header.epoch, listed, self._known)
        expect(rule, f"state root of block {header.index}", header.state_root, final.log.hash)
        expect(rule, f"hash of the member roots of block {header.index}", final.log.members_hash, final.of_members.hash)
        expect(rule, f"voters of block {header.index}", final.of_members.voters, voters.hash)
        finalization = _finalization(rule, voters, final)
        between = [one for one in self._anchors.values() if self._known.number < one.epoch < header.epoch]
        for known in (self._known, *map(_epoch_of, between)):
            stake = sum(known.stake(key) for key in finalization.members)
            if not known.is_quorum(stake):
                what = f"stake of epoch {known.number}, known before, in the votes of epoch {header.epoch}"
                raise NotProven(Rule.P4, what, f"more than 2/3 of {known.total}", stake)
        with step(rule, f"votes for block {final.last.index}"):
            check_vote_signatures(finalization.tally, self._ledger_id)
        if between and not self._is_trusted:
            self._trust(_epoch_of(max(between, key=lambda one: one.epoch)))
        self._move(voters)
        return voters

    def check_trusted(self) -> None:
        """Raise `NotProven` (P4) if the hand-over starts from an epoch that the verifier never verified."""
        if not self._is_trusted:
            raise NotProven(Rule.P4, _UNKNOWN_START)

    def _move(self, epoch: Epoch) -> None:
        before, after = {key for key, _ in self._known.members}, {key for key, _ in epoch.members}
        if before != after:
            joined, left = tuple(sorted(after - before)), tuple(sorted(before - after))
            self.changes.append(MemberChange(epoch.number, joined, left))
        self._known = epoch
        self._meet(epoch)

    def _meet(self, epoch: Epoch) -> None:
        anchor = self._anchors.get(epoch.number)
        if anchor is None:
            return
        if epoch.members != anchor.voters:
            kind, what = Conflict if self._is_trusted else NotProven, f"voters of epoch {epoch.number}, verified before"
            raise kind(Rule.P4, what, _epoch_of(anchor).hash, epoch.hash)
        self._trust(epoch)

    def _trust(self, epoch: Epoch) -> None:
        """The verifier knows this epoch; what an untrusted start told before it counts for nothing."""
        if not self._is_trusted:
            self.changes.clear()
        self._known, self._is_trusted = epoch, True

    def _epoch(self, number: int, listed: Voters | None, known: Epoch) -> Epoch:
        if listed is None:
            return Epoch(number, known.stakes, 0, 0)
        if any(place >= len(self._keys) for place, _ in listed):
            raise NotProven(Rule.P4, f"voters of epoch {number}: a place beyond the {len(self._keys)} keys")
        members = tuple((self._keys[place], stake) for place, stake in listed)
        epoch = _epoch_of_members(number, members)
        if epoch.members != members:
            raise NotProven(Rule.P4, f"the voters of epoch {number} are not distinct and in ascending order")
        return epoch


def first_voters(genesis: Genesis, hand_over: HandOver) -> tuple[tuple[bytes, int], ...]:
    """The keys and stakes of the epoch that a hand-over starts from, as it tells them. Raises `NotProven` (P4)."""
    return _told(genesis, hand_over, hand_over.first)


def last_voters(genesis: Genesis, hand_over: HandOver) -> tuple[tuple[bytes, int], ...]:
    """Those of the epoch that it leads to, as it tells them: nothing of it is proven. Raises `NotProven` (P4)."""
    steps = [one for at in hand_over.steps for one in (at.voters, at.next_voters)]
    told = [one for one in (hand_over.first, *steps, hand_over.voters) if one is not None]
    return _told(genesis, hand_over, told[-1] if told else None)


def _told(genesis: Genesis, hand_over: HandOver, listed: Voters | None) -> tuple[tuple[bytes, int], ...]:
    first = genesis.stakes().members
    if listed is None:
        return first
    keys = (*(key for key, _ in first), *hand_over.keys)
    if any(place >= len(keys) for place, _ in listed):
        raise NotProven(Rule.P4, f"voters: a place beyond the {len(keys)} keys")
    return tuple((keys[place], stake) for place, stake in listed)


def _finalization(rule: Rule, epoch: Epoch, final: FinalBlock) -> Finalization:
    """The votes, of a quorum of the epoch; their signatures are not verified. Raises `NotProven`."""
    members, header = epoch.members, final.last
    if any(place >= len(members) for place, _ in final.votes.signatures):
        raise NotProven(rule, f"a vote for block {header.index} is of nobody in its epoch")
    ballot = Ballot(FINALIZE, header.epoch, final.votes.view, header.hash)
    with step(rule, f"votes for block {header.index}"):
        return Finalization(Tally(ballot, tuple((members[at][0], one) for at, one in final.votes.signatures)), epoch)


def _epoch_of(anchor: Anchor) -> Epoch:
    return _epoch_of_members(anchor.epoch, anchor.voters)


def _epoch_of_members(number: int, members: Iterable[tuple[bytes, int]]) -> Epoch:
    return Epoch(number, StakeTable({key: Account(0, stake) for key, stake in members}), 0, 0)
