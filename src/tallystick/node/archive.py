"""What a host keeps for a node: its copy of the chain, and the payloads beside it."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from tallystick.ledger.address import AddressRecord
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import Snapshot
from tallystick.ledger.certificate import AnyCertificate, Payload
from tallystick.ledger.encoding import encode
from tallystick.ledger.finality import FinalHeader, Members
from tallystick.ledger.header import Header
from tallystick.ledger.messages import MAX_HEADERS, Blocks, Entry, Finalizations, Headers, Message, Payloads
from tallystick.ledger.vote import Tally, Vote
from tallystick.node.events import (
    Answer,
    ArchiveChange,
    ErasePayload,
    ForgetCertificate,
    PersistAddress,
    PersistBlock,
    PersistCertificates,
    PersistPayload,
    PersistVotes,
    SendBlocks,
    SendFinalizations,
    SendHeaders,
    SendPayloads,
)


class Archive(Protocol):
    """The kept chain, in memory or on disk. Block 0 is derived from the genesis, so it is not kept."""

    def append(
        self,
        block: Block,
        payloads: Iterable[Payload],
        finalization: Tally | None = None,
        members: Members | None = None,
    ) -> None:
        """Keep the next block and what belongs to it (see `PersistBlock`), durably and all at once.

        With it go the proposals up to its index, and votes of epochs before the finalization's last but one.
        """

    def keep_certificates(self, entries: Sequence[Entry]) -> None:
        """Keep certificates, and their payloads, each until a block with it is appended."""

    def forget_certificate(self, certificate_id: bytes) -> None:
        """Keep a certificate no longer."""

    def waiting(self) -> Iterator[Entry]:
        """The certificates kept by themselves, in the order they came; without those payloads that were erased."""

    def keep_votes(self, tally: Tally, block: Block | None) -> None:
        """Keep a vote of the node's own, or a quorum, and the block that it is for, durably and at once."""

    def votes(self) -> Iterator[Vote]:
        """All votes kept in the tip's epoch, the one before and the one after: what a member must not contradict."""

    def has_lost_votes(self) -> bool:
        """Whether votes of epochs that may still be going on were kept once and are lost."""

    def proposals(self) -> Iterator[Block]:
        """The blocks kept with those votes."""

    def finalization(self, index: int) -> Tally | None:
        """The finalization kept with a block."""

    def members(self, index: int) -> Members | None:
        """The members kept with a block."""

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


def oldest_epoch(finalization: Tally) -> int:
    """The first epoch whose votes are still of use: a member that restarts is asked about those of the last but one."""
    return finalization.ballot.epoch - 1


class MemoryArchive:
    """An archive that lasts as long as its process: for the simulator and the course."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self._blocks = list(blocks)
        self._payloads: dict[bytes, Payload] = {}
        self._erased: dict[bytes, None] = {}
        self._finalizations: dict[int, Tally] = {}
        self._votes: list[Vote] = []
        self._proposals: dict[bytes, Block] = {}
        self._members: dict[int, Members] = {}
        self._waiting: dict[bytes, AnyCertificate] = {}
        self._addresses: dict[bytes, AddressRecord] = {}

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

    def keep_votes(self, tally: Tally, block: Block | None) -> None:
        """See `Archive`."""
        self._votes.extend(tally.votes)
        if block is not None:
            self._proposals[block.hash] = block

    def votes(self) -> Iterator[Vote]:
        """See `Archive`."""
        return iter(self._votes)

    def has_lost_votes(self) -> bool:
        """See `Archive`."""
        return False

    def proposals(self) -> Iterator[Block]:
        """See `Archive`."""
        return iter(self._proposals.values())

    def finalization(self, index: int) -> Tally | None:
        """See `Archive`."""
        return self._finalizations.get(index)

    def members(self, index: int) -> Members | None:
        """See `Archive`."""
        return self._members.get(index)

    def append(
        self,
        block: Block,
        payloads: Iterable[Payload],
        finalization: Tally | None = None,
        members: Members | None = None,
    ) -> None:
        """See `Archive`."""
        self._blocks.append(block)
        if members is not None:
            self._members[block.index] = members
        if finalization is not None:
            self._finalizations[block.index] = finalization
            if self._votes and self._votes[0].ballot.epoch < oldest_epoch(finalization):
                self._votes = [one for one in self._votes if one.ballot.epoch >= oldest_epoch(finalization)]
        self._proposals = {one: kept for one, kept in self._proposals.items() if kept.index > block.index}
        for certificate in block.certificates if self._waiting else ():
            self._waiting.pop(certificate.id, None)
        for payload in payloads:
            self.keep_payload(payload)

    def keep_payload(self, payload: Payload) -> None:
        """See `Archive`."""
        self._payloads[payload.hash()] = payload

    def erase_payload(self, payload_hash: bytes) -> None:
        """See `Archive`."""
        self._payloads.pop(payload_hash, None)
        self._erased[payload_hash] = None

    def blocks(self, start: int = 1) -> Iterator[Block]:
        """See `Archive`."""
        for place in range(start - 1, len(self._blocks)):
            yield self._blocks[place]

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
        covered = (one.payload_hash for block in self._blocks for one in block.certificates if one.payload_hash)
        known = self._payloads.keys() | self._erased.keys()
        return [one for one in dict.fromkeys(covered) if one not in known][-most:]


def carry_out(change: ArchiveChange, archive: Archive) -> None:
    """Keep or forget what the node asks for; it is durable on return."""
    match change:
        case PersistBlock(block, payloads, finalization, members):
            archive.append(block, payloads, finalization, members)
        case PersistVotes(tally, block):
            archive.keep_votes(tally, block)
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


def answer(archive: Archive, asked: Answer, most_bytes: int) -> Message:
    """What a peer asked for, of what is kept, near `most_bytes` (the first item may exceed it)."""
    match asked:
        case SendBlocks():
            return answer_blocks(archive, asked, most_bytes)
        case SendPayloads():
            return _answer_payloads(archive, asked, most_bytes)
        case SendFinalizations():
            return _answer_finalizations(archive, asked, most_bytes)
        case SendHeaders(_, last, count):
            blocks = islice(archive.blocks(max(1, last - count + 1)), min(count, last))
            return Headers(tuple(block.header for block in blocks))


def answer_blocks(archive: Archive, asked: SendBlocks, most_bytes: int) -> Blocks:
    """Blocks, then headers to where a finalization is; if none follows, as far as the last one in the range."""
    chosen: list[Block] = []
    headers: list[Header] = []
    size, end = 0, asked.start + asked.count - 1
    for block in archive.blocks(asked.start) if asked.start else ():
        size += len(block.encoded)
        if block.index <= end and not headers and (not chosen or size <= most_bytes):
            chosen.append(block)
        elif asked.is_proven and len(headers) < MAX_HEADERS:
            headers.append(block.header)
        else:
            break
        finalization = archive.finalization(block.index) if asked.is_proven and block.index >= end else None
        if finalization is not None:
            return Blocks(asked.start, tuple(chosen), tuple(headers), finalization)
    for count in range(len(chosen), 0, -1):
        finalization = archive.finalization(asked.start + count - 1)
        if finalization is not None:
            return Blocks(asked.start, tuple(chosen[:count]), (), finalization)
    return Blocks(asked.start, tuple(chosen), tuple(headers))


def _answer_finalizations(archive: Archive, asked: SendFinalizations, most_bytes: int) -> Finalizations:
    proofs: list[FinalHeader] = []
    size = 0
    for index in asked.indexes:
        finalization, block = archive.finalization(index), next(archive.blocks(index), None)
        if finalization is None or block is None:
            break
        proof = FinalHeader(block.header, finalization, archive.members(index))
        size += len(encode(proof))
        if proofs and size > most_bytes:
            break
        proofs.append(proof)
    return Finalizations(tuple(proofs))


def _answer_payloads(archive: Archive, asked: SendPayloads, most_bytes: int) -> Payloads:
    chosen: list[Payload] = []
    size = 0
    for payload_hash in asked.hashes:
        payload = archive.payload(payload_hash)
        if payload is None:
            continue
        size += len(encode(payload))
        if chosen and size > most_bytes:
            break
        chosen.append(payload)
    return Payloads(tuple(chosen))
