"""A kept chain, checked again from its genesis on: every hash, every signature, every rule, every finalization."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from tallystick.consensus.proof_of_stake import check_drawn
from tallystick.ledger.block import Block, check_form, check_signatures, verified
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import Evidence, check_payload
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused
from tallystick.ledger.finality import check_final
from tallystick.ledger.state import State
from tallystick.ledger.vote import Tally, check_vote_signatures
from tallystick.problems import DamagedStore
from tallystick.storage.file_statement import FileStatement, file_statement_in
from tallystick.storage.store import Store


class Finality(NamedTuple):
    """What makes a block final: a quorum of its epoch's stake voted for it, or for a later block of the epoch."""

    by_block: int
    """The index of the block that was voted for."""
    voters: tuple[bytes, ...]
    stake: int
    total_stake: int


class CheckedChain:
    """Made from a store, block by block; it does not exist for a chain that breaks a rule.

    It ends with the last block that finalizations prove final.
    """

    def __init__(self, store: Store, on_block: Callable[[int], object] = lambda index: None) -> None:
        """Check everything. Raises `DamagedStore`, naming the block and the rule."""
        self.genesis = store.genesis
        self.chain = Blockchain(store.genesis, check_drawn)
        self.forged: Counter[bytes] = Counter()
        """Blocks, by forger."""
        self.burned: Counter[bytes] = Counter()
        """Tokens that evidence took, by offender."""
        self._store = store
        self._files: dict[bytes, list[tuple[FileStatement, Place]]] = {}
        self._epochs = [self.state.epoch]
        self._finality: dict[int, Finality] = {}
        unproven: list[Block] = []
        for block in store.blocks():
            unproven.append(block)
            finalization = store.finalization(block.index)
            if finalization is not None:
                for one in unproven:
                    self._add(one, finalization if one is block else None)
                    on_block(one.index)
                unproven.clear()
        self.left_out = len(unproven)
        """Kept blocks after the last one that is proven final."""

    @property
    def state(self) -> State:
        """The state at the tip: stakes, and the log's frontier."""
        return self.chain.state

    def epoch_of(self, index: int) -> Epoch:
        """The epoch that a block on the chain belongs to: whose votes counted for it."""
        return self._epochs[index]

    def finality(self, index: int) -> Finality:
        """What makes a block on the chain final; nothing has to for the genesis block."""
        return next(self._finality[one] for one in range(index, self.state.index + 1) if one in self._finality)

    def blocks(self) -> Iterator[Block]:
        """All blocks after the genesis block, in order."""
        return islice(self._store.blocks(), self.state.index)

    def stating(self, sha256: bytes) -> list[tuple[FileStatement, Place]]:
        """What the chain's payloads state about a file with this hash, in the order of the chain."""
        return self._files.get(sha256, [])

    def _add(self, block: Block, finalization: Tally | None) -> None:
        before = self.state
        try:
            check_form(block, self.genesis.ledger_id)
            check_signatures(block, self.genesis.ledger_id)
            state = self.chain.after(verified(block))
            if finalization is not None:
                self._check_final(block, finalization)
            self.chain.publish(block, state)
            self._note_files(block)
        except Refused as refused:
            raise DamagedStore(f"{self._store.path}: block {block.index} was altered: {refused}", refused) from None
        self._epochs.append(before.epoch)
        self.forged[block.header.forger] += 1
        for offender in {one.offender for one in block.certificates if isinstance(one, Evidence)}:
            self.burned[offender] += before.stakes.account(offender).total - state.stakes.account(offender).total

    def _check_final(self, block: Block, finalization: Tally) -> None:
        """Raise `Refused` (V1, V2) unless these votes make the next block final."""
        epoch = self.state.epoch
        check_final(epoch, block.header, finalization)
        check_vote_signatures(finalization, self.genesis.ledger_id)
        voters = tuple(member for member, _ in finalization.signatures)
        self._finality[block.index] = Finality(block.index, voters, sum(map(epoch.stake, voters)), epoch.total)

    def _note_files(self, block: Block) -> None:
        for position, certificate in enumerate(block.certificates):
            payload = self._store.payload(certificate.payload_hash) if certificate.payload_hash else None
            if payload is None:
                continue
            check_payload(certificate, payload)
            statement = file_statement_in(payload)
            if statement is not None:
                self._files.setdefault(statement.sha256, []).append((statement, Place(block.index, position)))
