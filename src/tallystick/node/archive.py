"""What a node reads, at its start, of what its host kept for it (network/archiving.py)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from tallystick.ledger.address import AddressRecord
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.checkpoint import Cosignature
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.finality import Members
from tallystick.ledger.messages import Entry
from tallystick.ledger.stake import Account, StakeTable
from tallystick.ledger.vote import Tally


class Archive(Protocol):
    """What is kept of one chain, in memory or on disk."""

    def waiting(self) -> Iterator[Entry]:
        """The certificates kept by themselves, in the order they came; without those payloads that were erased."""

    def votes(self, epoch: int) -> Iterator[Tally]:
        """The votes kept of an epoch, view by view."""

    def proposals(self) -> Iterator[Block]:
        """The blocks kept with votes."""

    def finalization(self, index: int) -> Tally | None:
        """The finalization kept with a block."""

    def voters(self, epoch: int) -> Members | None:
        """The members of this epoch: those kept last before it began; `None`: the genesis's."""

    def hashes(self, start: int = 1) -> Iterator[bytes]:
        """The hashes of the kept blocks from an index on, in order, without reading the blocks."""

    def erased(self) -> Iterator[bytes]:
        """The hashes of the payloads erased so far."""

    def addresses(self) -> Iterator[AddressRecord]:
        """The kept address records, one of a key."""

    def cosignatures(self) -> Iterator[Cosignature]:
        """Those kept of the newest countersigned checkpoint and of later ones; sizes and keys ascend."""

    def lacking(self, most: int) -> list[bytes]:
        """The payloads that the kept chain covers and that were neither kept nor erased: the latest, in order."""


def kept_epoch(number: int, archive: Archive, chain: Blockchain) -> Epoch:
    """One of the epochs up to the next block's, with the voters that it is kept to have."""
    current = chain.state.epoch
    if number == current.number:
        return current
    members = archive.voters(number)
    stakes = chain.genesis.stakes() if members is None else StakeTable({key: Account(0, one) for key, one in members})
    return replace(current, number=number, stakes=stakes)
