"""A kept chain, checked again from its genesis on: every hash, every signature, every rule, every finalization."""

from collections.abc import Callable, Iterable

from tallystick.consensus.proof_of_stake import check_drawn
from tallystick.ledger.block import Block, check_form, check_signatures, verified
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import check_payload
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.checkpoint import Cosignature
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused
from tallystick.ledger.file_statement import FileStatement, file_statement_in
from tallystick.ledger.finality import check_final
from tallystick.ledger.state import State
from tallystick.ledger.vote import Tally, check_vote_signatures
from tallystick.node.checkpoints import Countersigned
from tallystick.problems import DamagedStore
from tallystick.storage.decision_tables import NotedDecisions
from tallystick.storage.store import Store


class CheckedChain:
    """Made from a store, block by block; it does not exist for a chain that breaks a rule.

    It ends with the last block that finalizations prove final.
    """

    def __init__(self, store: Store, on_block: Callable[[int], object] = lambda index: None) -> None:
        """Check everything. Raises `DamagedStore`, naming the block and the rule."""
        self.genesis = store.genesis
        self.chain = Blockchain(store.genesis, check_drawn)
        self.decisions = NotedDecisions()
        self._store = store
        self._files: dict[bytes, list[tuple[FileStatement, Place]]] = {}
        self._epochs = [self.state.epoch]
        self._cosignatures = _by_log(store.cosignatures())
        self._cosigned: list[Countersigned] = []
        """What is kept of the logs that were cosigned, in the order of the chain; not each is a quorum."""
        unproven: list[Block] = []
        for block in store.blocks():
            unproven.append(block)
            finalization = store.finalization(block.index)
            if finalization is not None:
                for one in unproven:
                    self._add(one, finalization if one is block else None)
                    on_block(one.index)
                unproven.clear()

    @property
    def state(self) -> State:
        """The state at the tip: stakes, and the log's frontier."""
        return self.chain.state

    @property
    def checkpoint(self) -> Countersigned | None:
        """The newest checkpoint of which a quorum of cosignatures is kept, each of them good."""
        return next((one for one in reversed(self._cosigned) if _is_countersigned(one)), None)

    def epoch_of(self, index: int) -> Epoch:
        """The epoch that a block on the chain belongs to: whose votes counted for it."""
        return self._epochs[index]

    def stating(self, sha256: bytes) -> list[tuple[FileStatement, Place]]:
        """What the chain's payloads state about a file with this hash, in the order of the chain."""
        return self._files.get(sha256, [])

    def _add(self, block: Block, finalization: Tally | None) -> None:
        epoch = self.state.epoch
        try:
            check_form(block, self.genesis.ledger_id)
            check_signatures(block, self.genesis.ledger_id)
            state = self.chain.after(verified(block))
            if finalization is not None:
                check_final(epoch, block.header, finalization)
                check_vote_signatures(finalization, self.genesis.ledger_id)
            self.chain.publish(block, state)
            self.decisions.add_block(block, state.decided)
            self._note_files(block)
        except Refused as refused:
            raise DamagedStore(f"{self._store.path}: block {block.index} was altered: {refused}", refused) from None
        self._epochs.append(epoch)
        self._note_cosigned(state, epoch)

    def _note_cosigned(self, state: State, epoch: Epoch) -> None:
        """Take what is signed by voters of the block's epoch for the log after it."""
        origin = self.genesis.origin
        said = self._cosignatures.get((state.log.size, state.log.root())) if self._cosignatures else ()
        good = [one for one in said or () if epoch.stake(one.member) and one.is_signed(origin)]
        if good:
            self._cosigned.append(Countersigned(state, epoch, tuple(good)))

    def _note_files(self, block: Block) -> None:
        for position, certificate in enumerate(block.certificates):
            payload = self._store.payload(certificate.payload_hash) if certificate.payload_hash else None
            if payload is None:
                continue
            check_payload(certificate, payload)
            statement = file_statement_in(payload)
            if statement is not None:
                self._files.setdefault(statement.sha256, []).append((statement, Place(block.index, position)))


def _by_log(cosignatures: Iterable[Cosignature]) -> dict[tuple[int, bytes], list[Cosignature]]:
    """By the size and root of the log that was cosigned."""
    found: dict[tuple[int, bytes], list[Cosignature]] = {}
    for one in cosignatures:
        found.setdefault((one.size, one.root), []).append(one)
    return found


def _is_countersigned(one: Countersigned) -> bool:
    return one.voters.is_quorum(sum(one.voters.stake(signed.member) for signed in one.cosignatures))
