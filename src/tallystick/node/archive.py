"""What a host keeps for a node: its copy of the chain, and the payloads beside it."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from tallystick.ledger.address import AddressRecord
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import Snapshot
from tallystick.ledger.certificate import Payload
from tallystick.ledger.finality import FinalHeader, Members
from tallystick.ledger.messages import Entry
from tallystick.ledger.vote import Tally
from tallystick.node.events import PersistBlock


class Archive(Protocol):
    """The kept chain, in memory or on disk. Block 0 is derived from the genesis, so it is not kept."""

    @property
    def tip_index(self) -> int:
        """Index of the last kept block; 0 if there is none."""

    def append(self, kept: PersistBlock) -> None:
        """Keep the next block and what comes with it, durably and all at once.

        With it go the proposals up to its index, and votes of epochs before `oldest_epoch`.
        """

    def keep_certificates(self, entries: Sequence[Entry]) -> None:
        """Keep certificates, and their payloads, each until a block with it is appended."""

    def forget_certificate(self, certificate_id: bytes) -> None:
        """Keep a certificate no longer."""

    def waiting(self) -> Iterator[Entry]:
        """The certificates kept by themselves, in the order they came; without those payloads that were erased."""

    def keep_votes(self, tallies: Sequence[Tally], blocks: Sequence[Block]) -> None:
        """Keep votes, certificates of them, and blocks that were voted for, durably and all at once."""

    def votes(self, epoch: int) -> Iterator[Tally]:
        """The votes kept of an epoch, view by view."""

    def votes_of(self, epoch: int, view: int) -> Iterator[Tally]:
        """The votes kept of one view."""

    def view_certificates(self, epoch: int, first: int, last: int) -> Iterator[Tally]:
        """The votes kept to notarize or nullify one of these views, the newest view first; not each is a quorum."""

    def proposals(self) -> Iterator[Block]:
        """The blocks kept with votes."""

    def finalization(self, index: int) -> Tally | None:
        """The finalization kept with a block."""

    def finalized_from(self, index: int) -> int | None:
        """The first block from this index on with which a finalization is kept."""

    def final_header(self, index: int) -> FinalHeader | None:
        """The header of a block with which a finalization is kept, and all that was kept with it as proof."""

    def epoch_ends(self, epoch: int, most: int) -> list[int]:
        """The last blocks, by their state roots, of epochs from this one on; ascending."""

    def voters(self, epoch: int) -> Members | None:
        """The members of this epoch: those kept last before it began; `None`: the genesis's."""

    def keep_payload(self, payload: Payload) -> None:
        """Keep a payload that came later."""

    def erase_payload(self, payload_hash: bytes) -> None:
        """Forget a payload, and remember that it was erased."""

    def blocks(self, start: int = 1) -> Iterator[Block]:
        """The kept blocks from an index on, in order."""

    def hashes(self, start: int = 1) -> Iterator[bytes]:
        """The hashes of the kept blocks from an index on, in order, without reading the blocks."""

    def snapshot(self) -> Snapshot | None:
        """What the chain had come to at one of the kept blocks; `None`: it has to be replayed from the genesis."""

    def payload(self, payload_hash: bytes) -> Payload | None:
        """The payload with this hash, if it is kept."""

    def erased(self) -> Iterator[bytes]:
        """The hashes of the payloads erased so far."""

    def keep_address(self, record: AddressRecord) -> None:
        """Keep where a key can be reached, in the place of what was kept of it."""

    def addresses(self) -> Iterator[AddressRecord]:
        """The kept address records, one of a key."""

    def lacking(self, most: int) -> list[bytes]:
        """The payloads that the kept chain covers and that were neither kept nor erased: the latest, in order."""
