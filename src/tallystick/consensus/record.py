"""What a member has signed, and whether it may sign more: no restart and no old backup makes it contradict itself."""

from collections.abc import Iterable

from tallystick.ledger.epoch import Epoch
from tallystick.ledger.vote import Ballot, Vote, cast
from tallystick.ledger.wallet import Wallet


class Record:
    """A member's own votes; an observer (no wallet) has none."""

    def __init__(self, wallet: Wallet | None = None) -> None:
        self._wallet = wallet
        self._own: dict[tuple[int, int, int], Vote] = {}
        self._heard: dict[bytes, tuple[int, int]] = {}
        self._is_ready = False
        self._is_stale = False
        self._floor = (-1, -1)

    def restore(self, votes: Iterable[Vote], is_stale: bool = False) -> None:
        """Take this member's own out of what was persisted; `is_stale`: it is known that some are missing.

        In views before the latest of them it votes no more. For an old backup may have lost votes there, and what
        recognised it then may be remembered by now: others told the votes after the lost ones.
        """
        self._is_stale = is_stale
        for vote in votes:
            if self._wallet and vote.member == self._wallet.public_key:
                self._own[_place(vote)] = vote
        self._floor = self._before_latest()

    def last_view(self, epoch: int) -> int:
        """The latest view of an epoch in which this member voted; 0 if in none."""
        return max((view for own_epoch, view, _ in self._own if own_epoch == epoch), default=0)

    def has_cast(self, epoch: int, view: int, kind: int) -> bool:
        """Whether this member voted so in this view."""
        return (epoch, view, kind) in self._own

    def cast(self, epoch: Epoch, ledger_id: bytes, ballot: Ballot) -> Vote | None:
        """Sign a ballot of this epoch and remember it; `None` while this member may not vote."""
        if self._wallet is None or not self.may_vote(epoch, ballot.view):
            return None
        vote = cast(self._wallet, ledger_id, ballot)
        self._own[_place(vote)] = vote
        return vote

    def forget_before(self, epoch: int) -> None:
        """Forget the votes of epochs before this one: their views never come back."""
        self._own = {place: vote for place, vote in self._own.items() if place[0] >= epoch}

    def recall(self, epoch: Epoch, vote: Vote) -> None:
        """A vote was heard in our epoch; its signature is good. One of ours that we do not remember, we do from now on.

        It means that our record is an old backup. Votes of epochs before the last one are not remembered by anybody,
        so they mean nothing.
        """
        is_own = self._wallet is not None and vote.member == self._wallet.public_key
        if not is_own or vote.ballot.epoch < epoch.number - 1 or self._own.get(_place(vote)) == vote:
            return
        self._own.setdefault(_place(vote), vote)
        self._is_stale = True
        self._floor = max(self._floor, vote.round)
        self._be_silent(epoch)

    def heard_standing(self, epoch: Epoch, member: bytes, view: int, yours: Vote | None) -> None:
        """A member of our epoch answered, since our start, with its view and the last vote it saw from us."""
        if not epoch.stake(member):
            return
        self._heard.setdefault(member, (epoch.number, view))
        if yours is not None:
            self.recall(epoch, yours)
        self._be_silent(epoch)

    def _be_silent(self, epoch: Epoch) -> None:
        """If our record is an old backup: through every view in which we may have voted.

        Those end one view beyond the highest heard, or with the next epoch's first. But if the others are no quorum
        without us, such a view would never end. Then we take the word of all of them, once all have answered, that no
        other vote of ours was seen than those that they showed, and are silent before the latest of these only.
        """
        if not self._is_stale or self._wallet is None:
            return
        own = self._wallet.public_key
        is_needed = not epoch.is_quorum(epoch.total - epoch.stake(own))
        if is_needed and all(member in self._heard for member, _ in epoch.members if member != own):
            self._is_stale = False
            self._floor = self._before_latest()
        elif self._heard:
            self._floor = max(self._floor, *((number, seen + 1) for number, seen in self._heard.values()))

    def _before_latest(self) -> tuple[int, int]:
        epoch, view, _ = max(self._own, default=(-1, 0, 0))
        return epoch, view - 1

    @property
    def is_ready(self) -> bool:
        """Whether enough members have told where they stand."""
        return self._is_ready

    def may_vote(self, epoch: Epoch, view: int) -> bool:
        """Whether enough members told where they stand, and this record is known to be no old backup."""
        if self._wallet is None or not epoch.stake(self._wallet.public_key):
            return False
        if (epoch.number, view) <= self._floor or (self._is_stale and self._is_after_floor(epoch.number, view)):
            return False
        return self.has_heard_enough(epoch)

    def has_heard_enough(self, epoch: Epoch) -> bool:
        """Whether members with, this one included, a quorum of the stake told where they stand since our start."""
        heard = self._heard.keys() | ({self._wallet.public_key} if self._wallet else set())
        self._is_ready = self._is_ready or epoch.is_quorum(sum(epoch.stake(member) for member in heard))
        return self._is_ready

    def _is_after_floor(self, epoch: int, view: int) -> bool:
        """Whether this is the first view of the epoch after the floor's: we may have gone on to it."""
        return view == 1 and epoch == self._floor[0] + 1


def _place(vote: Vote) -> tuple[int, int, int]:
    """A member casts one vote of each kind in a view."""
    return vote.ballot.epoch, vote.ballot.view, vote.ballot.kind
