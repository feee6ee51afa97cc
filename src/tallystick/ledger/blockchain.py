"""The chain as its next block sees it: what was agreed so far, and which blocks may follow.

A `Blockchain` keeps what judging the next block takes, whatever the chain's length; the blocks themselves are the
host's to keep (`PersistBlock`). Signatures are checked before a block comes here (node/intake.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tallystick.ledger.block import Block, genesis_block
from tallystick.ledger.certificate import AnyCertificate, ProposalEvidence
from tallystick.ledger.certificate_index import CertificateIndex, Place
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import Header
from tallystick.ledger.merkle import Frontier
from tallystick.ledger.params import MAX_BLOCK_TIMESTAMP_MS
from tallystick.ledger.stake import StakeTable


@dataclass(frozen=True, slots=True)
class State:
    """What the chain has come to at its tip. One pure function (`Blockchain.after`) leads from each to the next."""

    tip: Header
    stakes: StakeTable
    epoch: Epoch
    """The epoch of the next block: whose votes count for it."""
    log: Frontier
    """RFC 6962 frontier over all certificates so far: the ledger as a transparency log."""

    @property
    def index(self) -> int:
        """The tip's index."""
        return self.tip.index


class Snapshot(NamedTuple):
    """What a chain has come to: enough to go on from there without the blocks before."""

    state: State
    certificate_index: CertificateIndex


CheckForger = Callable[[State, Header], None]
"""Raises `Refused` (B4) unless the header's forger may extend the state."""


def holds_nothing(certificate_id: bytes) -> bool:
    """No certificate stands between the tip and the base."""
    return False


class Blockchain:
    """The agreed state and the look-up of every certificate on the chain, both kept as blocks are added."""

    def __init__(self, genesis: Genesis, check_forger: CheckForger, start: Snapshot | None = None) -> None:
        """Begin at the genesis, or at a snapshot of this ledger, whose places are then this chain's to add to."""
        self.genesis = genesis
        self._check_forger = check_forger
        self.state, self.certificate_index = start or Snapshot(genesis_state(genesis), CertificateIndex())

    @property
    def ledger_id(self) -> bytes:
        """The ledger's id, 32 bytes."""
        return self.genesis.ledger_id

    def place_of(self, certificate_id: bytes) -> Place | None:
        """Where the certificate with this id stands, or `None`. The cost does not grow with the chain."""
        return self.certificate_index.place_of(certificate_id)

    def after(
        self,
        block: Block,
        now_ms: int | None,
        base: State | None = None,
        holds: Callable[[bytes], bool] = holds_nothing,
    ) -> State:
        """The state after a block whose signatures are known to be good; nothing changes here.

        `base` is the state that the block extends, by default the tip's; `holds` tells which certificates stand in
        blocks between the tip and `base`. Raises `Refused` (B1, B2, B8, B4, B9, B6, B5). Without a clock (`None`:
        replay of what was once accepted) the block's time is held to its parent's only.
        """
        header, base = block.header, base or self.state
        check_follows(header, base.tip)
        self._check_time(header, base.tip, now_ms)
        self._check_forger(base, header)
        self._check_certificates(block, holds)
        try:
            stakes = base.stakes.after(block.certificates, header.index)
        except Refused as refused:
            raise Refused(Rule.B5, str(refused)) from refused
        log = base.log.extend([certificate.leaf_hash for certificate in block.certificates])
        return State(header, stakes, self._epoch_after(header.index, stakes, base.epoch), log)

    def check_evidence(self, certificate: AnyCertificate) -> None:
        """Raise `Refused` (V3) for evidence with headers of two epochs: each epoch has a view of their number."""
        if isinstance(certificate, ProposalEvidence):
            epochs = [self.genesis.params.epoch_of(one.header.index) for one in (certificate.first, certificate.second)]
            if epochs[0] != epochs[1]:
                raise Refused(Rule.V3, f"the headers are of epochs {epochs[0]} and {epochs[1]}, so of different views")

    def append(self, block: Block, now_ms: int | None) -> None:
        """Check the block, then add it. Raises `Refused` as `after` does, and then nothing has changed."""
        self.publish(block, self.after(block, now_ms))

    def publish(self, block: Block, state: State) -> None:
        """Add the next block, which was found to lead from the tip to this state."""
        self.state = state
        self.certificate_index.append([certificate.id for certificate in block.certificates])

    def _epoch_after(self, index: int, stakes: StakeTable, epoch: Epoch) -> Epoch:
        """The next epoch begins after the last block of this one; if nobody has stake left, its members stay."""
        if index % self.genesis.params.epoch_blocks:
            return epoch
        return Epoch(epoch.number + 1, stakes if stakes.total_staked else epoch.stakes)

    def _check_time(self, header: Header, parent: Header, now_ms: int | None) -> None:
        parent_ms, ahead_ms = parent.timestamp_ms, self.genesis.params.block_ahead_ms
        if header.timestamp_ms <= parent_ms:
            raise Refused(Rule.B8, f"time {header.timestamp_ms} ms is not after the parent's {parent_ms} ms")
        if header.timestamp_ms > MAX_BLOCK_TIMESTAMP_MS:
            raise Refused(Rule.B8, f"time {header.timestamp_ms} ms leaves no room for later blocks")
        if now_ms is not None and ahead_ms is not None and header.timestamp_ms > now_ms + ahead_ms:
            raise Refused(Rule.B8, f"{header.timestamp_ms - now_ms} ms ahead of the clock, {ahead_ms} ms allowed")

    def _check_certificates(self, block: Block, holds: Callable[[bytes], bool]) -> None:
        params, count = self.genesis.params, len(block.certificates)
        if not params.min_block_certificates <= count <= params.max_block_certificates:
            allowed = f"{params.min_block_certificates} to {params.max_block_certificates}"
            raise Refused(Rule.B9, f"{count} certificates, {allowed} allowed")
        seen: set[bytes] = set()
        for certificate in block.certificates:
            if certificate.id in self.certificate_index or holds(certificate.id):
                raise Refused(Rule.B6, f"certificate {certificate.id.hex()[:16]}… is on the chain already")
            if certificate.id in seen:
                raise Refused(Rule.B6, f"certificate {certificate.id.hex()[:16]}… stands twice in the block")
            seen.add(certificate.id)
            try:
                self.check_evidence(certificate)
            except Refused as refused:
                raise Refused(Rule.B5, str(refused)) from refused


def genesis_state(genesis: Genesis) -> State:
    """The state that a ledger begins with."""
    return State(genesis_block(genesis).header, genesis.stakes(), Epoch(0, genesis.stakes()), Frontier())


def check_follows(header: Header, tip: Header) -> None:
    """Raise `Refused` (B1, B2) unless the header names `tip` as what it extends."""
    if header.index != tip.index + 1:
        raise Refused(Rule.B1, f"index {header.index}, the next is {tip.index + 1}")
    if header.parent_hash != tip.hash:
        raise Refused(Rule.B2, f"parent {header.parent_hash.hex()[:16]}…, the tip is {tip.hash.hex()[:16]}…")
