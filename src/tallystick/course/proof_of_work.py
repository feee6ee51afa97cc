"""`ProofOfWork`: whoever finds a nonce that makes a block's hash small enough may forge it."""

from collections.abc import Callable
from typing import ClassVar

from tallystick.course.block import Block
from tallystick.course.forger_rule import ConsensusAlgorithm
from tallystick.course.work_rule import WorkRule
from tallystick.ledger.state import State


class _StoppableWork(WorkRule):
    """The rule, which also asks whether forging is stopped."""

    def __init__(self, difficulty: int, is_stopped: Callable[[], bool]) -> None:
        super().__init__(difficulty)
        self._is_stopped = is_stopped

    def may_forge(self, state: State, forger: bytes) -> bool:
        return not self._is_stopped() and super().may_forge(state, forger)


class ProofOfWork(ConsensusAlgorithm):
    """`difficulty` is the number of hashes that a block costs on average; it can be changed at any time."""

    mines: ClassVar[bool] = True

    def __init__(self, difficulty: int) -> None:
        self.rule: WorkRule = _StoppableWork(difficulty, lambda: self.isStopped)
        self.isStopped = False

    @property
    def difficulty(self) -> int:
        """Expected hashes for a block. It judges old blocks, too: raised, it may find some of them wanting."""
        return self.rule.difficulty

    @difficulty.setter
    def difficulty(self, difficulty: int) -> None:
        self.rule.difficulty = difficulty

    def mine(self, block: Block, shouldStop: Callable[[], bool] = lambda: False) -> bool:
        """Set the block's nonce to one that shows the work; sign the block afterwards. `False`: it was stopped first.

        Whether to stop is looked at every few milliseconds: `stop()` was called, or `shouldStop` returns `True`.
        """
        header, found = block.as_engine().header, False
        while not found:
            if self.isStopped or shouldStop():
                return False
            header, found = self.rule.work(header)
        block.nonce = header.nonce
        return True

    def stop(self) -> None:
        """Have all that is mined with this algorithm end, and no more begun: from another thread, or `shouldStop`."""
        self.isStopped = True

    def resume(self) -> None:
        """Allow mining again; a node begins anew with the next certificate or block it takes."""
        self.isStopped = False
