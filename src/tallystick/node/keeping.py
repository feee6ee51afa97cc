"""The order in which a host carries out what one event asks for: what is kept comes before what is told.

docs/protocol.md, section 4, "Order of syncs".
"""

from collections.abc import Iterable

from tallystick.consensus.agreement import PersistQuorum
from tallystick.consensus.signing_guard import Floor, GuardRecord, Signed
from tallystick.ledger.messages import Certificates
from tallystick.ledger.vote import Tally
from tallystick.node.events import (
    Action,
    ErasePayload,
    Multicast,
    PersistBlock,
    PersistFinalization,
    PersistSigned,
    is_archive_change,
)


def kept_first(actions: Iterable[Action]) -> list[Action]:
    """The same actions with as few syncs as the promises allow: the guard once, then one transaction, then the rest.

    Signed records move to the front, as the guard comes before the database; but not past what earlier votes rest on,
    nor past blocks: a vote to finalize says that its block is kept, a floor that what is final is. Nothing that is told
    moves before what was to be kept first. Certificates alone are passed on before anything is kept: that promises
    nothing.
    """
    ordered: list[Action] = []
    stretch = Stretch()
    for action in actions:
        if isinstance(action, PersistSigned) and stretch.is_rested_on:
            ordered += stretch.in_order()
            stretch = Stretch()
        stretch.add(action)
    return ordered + stretch.in_order()


class Stretch:
    """Actions up to guard records that rely on what these keep."""

    def __init__(self) -> None:
        self.is_rested_on = False
        """Whether it keeps what later records rely on."""
        self._passed_on: list[Action] = []
        self._signed: list[GuardRecord] = []
        self._kept: list[Action] = []
        self._told: list[Action] = []

    def add(self, action: Action) -> None:
        """Take the next action."""
        match action:
            case PersistSigned(records):
                self._signed += records
            case Multicast(_, Certificates()):
                self._passed_on.append(action)
            case change if is_archive_change(change) and not isinstance(change, ErasePayload):
                self.is_rested_on |= isinstance(change, PersistQuorum | PersistBlock)
                self._kept.append(change)
            case _:  # an erasure is a transaction of its own
                self._told.append(action)

    def in_order(self) -> list[Action]:
        """All of them."""
        signed = [PersistSigned(tuple(self._signed), self.is_beside)] if self._signed else []
        return [*self._passed_on, *signed, *self._kept, *self._told]

    @property
    def is_beside(self) -> bool:
        """Whether the database may have what is kept without the guard: it holds nothing that the key signs just now.

        Else that would count as another machine's at the next start. A header is never signed without its block.
        """
        if not self._kept or not all(isinstance(one, Signed | Floor) for one in self._signed):
            return False
        signed = [one for one in self._signed if isinstance(one, Signed)]
        ballots = {one.ballot for one in signed}
        is_kept = any(tally.ballot in ballots for one in self._kept for tally in _tallies(one))
        return not is_kept and not any(one.header_hash for one in signed)


def _tallies(kept: Action) -> tuple[Tally, ...]:
    """The votes that are kept with it."""
    match kept:
        case PersistQuorum(tallies):
            return tallies
        case PersistBlock(finalization=Tally() as finalization) | PersistFinalization(_, finalization):
            return (finalization,)
    return ()
