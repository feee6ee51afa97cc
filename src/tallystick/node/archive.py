"""What a host keeps for a node: its copy of the chain, and the payloads beside it."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, islice
from typing import Protocol, TypeVar

from msgspec.structs import replace

from tallystick.ledger.address import AddressRecord
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import Snapshot
from tallystick.ledger.certificate import AnyCertificate, Payload
from tallystick.ledger.encoding import encode
from tallystick.ledger.finality import FinalHeader, Members
from tallystick.ledger.header import Header
from tallystick.ledger.messages import (
    MAX_HEADERS,
    MAX_PROOFS,
    MAX_TALLIES,
    Answer,
    BlockRequest,
    Blocks,
    Entry,
    FinalizationRequest,
    Finalizations,
    HeaderRequest,
    Headers,
    Kept,
    PayloadRequest,
    Payloads,
    ViewCertificateRequest,
    Votes,
)
from tallystick.ledger.vote import FINALIZE, Ballot, Tally
from tallystick.node.events import (
    ArchiveChange,
    ErasePayload,
    ForgetCertificate,
    PersistAddress,
    PersistBlock,
    PersistCertificates,
    PersistPayload,
    PersistVotes,
)

T = TypeVar("T", Payload, FinalHeader, Tally)


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


class MemoryArchive:
    """An archive that lasts as long as its process: for the simulator and the course."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self._kept = [PersistBlock(block, ()) for block in blocks]
        self._payloads: dict[bytes, Payload] = {}
        self._erased: dict[bytes, None] = {}
        self._finalizations: dict[int, Tally] = {}
        self._ends: list[PersistBlock] = []
        self._votes: dict[int, dict[int, list[Tally]]] = {}
        self._proposals: dict[bytes, Block] = {}
        self._waiting: dict[bytes, AnyCertificate] = {}
        self._addresses: dict[bytes, AddressRecord] = {}

    @property
    def tip_index(self) -> int:
        """See `Archive`."""
        return len(self._kept)

    def keep_certificates(self, entries: Sequence[Entry]) -> None:
        """See `Archive`."""
        for entry in entries:
            self._waiting[entry.certificate.id] = entry.certificate
            if entry.payload is not None:
                self.keep_payload(entry.payload)

    def forget_certificate(self, certificate_id: bytes) -> None:
        """See `Archive`."""
        self._waiting.pop(certificate_id, None)

    def waiting(self) -> Iterator[Entry]:
        """See `Archive`."""
        for one in list(self._waiting.values()):
            yield Entry(one, self._payloads.get(one.payload_hash) if one.payload_hash else None)

    def keep_votes(self, tallies: Sequence[Tally], blocks: Sequence[Block]) -> None:
        """See `Archive`."""
        for tally in tallies:
            views = self._votes.setdefault(tally.ballot.epoch, {})
            views.setdefault(tally.ballot.view, []).append(tally)
        self._proposals.update({block.hash: block for block in blocks})

    def votes(self, epoch: int) -> Iterator[Tally]:
        """See `Archive`."""
        return chain.from_iterable(tallies for _, tallies in sorted(self._votes.get(epoch, {}).items()))

    def votes_of(self, epoch: int, view: int) -> Iterator[Tally]:
        """See `Archive`."""
        return iter(self._votes.get(epoch, {}).get(view, ()))

    def view_certificates(self, epoch: int, first: int, last: int) -> Iterator[Tally]:
        """See `Archive`."""
        views = sorted((view for view in self._votes.get(epoch, ()) if first <= view <= last), reverse=True)
        return (one for view in views for one in self.votes_of(epoch, view) if one.ballot.kind != FINALIZE)

    def proposals(self) -> Iterator[Block]:
        """See `Archive`."""
        return iter(sorted(self._proposals.values(), key=lambda block: block.index))

    def finalization(self, index: int) -> Tally | None:
        """See `Archive`."""
        return self._finalizations.get(index)

    def finalized_from(self, index: int) -> int | None:
        """See `Archive`."""
        later = range(index, self.tip_index + 1) if self._finalizations else ()
        return next((one for one in later if one in self._finalizations), None)

    def final_header(self, index: int) -> FinalHeader | None:
        """See `Archive`."""
        if (finalization := self._finalizations.get(index)) is None:
            return None
        kept = self._kept[index - 1]
        return FinalHeader(kept.block.header, finalization, kept.roots, kept.members)

    def epoch_ends(self, epoch: int, most: int) -> list[int]:
        """See `Archive`."""
        return [one.block.index for one in self._ends if one.block.header.epoch >= epoch][:most]

    def voters(self, epoch: int) -> Members | None:
        """See `Archive`."""
        before = (one.members for one in reversed(self._ends) if one.block.header.epoch < epoch)
        return next((members for members in before if members is not None), None)

    def append(self, kept: PersistBlock) -> None:
        """See `Archive`."""
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
        """See `Archive`."""
        if (payload_hash := payload.hash()) not in self._erased:
            self._payloads[payload_hash] = payload

    def erase_payload(self, payload_hash: bytes) -> None:
        """See `Archive`."""
        self._payloads.pop(payload_hash, None)
        self._erased[payload_hash] = None

    def blocks(self, start: int = 1) -> Iterator[Block]:
        """See `Archive`."""
        for place in range(start - 1, len(self._kept)):
            yield self._kept[place].block

    def payload(self, payload_hash: bytes) -> Payload | None:
        """See `Archive`."""
        return self._payloads.get(payload_hash)

    def hashes(self, start: int = 1) -> Iterator[bytes]:
        """See `Archive`."""
        return (block.hash for block in self.blocks(start))

    def snapshot(self) -> Snapshot | None:
        """See `Archive`. Its blocks are at hand as they are, so it is replayed."""
        return None

    def erased(self) -> Iterator[bytes]:
        """See `Archive`."""
        return iter(self._erased)

    def keep_address(self, record: AddressRecord) -> None:
        """See `Archive`."""
        self._addresses[record.key] = record

    def addresses(self) -> Iterator[AddressRecord]:
        """See `Archive`."""
        return iter(list(self._addresses.values()))

    def lacking(self, most: int) -> list[bytes]:
        """See `Archive`."""
        covered = (one.payload_hash for kept in self._kept for one in kept.block.certificates if one.payload_hash)
        known = self._payloads.keys() | self._erased.keys()
        return [one for one in dict.fromkeys(covered) if one not in known][-most:]


def carry_out(change: ArchiveChange, archive: Archive) -> None:
    """Keep or forget what the node asks for; it is durable on return."""
    match change:
        case PersistBlock():
            archive.append(change)
        case PersistVotes(tallies, blocks):
            archive.keep_votes(tallies, blocks)
        case PersistCertificates(entries):
            archive.keep_certificates(entries)
        case ForgetCertificate(certificate_id):
            archive.forget_certificate(certificate_id)
        case PersistPayload(payload):
            archive.keep_payload(payload)
        case ErasePayload(payload_hash):
            archive.erase_payload(payload_hash)
        case PersistAddress(record):
            archive.keep_address(record)


def answer(archive: Archive, asked: Kept, most_bytes: int) -> Answer | Votes | None:
    """What a peer asked for, of what is kept, near `most_bytes` (the first item may exceed it); `None`: nothing."""
    match asked:
        case BlockRequest():
            return answer_blocks(archive, asked, most_bytes)
        case PayloadRequest(hashes):
            payloads = (payload for one in hashes if (payload := archive.payload(one)) is not None)
            return Payloads(tuple(_near(payloads, most_bytes)))
        case FinalizationRequest(epoch):
            return Finalizations(tuple(_near(islice(_finalizations(archive, epoch), MAX_PROOFS), most_bytes)))
        case HeaderRequest(last, count):
            blocks = islice(archive.blocks(max(1, last - count + 1)), min(count, last))
            return Headers(tuple(block.header for block in blocks))
        case ViewCertificateRequest():
            tallies = tuple(_near(islice(_view_certificates(archive, asked), MAX_TALLIES), most_bytes))
            return Votes(tallies) if tallies else None


def answer_blocks(archive: Archive, asked: BlockRequest, most_bytes: int) -> Blocks:
    """Blocks of one epoch, then headers to where a finalization is; if none follows, to the end of the range.

    An asker that trusts a checkpoint knows the block at the end of the range, or at that of the epoch, by its hash.
    """
    chosen: list[Block] = []
    headers: list[Header] = []
    size, start, end = 0, asked.start, asked.start + asked.count - 1
    proven = archive.finalized_from(end)
    last = end if proven is None or proven > start + MAX_HEADERS else proven
    for block in islice(archive.blocks(start), last - start + 1) if start else ():
        if chosen and block.header.epoch != chosen[0].header.epoch:
            break
        size += len(block.encoded)
        if block.index <= end and not headers and (not chosen or size <= most_bytes):
            chosen.append(block)
        else:
            headers.append(block.header)
    if not chosen:
        return Blocks(start, ())
    finalization = archive.finalization(start + len(chosen) + len(headers) - 1)
    if finalization is None and (proven := archive.finalized_from(start)) is not None and proven < start + len(chosen):
        chosen, headers, finalization = chosen[: proven - start + 1], [], archive.finalization(proven)
    return Blocks(start, tuple(chosen), tuple(headers), finalization)


def _finalizations(archive: Archive, epoch: int) -> Iterator[FinalHeader]:
    for index in (*archive.epoch_ends(epoch, MAX_PROOFS), archive.tip_index):
        proof = archive.final_header(index)
        if proof is None or proof.header.epoch != epoch:
            return
        yield proof
        epoch += 1


def _view_certificates(archive: Archive, asked: ViewCertificateRequest) -> Iterator[Tally]:
    """The newest view first, down to the newest final one, whose finalization stands for all before it."""
    final = archive.finalization(next(iter(archive.epoch_ends(asked.epoch, 1)), archive.tip_index))
    final_view = final.ballot.view if final is not None and final.ballot.epoch == asked.epoch else -1
    kept = archive.view_certificates(asked.epoch, max(asked.first, final_view + 1), asked.last)
    for _, tallies in groupby(kept, lambda tally: tally.ballot.view):
        signatures: dict[Ballot, dict[bytes, bytes]] = {}
        for tally in tallies:
            signatures.setdefault(tally.ballot, {}).update(tally.signatures)
        yield from (Tally(ballot, tuple(sorted(one.items()))) for ballot, one in signatures.items())
    if final is not None and final_view >= asked.first:
        yield final


def _near(items: Iterable[T], most_bytes: int) -> list[T]:
    """As many of the items as encode to about so many bytes, the first in any case."""
    chosen: list[T] = []
    size = 0
    for one in items:
        size += len(encode(one))
        if chosen and size > most_bytes:
            break
        chosen.append(one)
    return chosen
