"""What a node of the user's own tells who verifies a proof: its ledger counts, and its chain is the history.

Nothing is asked of the node: its files are read.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tallystick.host.data_folder import DataFolder
from tallystick.ledger.continuation import Continuation
from tallystick.problems import StoreError
from tallystick.proof.members import Anchor
from tallystick.storage.hand_over import EpochEnds
from tallystick.storage.store import Store


class OwnNode(NamedTuple):
    """What the user's own node tells: its ledger, and names by key."""

    ledger_id: bytes | None = None
    continues: Continuation | None = None
    """The older ledger that it goes on from: that counts up to the block that is named."""
    names: Mapping[bytes, str] = {}
    chain: Path | None = None
    """Its file."""

    def anchor(self, index: int) -> Anchor | None:
        """Its own final block of this index, or its newest if that is older: no proof of another history counts.

        Raises `StoreError`.
        """
        if self.chain is None or self.ledger_id is None:
            return None
        with Store.open(self.chain, read_only=True) as store:
            block = store.block(min(index, store.finalized_until()))
            if block is None:
                return None
            header = block.header
            voters = EpochEnds(store).voters(header.epoch)
            return Anchor(self.ledger_id, header.epoch, voters, header.index, header.hash, header.timestamp_ms)


def own_node(folder: DataFolder) -> OwnNode:
    """What a node's folder tells, whether it runs or not."""
    if folder.ledger_path.exists():
        with suppress(StoreError), Store.open(folder.ledger_path, read_only=True) as store:
            return OwnNode(store.genesis.ledger_id, store.genesis.continues, store.names(), folder.ledger_path)
    return OwnNode()
