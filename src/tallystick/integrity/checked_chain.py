"""A kept chain, checked again from its genesis on: every hash, every signature, every rule, every finalization."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from tallystick.consensus.proof_of_stake import check_drawn
from tallystick.integrity.log_proofs import inclusion_proof, verify_inclusion
from tallystick.ledger.block import Block, check_form, check_signatures, genesis_block, verified
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import AnyCertificate, Evidence, check_payload
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused
from tallystick.ledger.finality import check_final
from tallystick.ledger.state import State
from tallystick.ledger.vote import Tally, check_vote_signatures
from tallystick.problems import DamagedStore
from tallystick.storage.file_statement import FileStatement, file_statement_in
from tallystick.storage.store import Store


@dataclass(frozen=True)
class Found:
    """A certificate and where it stands."""

    block: Block
    position: int

    @property
    def certificate(self) -> AnyCertificate:
        """The certificate itself."""
        return self.block.certificates[self.position]


@dataclass(frozen=True)
class Coverage:
    """A certificate that covers a file's bytes, and the RFC 6962 proof that it is in the ledger's log."""

    found: Found
    statement: FileStatement
    leaf_index: int
    proof: list[bytes]


@dataclass(frozen=True)
class Finality:
    """What makes a block final: a quorum of its epoch's stake voted for it, or for a later block of the epoch."""

    by_block: int
    """The index of the block that was voted for."""
    view: int
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
        self.leaf_hashes: list[bytes] = []
        self.forged: dict[bytes, int] = {}
        self.burned: dict[bytes, int] = {}
        """Tokens that evidence took, by offender."""
        self.left_out = 0
        """Kept blocks after the last one that is proven final."""
        self._store = store
        self._chain = Blockchain(store.genesis, check_drawn)
        self._first_leaf: dict[int, int] = {}
        self._files: dict[bytes, list[tuple[FileStatement, Place]]] = {}
        self._epochs = {0: self._chain.state.epoch}
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

    @property
    def state(self) -> State:
        """The state at the tip: stakes, and the log's frontier."""
        return self._chain.state

    @property
    def log_root(self) -> bytes:
        """The root of the log over all certificates, 32 bytes."""
        return self.state.log.root()

    def epoch_of(self, index: int) -> Epoch:
        """The epoch that a block on the chain belongs to: whose votes counted for it."""
        return self._epochs[index]

    def finality(self, index: int) -> Finality:
        """What makes a block on the chain final; nothing has to for the genesis block."""
        return next(self._finality[one] for one in range(index, self.state.index + 1) if one in self._finality)

    @property
    def files(self) -> list[tuple[FileStatement, Place]]:
        """What the chain's payloads state about files, in the order of the chain."""
        return sorted((one for places in self._files.values() for one in places), key=lambda one: _order(one[1]))

    def block(self, index: int) -> Block | None:
        """The block with this index, the genesis block included; `None` beyond the tip."""
        if index == 0:
            return genesis_block(self.genesis)
        return self._store.block(index) if index <= self.state.index else None

    def blocks(self) -> Iterator[Block]:
        """All blocks after the genesis block, in order."""
        return islice(self._store.blocks(), self.state.index)

    def find_certificates(self, id_prefix: str) -> list[Found]:
        """The certificates whose id, in hex, begins like this."""
        return [
            Found(block, position)
            for block in self.blocks()
            for position, certificate in enumerate(block.certificates)
            if certificate.id.hex().startswith(id_prefix.lower())
        ]

    def covering(self, statement: FileStatement) -> list[Coverage]:
        """The certificates that cover these bytes, each with its proof of inclusion, verified."""
        same_hash = self._files.get(statement.sha256, [])
        return [self._coverage(stated, place) for stated, place in same_hash if stated.is_about_same_bytes(statement)]

    def leaf_index(self, found: Found) -> int:
        """The certificate's place in the log."""
        return self._first_leaf[found.block.index] + found.position

    def prove(self, found: Found) -> list[bytes]:
        """The proof, verified here, that the certificate is in the log. Raises `DamagedStore` when it does not hold."""
        leaf_index = self.leaf_index(found)
        proof = inclusion_proof(self.leaf_hashes, leaf_index)
        leaf = found.certificate.leaf_hash
        if not verify_inclusion(leaf, leaf_index, len(self.leaf_hashes), proof, self.log_root):
            raise DamagedStore(f"{self._store.path}: certificate {leaf_index} is not in the log that the chain gives")
        return proof

    def _coverage(self, statement: FileStatement, place: Place) -> Coverage:
        block = self._store.block(place.block_index)
        if block is None:
            raise DamagedStore(f"{self._store.path}: block {place.block_index} vanished while the file was read")
        found = Found(block, place.position)
        return Coverage(found, statement, self.leaf_index(found), self.prove(found))

    def _add(self, block: Block, finalization: Tally | None) -> None:
        before = self.state
        try:
            check_form(block, self.genesis.ledger_id)
            check_signatures(block, self.genesis.ledger_id)
            state = self._chain.after(verified(block))
            if finalization is not None:
                self._check_final(block, finalization)
            self._chain.publish(block, state)
            self._first_leaf[block.index] = len(self.leaf_hashes)
            for position, certificate in enumerate(block.certificates):
                self.leaf_hashes.append(certificate.leaf_hash)
                self._note_file(certificate, Place(block.index, position))
        except Refused as refused:
            raise DamagedStore(f"{self._store.path}: block {block.index} was altered: {refused}", refused) from None
        self._epochs[block.index] = before.epoch
        self.forged[block.header.forger] = self.forged.get(block.header.forger, 0) + 1
        for offender in {one.offender for one in block.certificates if isinstance(one, Evidence)}:
            lost = before.stakes.account(offender).total - self.state.stakes.account(offender).total
            self.burned[offender] = self.burned.get(offender, 0) + lost

    def _check_final(self, block: Block, finalization: Tally) -> None:
        """Raise `Refused` (V1, V2) unless these votes make the next block final."""
        epoch = self.state.epoch
        check_final(epoch, block.header, finalization)
        check_vote_signatures(finalization, self.genesis.ledger_id)
        voters = tuple(member for member, _ in finalization.signatures)
        stake = sum(epoch.stake(member) for member in voters)
        self._finality[block.index] = Finality(block.index, finalization.ballot.view, voters, stake, epoch.total)

    def _note_file(self, certificate: AnyCertificate, place: Place) -> None:
        payload = self._store.payload(certificate.payload_hash) if certificate.payload_hash else None
        if payload is None:
            return
        check_payload(certificate, payload)
        statement = file_statement_in(payload)
        if statement is not None:
            self._files.setdefault(statement.sha256, []).append((statement, place))


def _order(place: Place) -> tuple[int, int]:
    return place.block_index, place.position
