"""What a host does with its archive: it keeps what the node tells it to, and answers from it what peers ask."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice, takewhile
from typing import Protocol

from tallystick.consensus.agreement import PersistQuorum
from tallystick.ledger.address import MAX_AHEAD_MS, AddressRecord, address_codec
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import Snapshot
from tallystick.ledger.certificate import Payload
from tallystick.ledger.finality import FinalHeader
from tallystick.ledger.header import Header
from tallystick.ledger.messages import (
    MAX_HEADERS,
    MAX_IDS,
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
    in_parts,
)
from tallystick.ledger.vote import Ballot, Tally
from tallystick.ledger.wallet import Wallet, sign
from tallystick.node import events
from tallystick.node.archive import Archive


class FullArchive(Archive, Protocol):
    """An archive as its host uses it. Block 0 is derived from the genesis, so it is not kept."""

    @property
    def tip_index(self) -> int:
        """Index of the last kept block; 0 if there is none."""

    def blocks(self, start: int = 1) -> Iterator[Block]:
        """The kept blocks from an index on, in order."""

    def headers(self, start: int = 1) -> Iterator[Header]:
        """Those of the kept blocks from an index on, in order: cheaper than the blocks."""

    def snapshot(self) -> Snapshot | None:
        """What the chain had come to at one of the kept blocks; `None`: it has to be replayed from the genesis."""

    def append(self, kept: events.PersistBlock) -> None:
        """Keep the next block and what comes with it, durably and all at once.

        With it go the proposals up to its index, and votes of epochs before `oldest_epoch`.
        """

    def keep_certificates(self, entries: Sequence[Entry]) -> None:
        """Keep certificates, and their payloads, each until a block with it is appended."""

    def forget_certificate(self, certificate_id: bytes) -> None:
        """Keep a certificate no longer."""

    def keep_votes(self, tallies: Sequence[Tally], blocks: Sequence[Block]) -> None:
        """Keep votes, certificates of them, and blocks that were voted for, durably and all at once."""

    def votes_of(self, epoch: int, view: int) -> Iterator[Tally]:
        """The votes kept of one view."""

    def view_certificates(self, epoch: int, first: int, last: int) -> Iterator[Tally]:
        """The votes kept to notarize or nullify one of these views, the newest view first; not each is a quorum."""

    def final_header(self, index: int) -> FinalHeader | None:
        """The header of a block with which a finalization is kept, and all that was kept with it as proof."""

    def finalized_from(self, index: int) -> int | None:
        """The first block from this index on with which a finalization is kept."""

    def epoch_ends(self, epoch: int, most: int) -> list[int]:
        """The last blocks, by their state roots, of epochs from this one on; ascending."""

    def keep_finalization(self, index: int, finalization: Tally) -> None:
        """Keep these votes for a block in the place of those that are kept."""

    def keep_payload(self, payload: Payload) -> None:
        """Keep a payload that came later."""

    def erase_payload(self, payload_hash: bytes) -> None:
        """Forget a payload, and remember that it was erased."""

    def payload(self, payload_hash: bytes) -> Payload | None:
        """The payload with this hash, if it is kept."""

    def keep_cosignatures(self, kept: events.PersistCosignatures) -> None:
        """Keep cosignatures, and let go of those that are not needed any more."""

    def keep_address(self, record: AddressRecord) -> None:
        """Keep where a key can be reached, in the place of what was kept of it."""


def carry_out(change: events.ArchiveChange, archive: FullArchive) -> None:
    """Keep or forget what the node asks for; it is durable on return."""
    match change:
        case events.PersistBlock():
            archive.append(change)
        case PersistQuorum(tallies, blocks):
            archive.keep_votes(tallies, blocks)
        case events.PersistCertificates(entries):
            archive.keep_certificates(entries)
        case events.ForgetCertificate(certificate_id):
            archive.forget_certificate(certificate_id)
        case events.PersistPayload(payload):
            archive.keep_payload(payload)
        case events.ErasePayload(payload_hash):
            archive.erase_payload(payload_hash)
        case events.PersistAddress(record):
            archive.keep_address(record)
        case events.PersistFinalization(index, finalization):
            archive.keep_finalization(index, finalization)
        case events.PersistCosignatures():
            archive.keep_cosignatures(change)


def answer(archive: FullArchive, request: Kept, most_bytes: int) -> Answer | Votes | None:
    """What a peer asks for, of what is kept, near `most_bytes` (the first item may exceed it); `None`: nothing."""
    match request:
        case BlockRequest():
            return answer_blocks(archive, request, most_bytes)
        case PayloadRequest(hashes):
            payloads = (payload for one in hashes if (payload := archive.payload(one)) is not None)
            return Payloads(next(in_parts(payloads, MAX_IDS, most_bytes), ()))
        case FinalizationRequest(epoch):
            return Finalizations(next(in_parts(_finalizations(archive, epoch), MAX_PROOFS, most_bytes), ()))
        case HeaderRequest(last, count):
            return Headers(tuple(islice(archive.headers(max(1, last - count + 1)), min(count, last))))
        case ViewCertificateRequest():
            tallies = next(in_parts(_view_certificates(archive, request), MAX_TALLIES, most_bytes), ())
            return Votes(tallies) if tallies else None


def answer_blocks(archive: FullArchive, asked: BlockRequest, most_bytes: int) -> Blocks:
    """Blocks of one epoch, then headers to where a finalization is; if none follows, to the end of the range.

    An asker with a trusted block knows the block at the end of the range, or at that of the epoch, by its hash.
    """
    chosen, size, start, end = list[Block](), 0, asked.start, asked.start + asked.count - 1
    for block in islice(archive.blocks(start), asked.count) if start else ():
        size += len(block.encoded)
        if chosen and (block.header.epoch != chosen[0].header.epoch or size > most_bytes):
            break
        chosen.append(block)
    if not chosen:
        return Blocks(start, ())
    proven, epoch, after = archive.finalized_from(end), chosen[0].header.epoch, start + len(chosen)
    last = end if proven is None or proven > start + MAX_HEADERS else proven
    following = islice(archive.headers(after), last - after + 1)
    headers = list(takewhile(lambda one: one.epoch == epoch, following))
    finalization = archive.finalization(start + len(chosen) + len(headers) - 1)
    if finalization is None and (proven := archive.finalized_from(start)) is not None and proven < start + len(chosen):
        chosen, headers, finalization = chosen[: proven - start + 1], [], archive.finalization(proven)
    return Blocks(start, tuple(chosen), tuple(headers), finalization)


def _finalizations(archive: FullArchive, epoch: int) -> Iterator[FinalHeader]:
    for index in (*archive.epoch_ends(epoch, MAX_PROOFS), archive.tip_index):
        proof = archive.final_header(index)
        if proof is None or proof.header.epoch != epoch:
            return
        yield proof
        epoch += 1


def _view_certificates(archive: FullArchive, asked: ViewCertificateRequest) -> Iterator[Tally]:
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


def own_record(wallet: Wallet, ledger_id: bytes, address: str, now_ms: int, archive: Archive) -> AddressRecord:
    """The record that a node starts with: the kept one while it listens at the same address, or else a later one.

    Raises `Refused` (E2) for what is no address. A kept one that is dated too far ahead convinced nobody (N8).
    """
    earliest_ms = 0
    for kept in archive.addresses():
        if kept.key == wallet.public_key and kept.time_ms <= now_ms + MAX_AHEAD_MS:
            if kept == sign_address(wallet, ledger_id, address, kept.time_ms):
                return kept
            earliest_ms = kept.time_ms + 1
    return sign_address(wallet, ledger_id, address, max(now_ms, earliest_ms))


def sign_address(wallet: Wallet, ledger_id: bytes, address: str, time_ms: int) -> AddressRecord:
    """The record of a node's own address. Raises `Refused` (E2) for what is no address or time."""
    record = AddressRecord(wallet.public_key, address, time_ms)
    address_codec.encode_checked(record)
    return sign(record, wallet, ledger_id)
