"""What makes blocks final: the copy of the chain and sync know `Finality` alone, not which rule of agreement runs.

With Simplex, proof comes ahead of blocks, so that they can be taken in any order and liars are told at once:
finalizations lead from the own state's epoch through each later epoch's members. Below a trusted block votes count
for nothing, because the keys that cast them may long be sold: there, headers lead back from the trusted block's hash.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tallystick.ledger.blockchain import check_clock, check_follows
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import FinalHeader, check_final, next_epoch
from tallystick.ledger.header import Header
from tallystick.ledger.messages import MAX_HEADERS, Blocks, FinalizationRequest, Finalizations, HeaderRequest, Headers
from tallystick.ledger.params import Params
from tallystick.ledger.state import State

_EPOCHS_AHEAD: Final = 1_024

Question = FinalizationRequest | HeaderRequest
Proof = Finalizations | Headers


@dataclass(frozen=True)
class TrustedBlock:
    """A block that the node's operator trusts: the chain that is taken holds it."""

    index: int
    hash: bytes


class Finality:
    """Which blocks are final, and what has to be known to judge them. By itself: each is, by its forger's signature."""

    takes_new_blocks = True
    """Whether a block is final as it comes from its forger."""
    is_below_trusted_block = False
    """Whether the own chain does not reach the trusted block yet: until it does, votes count for nothing."""

    def __init__(self, params: Params, range_blocks: int) -> None:
        self._params, self._range_blocks = params, range_blocks

    def reach(self, index: int, epoch: int) -> int:
        """The last block that can be judged of a chain that ends with `index`, whose next block is of `epoch`."""
        return index

    def range_end(self, start: int) -> int:
        """The last index of the range that begins here: it can be proven by itself."""
        return start + self._range_blocks - 1

    def question(self, index: int, epoch: int) -> Question | None:
        """What to ask of a peer with such a chain; `None`: it proves nothing that is needed."""
        return None

    def take(self, proof: Proof) -> bool:
        """Take the answer to the question, and return whether the peer may prove more. Raises `Refused`."""
        return False

    def check_proof(self, answer: Blocks | Finalizations) -> None:
        """Raise `Refused` if the votes of an answer prove nothing: it is asked before they are verified."""

    def is_mismatch(self, refused: Refused) -> bool:
        """Whether what the gate refused of a final block shows that this node's state is not the ledger's."""
        return False

    def check(self, answer: Blocks, now_ms: int) -> None:
        """Raise `Refused` unless these blocks, one at least, are final; those up to the own tip are not looked at.

        With a lone forger: N4 for votes, B8 for a time ahead of the clock.
        """
        if answer.finalization is not None:
            raise Refused(Rule.N4, "votes came with blocks that their forger's signature makes final")
        for block in answer.blocks:
            check_clock(block.header, self._params, now_ms)

    def tip_advanced(self, state: State) -> None:
        """The own chain moved on to this state."""
        self._params = state.params


class FinalityProofs(Finality):
    """Simplex: proofs are taken in order, each by the one before it; whatever is refused changes nothing."""

    takes_new_blocks = False

    def __init__(self, state: State, range_blocks: int, trusted_block: TrustedBlock | None) -> None:
        super().__init__(state.params, range_blocks)
        self._state = state
        self._epochs = {state.epoch.number: state.epoch}
        """From the own state's on, each proven by the one before; where an epoch ends is known when the next one is."""
        self._trusted_block = trusted_block or TrustedBlock(0, b"")
        self._pins: list[TrustedBlock] = []
        """Blocks on the trusted block's chain where ranges and epochs end, the highest first."""
        self.is_below_trusted_block = state.index < self._trusted_block.index
        self._lowest = self._trusted_block if self.is_below_trusted_block else None
        """The lowest block known to be on the trusted block's chain, while the own tip is not known to be."""
        self._epoch_above = -1

    @property
    def _newest(self) -> Epoch:
        return next(reversed(self._epochs.values()))

    def reach(self, index: int, epoch: int) -> int:
        if self._lowest is not None:
            return self._state.index
        if self.is_below_trusted_block:
            return min(index, self._trusted_block.index)
        return index if epoch <= self._newest.number else min(index, self._newest.first_index - 1)

    def range_end(self, start: int) -> int:
        """Where the newest proven epoch ends nobody knows yet: who answers cuts the range there."""
        if (pin := self._pin_from(start)) is not None:
            return pin.index
        ends = [one.first_index - 1 for one in self._epochs.values() if one.first_index > start][:1]
        return min([start + -start % self._range_blocks, *ends])

    def question(self, index: int, epoch: int) -> Question | None:
        if self._lowest is not None:
            count = min(MAX_HEADERS, self._lowest.index - self._state.index)
            return HeaderRequest(self._lowest.index, count) if index >= self._lowest.index else None
        newest = self._newest.number
        is_full = newest >= self._state.epoch.number + _EPOCHS_AHEAD
        return None if epoch <= newest or self.is_below_trusted_block or is_full else FinalizationRequest(newest)

    def take(self, proof: Proof) -> bool:
        """Raise `Refused` (V2, N4; B1, B2, V4)."""
        if isinstance(proof, Headers):
            return self._pin(proof.headers)
        epochs = self._extended(proof.proofs)
        self._epochs.update({epoch.number: epoch for epoch in epochs})
        return bool(epochs) and proof.proofs[-1].roots is not None

    def tip_advanced(self, state: State) -> None:
        super().tip_advanced(state)
        epoch = state.epoch
        if epoch.number != self._state.epoch.number:
            self._epochs = {number: one for number, one in self._epochs.items() if number >= epoch.number}
            self._epochs[epoch.number] = epoch
        self._state, self.is_below_trusted_block = state, state.index < self._trusted_block.index
        while self._pins and self._pins[-1].index <= state.index:
            self._pins.pop()

    def check_proof(self, answer: Blocks | Finalizations) -> None:
        """Raise `Refused` as `check` and `take` do."""
        if isinstance(answer, Finalizations):
            self._extended(answer.proofs)
        elif answer.blocks:
            self.check(answer, 0)

    def is_mismatch(self, refused: Refused) -> bool:
        """A quorum or the trusted block stands behind the header; but the block may be another one, or not the next."""
        return refused.rule not in (Rule.B1, Rule.B2, Rule.B7, Rule.V2)

    def check(self, answer: Blocks, now_ms: int) -> None:
        """Raise `Refused` (B1, B2; V2, or V4 below the trusted block). The clock is not asked."""
        blocks = answer.blocks
        path = [*(block.header for block in blocks), *answer.headers]
        for parent, header in pairwise(path):
            check_follows(header, parent)
        last = path[-1]
        if blocks[-1].index <= self._state.index:
            return
        if blocks[0].index <= self._trusted_block.index:
            pin = self._pin_from(blocks[-1].index)
            if pin is None or all((one.index, one.hash) != (pin.index, pin.hash) for one in path):
                raise Refused(Rule.V4, f"block {last.index} is not known to be on the trusted block's chain")
            return
        epoch = self._epochs.get(last.epoch)
        if epoch is None:
            raise Refused(Rule.V2, f"block {last.index} is in epoch {last.epoch}, whose members are not proven yet")
        check_final(epoch, last, answer.finalization)

    def _extended(self, proofs: tuple[FinalHeader, ...]) -> list[Epoch]:
        """The later epochs that a peer proves; those that became known since it was asked are passed over."""
        newest, epochs, proven = self._newest, list[Epoch](), 0
        for one in proofs:
            index, epoch = one.header.index, one.header.epoch
            if proven < index and epoch < newest.number:
                continue
            if proven >= index or epoch > newest.number:
                raise Refused(Rule.N4, f"block {index} is neither the last of epoch {newest.number} nor the tip in it")
            proven = index
            if one.roots is None:
                check_final(newest, one.header, one.finalization)
            else:
                newest = next_epoch(newest, one)
                epochs.append(newest)
        return epochs

    def _pin(self, headers: tuple[Header, ...]) -> bool:
        """Take headers that lead to the lowest known one of the trusted block's chain."""
        lowest = self._lowest
        if lowest is None or not headers:
            return False
        if TrustedBlock(headers[-1].index, headers[-1].hash) != lowest:
            raise Refused(Rule.V4, f"block {headers[-1].index} is not the one on the trusted block's chain")
        for parent, header in pairwise(headers):
            check_follows(header, parent)
        first = headers[0]
        is_down = first.index <= self._state.index + 1
        if is_down:
            own = next(one for one in headers if one.index == self._state.index + 1)
            if own.parent_hash != self._state.tip.hash:
                what = f"the trusted block does not descend from this node's block {own.index - 1}"
                raise Refused(Rule.V4, what)
        for header in reversed(headers):
            if header.epoch != self._epoch_above or header.index % self._range_blocks == 0:
                self._pins.append(TrustedBlock(header.index, header.hash))
            self._epoch_above = header.epoch
        self._lowest = None if is_down else TrustedBlock(first.index - 1, first.parent_hash)
        return True

    def _pin_from(self, index: int) -> TrustedBlock | None:
        """The first pinned block from this index on."""
        return next((pin for pin in reversed(self._pins) if pin.index >= index), None)
