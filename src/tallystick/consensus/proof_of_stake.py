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
    check_is_drawn(drawn, header, f"view {header.view}")


def check_is_drawn(drawn: bytes | None, header: Header, turn: str) -> None:
    """Raise `Refused` (B4) unless the header's forger is the one drawn for its turn."""
    if header.forger != drawn:
        name = f"{drawn.hex()[:16]}…" if drawn else "nobody"
        raise Refused(Rule.B4, f"forged by {header.forger.hex()[:16]}…, drawn for {turn}: {name}")
