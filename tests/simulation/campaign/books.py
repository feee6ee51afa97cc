"""A second opinion on the chain: tokens, epochs and quorums, kept by other code than the node's."""

from collections import defaultdict

from tallystick.ledger.block import Block
from tallystick.ledger.certificate import ProposalEvidence, StakingOperation, VoteEvidence
from tallystick.ledger.encoding import digest, encode
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.vote import FINALIZE, Tally


class Broken(AssertionError):
    """A checker found that something which must hold does not."""


class Books:
    """What the final blocks so far come to. Raises `Broken` at a block that no honest member may agree to."""

    def __init__(self, genesis: Genesis) -> None:
        self.blocks: list[Block] = []
        self.certificates: dict[bytes, int] = {}
        self.free: dict[bytes, int] = defaultdict(int)
        self.staked: dict[bytes, int] = defaultdict(int)
        self.leaving: list[tuple[bytes, int, int]] = []
        self.burned = 0
        self.punished: set[bytes] = set()
        self._params = genesis.params
        for one in genesis.allotments:
            self.free[one.member], self.staked[one.member] = one.free, one.staked
        self.tokens = self._sum()
        self.epochs = [self._stakes()]
        self.hashes = [self._stakes_hash()]

    def add(self, block: Block) -> None:
        """The next final block."""
        index = len(self.blocks) + 1
        if block.index != index or (index > 1 and block.header.parent_hash != self.blocks[-1].hash):
            raise Broken(f"block {block.index} does not follow block {index - 1}")
        for key, until, amount in [one for one in self.leaving if one[1] <= index]:
            self.leaving.remove((key, until, amount))
            self.free[key] += amount
        for one in block.certificates:
            if one.id in self.certificates:
                raise Broken(f"a certificate stands in block {self.certificates[one.id]} and in block {index}")
            self.certificates[one.id] = index
            if isinstance(one, VoteEvidence | ProposalEvidence):
                self._burn(one.offender)
            elif isinstance(one, StakingOperation):
                self._move(one.issuer, one.amount, index)
        self.blocks.append(block)
        if self._sum() != self.tokens:
            raise Broken(f"{self.tokens} tokens became {self._sum()} in block {index}")
        if index % self._params.epoch_blocks == 0:
            self.epochs.append(self._stakes() or self.epochs[-1])
            self.hashes.append(self._stakes_hash() if self._stakes() else self.hashes[-1])

    def check_final(self, block: Block, finalization: Tally) -> None:
        """Over 2/3 of the stake, as it stood when the block's epoch began, voted to finalize this very block."""
        ballot, epoch = finalization.ballot, (block.index - 1) // self._params.epoch_blocks
        stakes, following = self.epochs[epoch], block.index // self._params.epoch_blocks
        if (ballot.kind, ballot.epoch, ballot.block_hash) != (FINALIZE, epoch, block.hash):
            raise Broken(f"block {block.index} is taken for final by votes that do not say so: {ballot}")
        if ballot.stakes_hash != self.hashes[following]:
            raise Broken(f"block {block.index} is taken for final by votes that name other stakes for the next one")
        weight = sum(stakes.get(member, 0) for member in {member for member, _ in finalization.signatures})
        if 3 * weight <= 2 * sum(stakes.values()):
            raise Broken(f"block {block.index} is taken for final on {weight} of {sum(stakes.values())} staked tokens")

    def _burn(self, key: bytes) -> None:
        leaving = [one for one in self.leaving if one[0] == key]
        self.burned += self.staked[key] + sum(amount for _, _, amount in leaving)
        self.staked[key] = 0
        self.leaving = [one for one in self.leaving if one[0] != key]
        self.punished.add(key)

    def _move(self, key: bytes, amount: int, index: int) -> None:
        if amount == 0 or amount > self.free[key] or -amount > self.staked[key]:
            raise Broken(f"block {index} moves {amount} tokens: {self.free[key]} are free, {self.staked[key]} staked")
        self.staked[key] += amount
        if amount > 0:
            self.free[key] -= amount
        elif self._params.unbonding_blocks:
            self.leaving.append((key, index + self._params.unbonding_blocks, -amount))
        else:
            self.free[key] -= amount

    def _sum(self) -> int:
        leaving = sum(amount for _, _, amount in self.leaving)
        return sum(self.free.values()) + sum(self.staked.values()) + leaving + self.burned

    def _stakes(self) -> dict[bytes, int]:
        return {key: stake for key, stake in self.staked.items() if stake}

    def _stakes_hash(self) -> bytes:
        return digest(encode(tuple(sorted(self._stakes().items()))))
