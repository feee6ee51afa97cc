"""An epoch: whose votes count for a stretch of blocks, with how much stake."""

from dataclasses import dataclass

from tallystick.ledger.encoding import derived, digest, encode
from tallystick.ledger.params import Params
from tallystick.ledger.stake import StakeTable
from tallystick.ledger.vote import Tally


@dataclass(frozen=True)
class Epoch:
    """The stakes as they stood when the epoch began; what happens to them meanwhile counts from the next one on."""

    number: int
    stakes: StakeTable
    first_index: int
    """Index of its first block."""
    start_ms: int
    """Time of the block before that."""

    @property
    def members(self) -> tuple[tuple[bytes, int], ...]:
        """Keys with stake, ascending, each with its stake."""
        return self.stakes.members

    @property
    def total(self) -> int:
        """All stake that counts."""
        return self.stakes.total_staked

    @derived
    def hash(self) -> bytes:
        """SHA-256 of the encoded [number, members]: what a state root says of voters."""
        return digest(encode((self.number, self.members)))

    def stake(self, member: bytes) -> int:
        """The member's weight; 0 for anybody else."""
        return self.stakes.account(member).staked

    def is_quorum(self, stake: int) -> bool:
        """Whether this is more than 2/3 of the stake. Whole numbers only."""
        return 3 * stake > 2 * self.total

    def certifies(self, tally: Tally) -> bool:
        """Whether these votes, if they are good, are a certificate of this epoch."""
        stake = sum([self.stake(member) for member, _ in tally.signatures])
        return tally.ballot.epoch == self.number and self.is_quorum(stake)

    def ends_with(self, index: int, timestamp_ms: int, params: Params, voters: StakeTable) -> bool:
        """Whether a block of this index and time, which leaves these voters, is the epoch's last."""
        if timestamp_ms - self.start_ms < params.epoch_ms:
            return False
        return index - self.first_index + 1 >= params.epoch_blocks or voters.members != self.members
