"""A kept chain that another ledger goes on from: checked from its genesis on, and what a genesis says of it."""

from collections.abc import Callable
from pathlib import Path

from tallystick.integrity.checked_chain import CheckedChain
from tallystick.ledger.block import Block
from tallystick.ledger.continuation import Continuation, OldVoter
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.state import State
from tallystick.ledger.vote import Tally
from tallystick.problems import StoreError
from tallystick.storage.store import Store


class OldChain(CheckedChain):
    """It keeps the state after one block beside that at its tip."""

    def __init__(self, store: Store, index: int | None, on_block: Callable[[int], object] = lambda index: None) -> None:
        """Check everything; `index`: of that block. Raises `DamagedStore`."""
        self._index = index
        self.state_then: State | None = None
        """After that block; `None`: it is not final here."""
        super().__init__(store, on_block)

    def _add(self, block: Block, finalization: Tally | None) -> None:
        super()._add(block, finalization)
        if self.state.index == self._index:
            self.state_then = self.state


def read_old_chain(
    path: Path, index: int | None = None, on_block: Callable[[int], object] = lambda index: None
) -> OldChain:
    """The chain in a file. Raises `StoreError`, for one without a final block too, and `DamagedStore`."""
    with Store.open(path, read_only=True) as store:
        chain = OldChain(store, index, on_block)
    if not chain.state.index:
        raise StoreError(f"{path}: no block of it is final, so there is nothing to continue; found a ledger of its own")
    return chain


def continuation_of(genesis: Genesis, state: State) -> Continuation:
    """What a genesis says of a ledger that it continues after the block of this state, before anybody consents."""
    keys = state.directory.keys
    return Continuation(
        ledger_id=genesis.ledger_id,
        name=genesis.name,
        index=state.index,
        block_hash=state.tip.hash,
        timestamp_ms=state.tip.timestamp_ms,
        log_size=state.log.size,
        log_root=state.log.root(),
        voters=tuple(
            OldVoter(key, stake, keys[key].organisation if key in keys else None) for key, stake in state.epoch.members
        ),
    )
