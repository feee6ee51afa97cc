"""A second opinion on the chain: tokens, epochs and quorums, kept by other code than the node's."""

from collections import defaultdict
from dataclasses import dataclass

from tallystick.ledger.block import Block
from tallystick.ledger.certificate import AnyCertificate, ProposalEvidence, StakingOperation, VoteEvidence
from tallystick.ledger.encoding import digest, encode
from tallystick.ledger.finality import Members
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.roots import StateRoots
from tallystick.ledger.vote import FINALIZE, Tally


class Broken(AssertionError):
    """A checker found that something which must hold does not."""


@dataclass(frozen=True)
class Unbonding:
    """Withdrawn tokens, and the epoch, index and time (ms) from all three of which on they are free."""

    key: bytes
    epoch: int
    index: int
    at_ms: int
    amount: int


@dataclass(frozen=True)
class End:
    """The last block of an epoch."""

    index: int
    at_ms: int


class Books:
    """What the final blocks so far come to. Raises `Broken` at a block that no honest member may agree to."""

    def __init__(self, genesis: Genesis) -> None:
        self.blocks: list[Block] = []
        self.certificates: dict[bytes, int] = {}
        self.free: dict[bytes, int] = defaultdict(int)
        self.staked: dict[bytes, int] = defaultdict(int)
        self.unbonding: list[Unbonding] = []
        self.since: dict[bytes, int] = defaultdict(int)
        self.burned = 0
        self.punished: set[bytes] = set()
        self._params = genesis.params
        self._ends: list[End] = []
        self._began = End(0, genesis.created_ms)
        for one in genesis.allotments:
            self.free[one.member], self.staked[one.member] = one.free, one.staked
        self.tokens = self._sum()
        self.epochs = [self._stakes()]

    def add(self, block: Block) -> None:
        """The next final block."""
        header, index, epoch = block.header, len(self.blocks) + 1, len(self.epochs) - 1
        if block.index != index or (index > 1 and header.parent_hash != self.blocks[-1].hash):
            raise Broken(f"block {block.index} does not follow block {index - 1}")
        if header.epoch != epoch:
            raise Broken(f"block {index} says that it is of epoch {header.epoch}, it is of epoch {epoch}")
        for freed in [one for one in self.unbonding if _has_come(one, epoch, index, header.timestamp_ms)]:
            self.unbonding.remove(freed)
            self.free[freed.key] += freed.amount
        for one in block.certificates:
            if one.id in self.certificates:
                raise Broken(f"a certificate stands in block {self.certificates[one.id]} and in block {index}")
            self.certificates[one.id] = index
            self._take(one, block)
        self.blocks.append(block)
        if self._sum() != self.tokens:
            raise Broken(f"{self.tokens} tokens became {self._sum()} in block {index}")
        self._end_epoch(End(index, header.timestamp_ms))

    def _take(self, one: AnyCertificate, block: Block) -> None:
        if isinstance(one, VoteEvidence | ProposalEvidence):
            self._burn(one, block)
        elif isinstance(one, StakingOperation):
            self._move(one.issuer, one.amount, block)

    def _end_epoch(self, here: End) -> None:
        stakes = self._stakes() or self.epochs[-1]
        are_blocks_over = here.index - self._began.index >= self._params.epoch_blocks
        is_time_over = here.at_ms - self._began.at_ms >= self._params.epoch_ms
        if is_time_over and (are_blocks_over or stakes != self.epochs[-1]):
            self._begin(stakes, here)

    def _begin(self, stakes: dict[bytes, int], here: End) -> None:
        self.epochs.append(stakes)
        self._ends.append(here)
        self._began = here

    def check_final(self, block: Block, finalization: Tally) -> None:
        """Over 2/3 of the stake, as it stood when the block's epoch began, voted to finalize this very block."""
        ballot, epoch = finalization.ballot, block.header.epoch
        stakes = self.epochs[epoch]
        if (ballot.kind, ballot.epoch, ballot.block_hash) != (FINALIZE, epoch, block.hash):
            raise Broken(f"block {block.index} is taken for final by votes that do not say so: {ballot}")
        weight = sum(stakes.get(member, 0) for member in {member for member, _ in finalization.signatures})
        if 3 * weight <= 2 * sum(stakes.values()):
            raise Broken(f"block {block.index} is taken for final on {weight} of {sum(stakes.values())} staked tokens")

    def check_proof(self, block: Block, roots: StateRoots | None, members: Members | None) -> None:
        """What is kept with a block proves the next epoch, if and only if the block ends one."""
        epoch = block.header.epoch
        ends_epoch = len(self._ends) > epoch and self._ends[epoch].index == block.index
        if ends_epoch != (roots is not None):
            raise Broken(f"block {block.index} is kept as if it did {'not ' * ends_epoch}end epoch {epoch}")
        if roots is None:
            return
        now, following = self.epochs[epoch], self.epochs[epoch + 1]
        if roots.hash != block.header.state_root:
            raise Broken(f"the roots kept with block {block.index} are not those that its header commits to")
        if (roots.voters, roots.next_voters) != (_voters(epoch, now), _voters(epoch + 1, following)):
            raise Broken(f"the roots kept with block {block.index} name other members")
        if (members is not None and dict(members) != following) or (members is None and now != following):
            raise Broken(f"the members kept with block {block.index} are not those of epoch {epoch + 1}")

    def is_liable(self, epoch: int, index: int, at_ms: int) -> bool:
        """Whether evidence of an epoch is legal in a block of this index and time, after those so far."""
        if epoch >= len(self._ends):
            return epoch == len(self._ends)
        end = self._ends[epoch]
        until = Unbonding(b"", epoch + 2, end.index + self._params.unbonding_blocks, self._until_ms(end.at_ms), 0)
        return not _has_come(until, len(self._ends), index, at_ms)

    def liable(self, key: bytes) -> int:
        """What evidence against a key would burn."""
        return self.staked[key] + sum(one.amount for one in self.unbonding if one.key == key)

    def _until_ms(self, at_ms: int) -> int:
        return at_ms + self._params.unbonding_ms

    def _burn(self, evidence: VoteEvidence | ProposalEvidence, block: Block) -> None:
        key, is_vote = evidence.offender, isinstance(evidence, VoteEvidence)
        epoch = evidence.first.ballot.epoch if is_vote else evidence.first.header.epoch
        if key in self.punished or not self.liable(key) or epoch < self.since[key]:
            raise Broken(f"block {block.index} burns a key that has nothing to lose for epoch {epoch}")
        if not self.is_liable(epoch, block.index, block.header.timestamp_ms):
            raise Broken(f"block {block.index} burns a key for epoch {epoch}, whose stake is not liable")
        self._lose(key)

    def _lose(self, key: bytes) -> None:
        self.burned += self.liable(key)
        self.staked[key] = 0
        self.unbonding = [one for one in self.unbonding if one.key != key]
        self.punished.add(key)

    def _move(self, key: bytes, amount: int, block: Block) -> None:
        index, params = block.index, self._params
        if amount == 0 or amount > self.free[key] or -amount > self.staked[key]:
            raise Broken(f"block {index} moves {amount} tokens: {self.free[key]} are free, {self.staked[key]} staked")
        if key in self.punished:
            raise Broken(f"block {index} moves the stake of a key that was burned")
        if amount > 0 and not self.liable(key):
            self.since[key] = block.header.epoch + 1
        self.staked[key] += amount
        if amount > 0:
            self.free[key] -= amount
        else:
            until_ms = self._until_ms(block.header.timestamp_ms)
            place = (block.header.epoch + 2, index + params.unbonding_blocks, until_ms)
            self.unbonding.append(Unbonding(key, *place, -amount))

    def _sum(self) -> int:
        unbonding = sum(one.amount for one in self.unbonding)
        return sum(self.free.values()) + sum(self.staked.values()) + unbonding + self.burned

    def _stakes(self) -> dict[bytes, int]:
        return {key: stake for key, stake in self.staked.items() if stake}


def _has_come(one: Unbonding, epoch: int, index: int, at_ms: int) -> bool:
    return epoch >= one.epoch and index >= one.index and at_ms >= one.at_ms


def _voters(epoch: int, stakes: dict[bytes, int]) -> bytes:
    return digest(encode((epoch, tuple(sorted(stakes.items())))))
