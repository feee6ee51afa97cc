"""How a member that lost its signing guard comes to vote again: by what others prove, never by bare numbers.

docs/protocol.md, section 4, "Recovery". The floor lies one view above the highest that is proven: the member may have
gathered that view's certificate itself, and voted in the next.
"""

from typing import Final

from tallystick.consensus.signing_guard import Limited, Recovered, SigningGuard
from tallystick.ledger.epoch import Epoch

PATIENT_ATTEMPTS: Final = 3
"""With the operator's word all others are waited for: so many requests after the first answer."""
RECOVERING: Final = 0
"""The view that a member names which recovers itself: it proves nothing, and counts for nothing but that."""


class Recovery:
    """The answers of other members within one epoch, to one nonce at a time."""

    def __init__(self, guard: SigningGuard) -> None:
        self._guard = guard
        self._attempt = 0
        self._requests = self._patience = 0
        self._answers: dict[bytes, int] = {}
        """The view that each member proved, in this epoch."""
        self._recovering: set[bytes] = set()
        """Members that answered that they recover themselves."""

    @property
    def nonce(self) -> bytes:
        """What an answer has to hold now, 32 bytes."""
        return self._guard.nonce(self._attempt)

    def unanswered(self, epoch: Epoch) -> list[bytes]:
        """The other members that have not answered."""
        return [member for member, _ in epoch.members if member not in self._answers and member != self._guard.key]

    def asked(self) -> int:
        """The others are asked, once more. Returns how many delta to wait before the next time."""
        self._requests += 1
        self._patience += bool(self._answers or self._recovering)
        return min(32, 2 << min(4, self._requests))

    def answered(self, member: bytes, view: int) -> None:
        """A member answered, to the nonce, in the asker's epoch, with proof of its view; the asker itself is none."""
        if member == self._guard.key:
            return
        if view == RECOVERING:
            self._recovering.add(member)
        else:
            self._answers[member] = max(view, self._answers.get(member, 0))

    def begin_epoch(self) -> None:
        """An epoch began: answers count within one only."""
        self._attempt += 1
        self._answers, self._recovering, self._requests, self._patience = {}, set(), 0, 0

    def finish(self, epoch: Epoch, highest: int) -> bool:
        """Recover if enough others answered; `highest` is the latest view held or heard of. Whether it is over."""
        floor = max([highest, self._guard.last_view(epoch.number), *self._answers.values()]) + 1
        in_epoch = max(self._guard.final, (epoch.number, 0))
        ends_silence = self._guard.is_loss_accepted and self._guard.limited > in_epoch
        if epoch.is_quorum(sum(map(epoch.stake, self._answers))) and not ends_silence:
            self._guard.note(Recovered(self._guard.ledger_id, epoch.number, floor))
        elif self._guard.is_loss_accepted and self._has_heard_enough(epoch):
            self._guard.note(Limited(self._guard.ledger_id, *max((epoch.number, floor), self._guard.limited)))
        else:
            return False
        return True

    def _has_heard_enough(self, epoch: Epoch) -> bool:
        """With the operator's word: all others; or, after some attempts, a quorum with this and those that recover.

        Two of three equal members may have lost their guards at once.
        """
        there = {*self._answers, *self._recovering, self._guard.key}
        is_enough = self._patience >= PATIENT_ATTEMPTS and epoch.is_quorum(sum(map(epoch.stake, there)))
        return is_enough or not self.unanswered(epoch)
