"""What a node of the user's own tells who verifies a proof: its ledger counts, and its chain is the history.

Nothing is asked of the node: its files are read.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tallystick.host.data_folder import DataFolder
from tallystick.ledger.continuation import Continuation
from tallystick.ledger.errors import NotProven, Rule
from tallystick.problems import StoreError
from tallystick.proof.members import Anchor
from tallystick.proof.verify import Verdict
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


class KnownBefore:
    """What a proof is judged under: what the trust folder keeps of its ledger, and what the user's own node has."""

    def __init__(self, own: OwnNode) -> None:
        self._own = own
        self._own_anchors: dict[int, Anchor | None] = {}
        """By the index that was asked for: proofs that are made together are of one block."""

    def anchors(self, ledger_id: bytes, index: int, kept: Iterable[Anchor]) -> tuple[Anchor, ...]:
        """Ascending, for a proof of this ledger and block. Raises `StoreError`."""
        own = self._own_anchor(index) if ledger_id == self._own.ledger_id else None
        return tuple(sorted((*kept, *([own] if own is not None else [])), key=lambda one: one.index))

    def _own_anchor(self, index: int) -> Anchor | None:
        if index not in self._own_anchors:
            self._own_anchors[index] = self._own.anchor(index)
        return self._own_anchors[index]


def check_not_after(before: Continuation, verdict: Verdict) -> None:
    """Raise `NotProven` (P3) for a proof of the older ledger from after the block at which the newer goes on.

    Whoever gets hold of its members' keys can go on with it.
    """
    index, goes_on = verdict.header.index, f"your node's ledger goes on from it after block {before.index}"
    if index > before.index:
        raise NotProven(Rule.P3, f"the proof is of block {index} of {before.name}, and {goes_on}")
    if index == before.index and verdict.header.hash != before.block_hash:
        raise NotProven(Rule.P3, f"{goes_on}, which is another", before.block_hash, verdict.header.hash)


def own_node(folder: DataFolder) -> OwnNode:
    """What a node's folder tells, whether it runs or not."""
    if folder.ledger_path.exists():
        with suppress(StoreError), Store.open(folder.ledger_path, read_only=True) as store:
            return OwnNode(store.genesis.ledger_id, store.genesis.continues, store.names(), folder.ledger_path)
    return OwnNode()
