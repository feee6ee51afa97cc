"""What the chain has come to at its tip, and the root that each header commits to."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from msgspec.structs import replace

from tallystick.ledger.certificate import Evidence, certificates_hash
from tallystick.ledger.directory import Directory
from tallystick.ledger.encoding import derived, digest, encode
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import ZERO_DIGEST, Digest
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import VERSION, Header
from tallystick.ledger.merkle import Frontier
from tallystick.ledger.motions import Motions, Outcome
from tallystick.ledger.params import Params
from tallystick.ledger.roots import StateRoots
from tallystick.ledger.stake import BlockContext, StakeTable
from tallystick.ledger.status import Status

CHECKPOINT_EVERY_MS: Final = 1_000
"""So much block time passes from one checkpoint to the next; the last block of an epoch has one in any case."""


@dataclass(frozen=True)
class State:
    """What the chain has come to at its tip. One pure function (`Blockchain.after`) leads from each to the next."""

    tip: Header
    stakes: StakeTable
    epoch: Epoch
    """The epoch of the next block: whose votes count for it."""
    log: Frontier
    """RFC 6962 frontier over all certificates so far: the ledger as a transparency log."""
    headers: Frontier
    """RFC 6962 frontier over the headers before the tip."""
    params: Params
    epoch_ends: tuple[BlockContext, ...]
    """The last blocks of the epochs before whose evidence is legal."""
    voters: Digest
    """Of the tip's epoch (`Epoch.hash`)."""
    checkpoint_ms: int
    """The time of the last block so far that has a checkpoint; it follows from the headers, and no root covers it."""
    directory: Directory = field(default_factory=Directory)
    status: Status = field(default_factory=Status)
    motions: Motions = field(default_factory=Motions)
    decided: Mapping[bytes, Outcome] = field(default_factory=dict, compare=False)
    """What became of motions with the tip's block: it follows from the rest, and no root covers it."""

    @property
    def index(self) -> int:
        """The tip's index."""
        return self.tip.index

    @property
    def has_checkpoint(self) -> bool:
        """Whether the tip is one of the blocks whose log members countersign."""
        return self.tip.timestamp_ms == self.checkpoint_ms and self.log.size > 0

    @property
    def root(self) -> bytes:
        """The root in the tip's header; zero with *mint freely* (course), where blocks are made without a chain."""
        return ZERO_DIGEST if self.params.mint_freely else self.roots.hash

    @property
    def members_hash(self) -> bytes:
        """The part of the root that is not about the log (`LogRoots`); zero with *mint freely*, as the root is."""
        return ZERO_DIGEST if self.params.mint_freely else self.roots.of_log.members_hash

    @derived
    def roots(self) -> StateRoots:
        """The parts of the root."""
        return StateRoots(
            log_size=self.log.size,
            log_root=self.log.root(),
            headers_root=self.headers.root(),
            voters=self.voters,
            next_voters=self.epoch.hash,
            accounts=self.stakes.accounts_hash,
            burned=self.stakes.burned_hash,
            parameters=digest(self.params.encoded),
            evidence=digest(encode(self.epoch_ends)),
            directory=self.directory.root,
            status=self.status.root,
            motions=self.motions.root,
        )

    def context(self, now_ms: int) -> BlockContext:
        """That of the next block, if it is made now."""
        return BlockContext(self.epoch.number, self.index + 1, max(now_ms, self.tip.timestamp_ms + 1))

    def check_liable(self, evidence: Evidence, context: BlockContext) -> None:
        """Raise `Refused` (V6) for evidence of a later epoch, or of one whose stake is liable no more."""
        epoch = evidence.epoch
        until = [end.freed_from(self.params) for end in self.epoch_ends if end.epoch == epoch]
        if epoch != context.epoch and all(context.reaches(one) for one in until):
            raise Refused(Rule.V6, f"evidence of epoch {epoch} in block {context.index}, of epoch {context.epoch}")


@lru_cache(maxsize=4)
def genesis_state(genesis: Genesis) -> State:
    """The state that a ledger begins with, at block 0; one for all nodes of a process."""
    params, stakes, zero = genesis.params, genesis.stakes(), ZERO_DIGEST
    epoch = Epoch(0, stakes, 1, genesis.created_ms)
    tip = Header(VERSION, genesis.ledger_id, 0, 0, 0, zero, genesis.created_ms, zero, certificates_hash(()), zero)
    created_ms = genesis.created_ms
    state = State(tip, stakes, epoch, Frontier(), Frontier(), params, (), epoch.hash, created_ms, genesis.directory())
    return dataclasses.replace(state, tip=replace(tip, state_root=state.root))
