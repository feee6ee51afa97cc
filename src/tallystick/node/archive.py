"""What a host keeps for a node: its copy of the chain, and the payloads beside it."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from tallystick.ledger.block import Block
from tallystick.ledger.certificate import Payload
from tallystick.ledger.encoding import encode
from tallystick.ledger.messages import Blocks, Payloads
from tallystick.ledger.vote import Tally, Vote
from tallystick.node.events import SendBlocks, SendPayloads


class Archive(Protocol):
    """The kept chain, in memory or on disk. Block 0 is derived from the genesis, so it is not kept."""

    def append(self, block: Block, payloads: Iterable[Payload], finalization: Tally | None = None) -> None:
        """Keep the next block, its payloads and its finalization, durably and all at once.

        With it go the proposals up to its index, and votes of epochs before the finalization's last but one.
        """

    def keep_votes(self, tally: Tally, block: Block | None) -> None:
        """Keep a vote of the node's own, or a quorum, and the block that it is for, durably and at once."""

    def votes(self) -> Iterator[Vote]:
        """All votes kept in the tip's epoch, the one before and the one after: what a member must not contradict."""

    def proposals(self) -> Iterator[Block]:
        """The blocks kept with those votes."""

    def finalization(self, index: int) -> Tally | None:
        """The finalization kept with a block."""

    def keep_payload(self, payload: Payload) -> None:
        """Keep a payload that came later."""

    def erase_payload(self, payload_hash: bytes) -> None:
        """Forget a payload, and remember that it was erased."""

    def blocks(self, start: int = 1) -> Iterator[Block]:
        """The kept blocks from an index on, in order."""

    def payload(self, payload_hash: bytes) -> Payload | None:
        """The payload with this hash, if it is kept."""

    def erased(self) -> Iterator[bytes]:
        """The hashes of the payloads erased so far."""


def lacking(archive: Archive) -> Iterator[bytes]:
    """The payloads that the kept chain covers, and that were neither kept nor erased."""
    erased = set(archive.erased())
    for block in archive.blocks():
        for certificate in block.certificates:
            payload_hash = certificate.payload_hash
            if payload_hash and payload_hash not in erased and archive.payload(payload_hash) is None:
                yield payload_hash


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

    def keep_votes(self, tally: Tally, block: Block | None) -> None:
        """See `Archive`."""
        self._votes.extend(tally.votes)
        if block is not None:
            self._proposals[block.hash] = block

    def votes(self) -> Iterator[Vote]:
        """See `Archive`."""
        return iter(self._votes)

    def proposals(self) -> Iterator[Block]:
        """See `Archive`."""
        return iter(self._proposals.values())

    def finalization(self, index: int) -> Tally | None:
        """See `Archive`."""
        return self._finalizations.get(index)

    def append(self, block: Block, payloads: Iterable[Payload], finalization: Tally | None = None) -> None:
        """See `Archive`."""
        self._blocks.append(block)
        if finalization is not None:
            self._finalizations[block.index] = finalization
            if self._votes and self._votes[0].ballot.epoch < oldest_epoch(finalization):
                self._votes = [one for one in self._votes if one.ballot.epoch >= oldest_epoch(finalization)]
        self._proposals = {one: kept for one, kept in self._proposals.items() if kept.index > block.index}
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

    def erased(self) -> Iterator[bytes]:
        """See `Archive`."""
        return iter(self._erased)


def answer_blocks(archive: Archive, asked: SendBlocks, most_bytes: int) -> Blocks:
    """The answer to a block request: what is kept of the range, near `most_bytes` (the first block may exceed it).

    Where blocks have finalizations, the answer ends with the last block of the range that has one.
    """
    chosen: list[Block] = []
    size = 0
    for block in archive.blocks(asked.start) if asked.start else ():
        size += len(block.encoded)
        if len(chosen) == asked.count or (chosen and size > most_bytes):
            break
        chosen.append(block)
    for count in range(len(chosen), 0, -1):
        finalization = archive.finalization(asked.start + count - 1)
        if finalization is not None:
            return Blocks(asked.start, tuple(chosen[:count]), finalization)
    return Blocks(asked.start, tuple(chosen))


def answer_payloads(archive: Archive, asked: SendPayloads, most_bytes: int) -> Payloads:
    """The answer to a payload request: those at hand, near `most_bytes` (the first may exceed it)."""
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
