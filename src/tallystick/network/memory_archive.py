"""An archive that lasts as long as its process: for the simulator."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from msgspec.structs import replace

from tallystick.ledger.address import AddressRecord
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import Snapshot
from tallystick.ledger.certificate import AnyCertificate, Payload
from tallystick.ledger.checkpoint import Cosignature
from tallystick.ledger.finality import FinalHeader, Members
from tallystick.ledger.header import Header
from tallystick.ledger.messages import Entry
from tallystick.ledger.vote import FINALIZE, Tally
from tallystick.node.events import PersistBlock, PersistCosignatures


class MemoryArchive:
    """A `FullArchive` that ends with its process."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self._kept = [PersistBlock(block, ()) for block in blocks]
        self._payloads: dict[bytes, Payload] = {}
        self._erased: dict[bytes, None] = {}
        self._finalizations: dict[int, Tally] = {}
        self._ends: list[PersistBlock] = []
        self._votes: dict[int, dict[int, list[Tally]]] = {}
        self._proposals: dict[bytes, Block] = {}
        self._waiting: dict[bytes, AnyCertificate] = {}
        self._cosignatures: dict[tuple[int, bytes], Cosignature] = {}
        self._addresses: dict[bytes, AddressRecord] = {}

    @property
    def tip_index(self) -> int:
        return len(self._kept)

    def keep_certificates(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._waiting[entry.certificate.id] = entry.certificate
            if entry.payload is not None:
                self.keep_payload(entry.payload)

    def forget_certificate(self, certificate_id: bytes) -> None:
        self._waiting.pop(certificate_id, None)

    def waiting(self) -> Iterator[Entry]:
        for one in list(self._waiting.values()):
            yield Entry(one, self._payloads.get(one.payload_hash) if one.payload_hash else None)

    def keep_votes(self, tallies: Sequence[Tally], blocks: Sequence[Block]) -> None:
        for tally in tallies:
            views = self._votes.setdefault(tally.ballot.epoch, {})
            views.setdefault(tally.ballot.view, []).append(tally)
        self._proposals.update({block.hash: block for block in blocks})

    def votes(self, epoch: int) -> Iterator[Tally]:
        return chain.from_iterable(tallies for _, tallies in sorted(self._votes.get(epoch, {}).items()))

    def votes_of(self, epoch: int, view: int) -> Iterator[Tally]:
        return iter(self._votes.get(epoch, {}).get(view, ()))

    def view_certificates(self, epoch: int, first: int, last: int) -> Iterator[Tally]:
        views = sorted((view for view in self._votes.get(epoch, ()) if first <= view <= last), reverse=True)
        return (one for view in views for one in self.votes_of(epoch, view) if one.ballot.kind != FINALIZE)

    def proposals(self) -> Iterator[Block]:
        return iter(sorted(self._proposals.values(), key=lambda block: block.index))

    def finalization(self, index: int) -> Tally | None:
        return self._finalizations.get(index)

    def keep_finalization(self, index: int, finalization: Tally) -> None:
        self._finalizations[index] = finalization

    def finalized_from(self, index: int) -> int | None:
        later = range(index, self.tip_index + 1) if self._finalizations else ()
        return next((one for one in later if one in self._finalizations), None)

    def final_header(self, index: int) -> FinalHeader | None:
        if (finalization := self._finalizations.get(index)) is None:
            return None
        kept = self._kept[index - 1]
        return FinalHeader(kept.block.header, finalization, kept.roots, kept.members)

    def epoch_ends(self, epoch: int, most: int) -> list[int]:
        return [one.block.index for one in self._ends if one.block.header.epoch >= epoch][:most]

    def voters(self, epoch: int) -> Members | None:
        before = (one.members for one in reversed(self._ends) if one.block.header.epoch < epoch)
        return next((members for members in before if members is not None), None)

    def append(self, kept: PersistBlock) -> None:
        block = kept.block
        self._kept.append(replace(kept, payloads=()))
        if kept.finalization is not None:
            self._finalizations[block.index] = kept.finalization
        if kept.roots is not None:
            self._ends.append(self._kept[-1])
        for epoch in [one for one in self._votes if one < kept.oldest_epoch]:
            del self._votes[epoch]
        self._proposals = {one: other for one, other in self._proposals.items() if other.index > block.index}
        for certificate in block.certificates if self._waiting else ():
            self._waiting.pop(certificate.id, None)
        for payload in kept.payloads:
            self.keep_payload(payload)

    def keep_payload(self, payload: Payload) -> None:
        if (payload_hash := payload.hash()) not in self._erased:
            self._payloads[payload_hash] = payload

    def erase_payload(self, payload_hash: bytes) -> None:
        self._payloads.pop(payload_hash, None)
        self._erased[payload_hash] = None

    def blocks(self, start: int = 1) -> Iterator[Block]:
        for place in range(start - 1, len(self._kept)):
            yield self._kept[place].block

    def headers(self, start: int = 1) -> Iterator[Header]:
        return (self._kept[place].block.header for place in range(start - 1, len(self._kept)))

    def payload(self, payload_hash: bytes) -> Payload | None:
        return self._payloads.get(payload_hash)

    def hashes(self, start: int = 1) -> Iterator[bytes]:
        return (block.hash for block in self.blocks(start))

    def snapshot(self) -> Snapshot | None:
        """Its blocks are at hand as they are, so it is replayed."""
        return None

    def erased(self) -> Iterator[bytes]:
        return iter(self._erased)

    def keep_cosignatures(self, kept: PersistCosignatures) -> None:
        self._cosignatures.update({(one.size, one.member): one for one in kept.cosignatures})
        for size, member in list(self._cosignatures):
            if size < kept.since or size in kept.dropped:
                del self._cosignatures[size, member]

    def cosignatures(self) -> Iterator[Cosignature]:
        return iter([one for _, one in sorted(self._cosignatures.items())])

    def keep_address(self, record: AddressRecord) -> None:
        self._addresses[record.key] = record

    def addresses(self) -> Iterator[AddressRecord]:
        return iter(list(self._addresses.values()))

    def lacking(self, most: int) -> list[bytes]:
        covered = (one.payload_hash for kept in self._kept for one in kept.block.certificates if one.payload_hash)
        known = self._payloads.keys() | self._erased.keys()
        return [one for one in dict.fromkeys(covered) if one not in known][-most:]
