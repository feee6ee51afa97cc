"""What is known of the chain ahead of its blocks, so that blocks can be taken in any order and liars are told at once.

Finalizations lead from the own state's epoch through each later epoch's members. Below a trusted checkpoint votes count
for nothing, because the keys that cast them may long be sold: there, headers lead back from the checkpoint's hash.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import State, check_follows
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import FinalHeader, check_final, next_epoch
from tallystick.ledger.header import Header
from tallystick.ledger.messages import MAX_HEADERS, FinalizationRequest, Finalizations, HeaderRequest, Headers
from tallystick.ledger.params import Params
from tallystick.ledger.vote import Tally

_EPOCHS_AHEAD: Final = 1_024


@dataclass(frozen=True)
class Checkpoint:
    """A block that the node's operator trusts: the chain that is taken holds it."""

    index: int
    hash: bytes


class FinalityProofs:
    """Proofs are taken in order, each by the one before it; whatever is refused changes nothing."""

    def __init__(self, state: State, params: Params, range_blocks: int, checkpoint: Checkpoint | None) -> None:
        self._state = state
        self._params = params
        self._range_blocks = range_blocks
        self._newest = state.epoch
        self._epochs = {state.epoch.number: state.epoch}
        self._checkpoint = checkpoint or Checkpoint(0, b"")
        self._pins = {self._checkpoint.index: self._checkpoint.hash}
        self._lowest = self._checkpoint if state.index < self._checkpoint.index else None

    @property
    def is_below_checkpoint(self) -> bool:
        """Whether the own chain does not reach the trusted block yet: until it does, votes count for nothing."""
        return self._state.index < self._checkpoint.index

    @property
    def horizon(self) -> int:
        """The last index up to which blocks can be judged, so up to which they are asked for."""
        if self._lowest is not None:
            return self._state.index
        if self.is_below_checkpoint:
            return self._checkpoint.index
        return (self._newest.number + 1) * self._params.epoch_blocks

    def range_end(self, start: int) -> int:
        """The last index of the range that begins here: it can be proven by itself."""
        ends = [start + -start % self._range_blocks, start + -start % self._params.epoch_blocks]
        return min([*ends, self._checkpoint.index] if start <= self._checkpoint.index else ends)

    def question(self, highest: int) -> FinalizationRequest | HeaderRequest | None:
        """What to ask of a peer whose chain is said to reach `highest`; `None`: all that is needed is known."""
        if self._lowest is not None:
            count = min(MAX_HEADERS, self._lowest.index - self._state.index)
            return HeaderRequest(self._lowest.index, count) if highest >= self._lowest.index else None
        is_full = self._newest.number >= self._state.epoch.number + _EPOCHS_AHEAD
        if highest <= self.horizon or self.is_below_checkpoint or is_full:
            return None
        return FinalizationRequest(self._newest.number)

    def fits(self, proof: Finalizations | Headers, index: int) -> bool:
        """Whether this may answer the question after this index, and not an earlier one, late or a second time."""
        if isinstance(proof, Headers):
            return not proof.headers or proof.headers[-1].index == index
        asked = self._params.epoch_of(index) - 1
        return not proof.proofs or self._params.epoch_of(proof.proofs[0].header.index) == asked

    def moved(self, state: State) -> None:
        """The own chain moved on to this state."""
        self._state = state
        later = {number: epoch for number, epoch in self._epochs.items() if number > state.epoch.number}
        self._epochs = {state.epoch.number: state.epoch, **later}
        self._newest = self._epochs[max(self._epochs)]
        self._pins = {index: pinned for index, pinned in self._pins.items() if index > state.index}

    def extend(self, proofs: tuple[FinalHeader, ...]) -> int:
        """Take what a peer proves of later epochs. Returns the last index proven. Raises `Refused` (V2, N4).

        Epochs that became known since it was asked are passed over.
        """
        newest, epochs, proven = self._newest, [], 0
        for one in proofs:
            index = one.header.index
            epoch = self._params.epoch_of(index)
            if proven < index and epoch < newest.number:
                continue
            if proven >= index or epoch > newest.number:
                raise Refused(Rule.N4, f"block {index} is neither the last of epoch {newest.number} nor the tip in it")
            proven = index
            if index % self._params.epoch_blocks:
                check_final(newest, one.header, one.finalization, newest.hash)
            else:
                newest = next_epoch(newest, one)
                epochs.append(newest)
        self._newest = newest
        self._epochs.update({epoch.number: epoch for epoch in epochs})
        return proven

    def pin(self, headers: tuple[Header, ...]) -> None:
        """Take headers that lead to the lowest known one of the checkpoint's chain. Raises `Refused` (B1, B2, V4)."""
        lowest = self._lowest
        if lowest is None or not headers:
            return
        if Checkpoint(headers[-1].index, headers[-1].hash) != lowest:
            raise Refused(Rule.V4, f"block {headers[-1].index} is not the one on the trusted checkpoint's chain")
        for parent, header in pairwise(headers):
            check_follows(header, parent)
        first = headers[0]
        is_down = first.index <= self._state.index + 1
        if is_down:
            own = next(one for one in headers if one.index == self._state.index + 1)
            if own.parent_hash != self._state.tip.hash:
                raise Refused(
                    Rule.V4, f"the trusted checkpoint does not descend from this node's block {own.index - 1}"
                )
        for header in headers:
            if self.range_end(header.index) == header.index:
                self._pins[header.index] = header.hash
        self._lowest = None if is_down else Checkpoint(first.index - 1, first.parent_hash)

    def check(self, blocks: tuple[Block, ...], headers: tuple[Header, ...], finalization: Tally | None) -> None:
        """Raise `Refused` unless these blocks are final (B1, B2, V2), or on the checkpoint's chain (V4).

        `headers` lead on from the last block to the one that proves them.
        """
        path = [*(block.header for block in blocks), *headers]
        for parent, header in pairwise(path):
            check_follows(header, parent)
        last = path[-1]
        if blocks[0].index <= self._checkpoint.index:
            pinned = [one for one in path[len(blocks) - 1 :] if one.index in self._pins]
            if not pinned or any(one.hash != self._pins[one.index] for one in pinned):
                raise Refused(Rule.V4, f"block {last.index} is not known to be on the trusted checkpoint's chain")
            return
        number = self._params.epoch_of(last.index)
        if number not in self._epochs:
            raise Refused(Rule.V2, f"block {last.index} is in epoch {number}, whose members are not proven yet")
        ends_epoch = last.index % self._params.epoch_blocks == 0
        following = self._epochs.get(number + ends_epoch)
        check_final(self._epochs[number], last, finalization, following.hash if following else None)
