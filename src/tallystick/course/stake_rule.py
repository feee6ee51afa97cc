"""Proof of Stake as a rule of the lone forger: one member is drawn for each index, by the stakes at the tip."""

from tallystick.consensus.proof_of_stake import check_is_drawn, draw
from tallystick.ledger.header import Header
from tallystick.ledger.state import State


class StakeRule:
    """Lets the member drawn for the next index forge; `default_forger` when nobody has stake (course profile)."""

    def __init__(self, default_forger: bytes | None = None) -> None:
        self.default_forger = default_forger
        self._drawn: tuple[State, bytes | None] | None = None

    def forger_after(self, state: State) -> bytes | None:
        """Who may forge the block after this state. For the lone forger the view is the index, the epoch 0."""
        if self._drawn is None or self._drawn[0] is not state:
            self._drawn = (state, draw(state.stakes, state.tip.ledger_id, 0, state.index + 1))
        return self._drawn[1] or self.default_forger

    def may_forge(self, state: State, forger: bytes) -> bool:
        """Whether it is this forger's turn."""
        return self.forger_after(state) == forger

    def check(self, state: State, header: Header) -> None:
        """Raise `Refused` (B4) unless the header's forger is the one drawn."""
        check_is_drawn(self.forger_after(state), header, f"index {header.index}")

    def work(self, header: Header) -> tuple[Header, bool]:
        """The header, ready to be signed: a drawn forger has nothing to work for."""
        return header, True
