"""Proof of Stake: the forger of a view is drawn in proportion to stake.

The draw takes the ledger's id, the epoch and the view, never a parent's hash, which a forger could try over and
over until it is drawn again ("grinding"). So it is predictable and cannot be bent. Integers only.
"""

from typing import Final

from tallystick.ledger.encoding import digest
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.header import Header
from tallystick.ledger.stake import StakeTable
from tallystick.ledger.state import State

_DOMAIN: Final = b"tallystick.draw.v1\x00"


def draw(stakes: StakeTable, ledger_id: bytes, epoch: int, view: int) -> bytes | None:
    """The member drawn for a view, each with probability stake / total; `None` when nobody has stake.

    The draw number is SHA-256(domain, ledger id, epoch, view; big-endian u64s) modulo all stake: a bias below 2^-200.
    """
    if not stakes.total_staked:
        return None
    seed = digest(_DOMAIN + ledger_id + epoch.to_bytes(8, "big") + view.to_bytes(8, "big"))
    return stakes.holder(int.from_bytes(seed, "big") % stakes.total_staked)


def check_drawn(state: State, header: Header) -> None:
    """Raise `Refused` (B4) unless the header's forger was drawn for its view in the epoch after `state` (Simplex)."""
    epoch = state.epoch
    drawn = draw(epoch.stakes, header.ledger_id, epoch.number, header.view) if header.view else None
    _check_is(drawn, header, f"view {header.view}")


class ProofOfStake:
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
        _check_is(self.forger_after(state), header, f"index {header.index}")

    def work(self, header: Header) -> tuple[Header, bool]:
        """The header, ready to be signed: a drawn forger has nothing to work for."""
        return header, True


def _check_is(drawn: bytes | None, header: Header, turn: str) -> None:
    if header.forger != drawn:
        name = f"{drawn.hex()[:16]}…" if drawn else "nobody"
        raise Refused(Rule.B4, f"forged by {header.forger.hex()[:16]}…, drawn for {turn}: {name}")
