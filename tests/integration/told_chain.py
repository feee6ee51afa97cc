"""A checked chain that tells more: its blocks, what made them final, who forged them, and what was burned."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from tallystick.integrity.checked_chain import CheckedChain
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import Evidence
from tallystick.ledger.vote import Tally
from tallystick.storage.store import Store


class Finality(NamedTuple):
    """What makes a block final: a quorum of its epoch's stake voted for it, or for a later block of the epoch."""

    by_block: int
    voters: tuple[bytes, ...]
    stake: int
    total_stake: int


class ToldChain(CheckedChain):
    def __init__(self, store: Store) -> None:
        self.forged: Counter[bytes] = Counter()
        """Blocks, by forger."""
        self.burned: Counter[bytes] = Counter()
        """Tokens that evidence took, by offender."""
        self._finality: dict[int, Finality] = {}
        super().__init__(store)
        self.left_out = store.tip_index - self.state.index
        """Kept blocks after the last one that is proven final."""

    def finality(self, index: int) -> Finality:
        """What makes a block on the chain final; nothing has to for the genesis block."""
        return next(self._finality[one] for one in range(index, self.state.index + 1) if one in self._finality)

    def blocks(self) -> Iterator[Block]:
        """All blocks after the genesis block, in order."""
        return islice(self._store.blocks(), self.state.index)

    def _add(self, block: Block, finalization: Tally | None) -> None:
        before, epoch = self.state.stakes, self.state.epoch
        super()._add(block, finalization)
        self.forged[block.header.forger] += 1
        for offender in {one.offender for one in block.certificates if isinstance(one, Evidence)}:
            self.burned[offender] += before.account(offender).total - self.state.stakes.account(offender).total
        if finalization is not None:
            voters = tuple(member for member, _ in finalization.signatures)
            self._finality[block.index] = Finality(block.index, voters, sum(map(epoch.stake, voters)), epoch.total)
