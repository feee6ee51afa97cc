"""What every node asks of a block of a Simplex ledger, member or not: the drawn forger, and finality by a quorum."""

from tallystick.consensus.proof_of_stake import draw
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import State
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.header import Header
from tallystick.ledger.vote import FINALIZE, Ballot, Tally


def check_forger(state: State, header: Header) -> None:
    """Raise `Refused` (B4) unless the header's forger was drawn for its view in the epoch after `state`."""
    epoch = state.epoch
    drawn = draw(epoch.stakes, header.ledger_id, epoch.number, header.view) if header.view else None
    if header.forger != drawn:
        name = f"{drawn.hex()[:16]}…" if drawn else "nobody"
        raise Refused(Rule.B4, f"forged by {header.forger.hex()[:16]}…, drawn for view {header.view}: {name}")


def check_final(state: State, block: Block, finalization: Tally | None) -> None:
    """Raise `Refused` (V2) unless this is a quorum of the epoch after `state`; its signatures are good."""
    epoch = state.epoch
    if finalization is None:
        raise Refused(Rule.V2, f"block {block.index} comes without a finalization")
    ballot = finalization.ballot
    if ballot != Ballot(FINALIZE, epoch.number, ballot.view, block.hash, epoch.hash):
        raise Refused(Rule.V2, f"these votes do not finalize block {block.index} in epoch {epoch.number}")
    stake = sum(epoch.stake(member) for member in {member for member, _ in finalization.signatures})
    if not epoch.is_quorum(stake):
        raise Refused(Rule.V2, f"{stake} of {epoch.total} staked tokens voted to finalize block {block.index}")
