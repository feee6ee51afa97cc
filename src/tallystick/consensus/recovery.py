"""How a member that lost its signing guard comes to vote again: by what others prove, never by bare numbers.

docs/protocol.md, section 4, "Recovery". The floor lies one view above the highest that is proven: the member may have
gathered that view's certificate itself, and voted in the next.
"""

from typing import Final

from tallystick.consensus.signing_guard import GuardStatus, SigningGuard
from tallystick.ledger.epoch import Epoch

PATIENT_ATTEMPTS: Final = 4
"""With the operator's word, all others are waited for during so many attempts; then those that answered have to do."""


class Recovery:
    """The answers of other members within one epoch, to one nonce at a time."""

    def __init__(self, guard: SigningGuard) -> None:
        self._guard = guard
        self._attempt = 0
        self._requests = 0
        self._answers: dict[bytes, int] = {}
        """The view that each member proved, in this epoch."""
        self._recovering: set[bytes] = set()
        """Members that asked themselves in this epoch: they answer nobody."""

    def is_needed(self, epoch: Epoch) -> bool:
        """Whether this member has stake in the epoch and does not know what it signed."""
        return self._guard.status is GuardStatus.LOST and epoch.stake(self._guard.key) > 0

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
        return min(32, 2 << min(4, self._requests))

    def answered(self, member: bytes, view: int) -> None:
        """A member answered, to the nonce, in the asker's epoch, with proof of its view; the asker itself is none."""
        if member == self._guard.key:
            return
        self._answers[member] = max(view, self._answers.get(member, 0))

    def heard_request(self, member: bytes) -> None:
        """Another member recovers as well."""
        self._recovering.add(member)

    def begin_epoch(self) -> None:
        """An epoch began: answers count within one only."""
        self._attempt += 1
        self._answers, self._recovering, self._requests = {}, set(), 0

    def finish(self, epoch: Epoch, highest: int) -> bool:
        """Recover if enough others answered; `highest` is the latest view held or heard of. Whether it is over."""
        floor = max([highest, self._guard.last_view(epoch.number), *self._answers.values()]) + 1
        ends_silence = self._guard.is_loss_accepted and self._guard.limited > self._guard.final
        if epoch.is_quorum(sum(map(epoch.stake, self._answers))) and not ends_silence:
            self._guard.recover(epoch.number, floor)
        elif self._guard.is_loss_accepted and self._has_heard_enough(epoch):
            self._guard.limit(epoch.number, floor)
        else:
            return False
        return True

    def _has_heard_enough(self, epoch: Epoch) -> bool:
        """With the operator's word: all others; or, after some attempts, a quorum with this and those that recover.

        Those that recover answer nobody, and two of three equal members may have lost their guards at once.
        """
        there = {*self._answers, *self._recovering, self._guard.key}
        is_patient = self._requests < PATIENT_ATTEMPTS
        return not self.unanswered(epoch) or (not is_patient and epoch.is_quorum(sum(map(epoch.stake, there))))
