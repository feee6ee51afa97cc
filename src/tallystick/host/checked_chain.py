"""A kept chain, checked again from its genesis on: every hash, every signature, every rule."""

from collections.abc import Callable
from dataclasses import dataclass

from tallystick.consensus.lone_forger import LoneForger
from tallystick.consensus.proof_of_stake import ProofOfStake
from tallystick.host.errors import DamagedStore
from tallystick.host.file_statement import FileStatement, file_statement_in
from tallystick.host.store import Store
from tallystick.ledger.block import Block, genesis_block
from tallystick.ledger.blockchain import Blockchain, CheckForger, Place, State
from tallystick.ledger.certificate import AnyCertificate, check_payload
from tallystick.ledger.errors import Refused
from tallystick.ledger.merkle import inclusion_proof, verify_inclusion
from tallystick.ledger.vote import Vote
from tallystick.node.intake import Intake


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


class _NothingKnown:
    """What a reader who trusts nobody has verified before: nothing."""

    def has_verified(self, certificate: AnyCertificate) -> bool:
        return False

    def knows_block(self, block_hash: bytes) -> bool:
        return False

    def knows_vote(self, vote: Vote) -> bool:
        return False

    def awaits_blocks(self, start: int) -> bool:
        return False


class CheckedChain:
    """Made from a store, block by block; it does not exist for a chain that breaks a rule."""

    def __init__(
        self,
        store: Store,
        check_forger: CheckForger | None = None,
        on_block: Callable[[int], None] = lambda index: None,
    ) -> None:
        """Check everything. Raises `DamagedStore`, naming the block and the rule. `check_forger`: Proof of Stake."""
        self.genesis = store.genesis
        self.leaf_hashes: list[bytes] = []
        self.forged: dict[bytes, int] = {}
        self._store = store
        self._chain = Blockchain(store.genesis, check_forger or LoneForger(ProofOfStake()).check_forger)
        self._first_leaf: dict[int, int] = {}
        self._files: dict[bytes, list[tuple[FileStatement, Place]]] = {}
        intake = Intake(store.genesis.ledger_id, _NothingKnown())
        for block in store.blocks():
            self._add(block, intake)
            on_block(block.index)

    @property
    def state(self) -> State:
        """The state at the tip: stakes, and the log's frontier."""
        return self._chain.state

    @property
    def log_root(self) -> bytes:
        """The root of the log over all certificates, 32 bytes."""
        return self.state.log.root()

    @property
    def files(self) -> list[tuple[FileStatement, Place]]:
        """What the chain's payloads state about files, in the order of the chain."""
        return sorted((one for places in self._files.values() for one in places), key=lambda one: _order(one[1]))

    def block(self, index: int) -> Block | None:
        """The block with this index, the genesis block included; `None` beyond the tip."""
        return genesis_block(self.genesis) if index == 0 else self._store.block(index)

    def find_certificates(self, id_prefix: str) -> list[Found]:
        """The certificates whose id, in hex, begins like this."""
        return [
            Found(block, position)
            for block in self._store.blocks()
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

    def _add(self, block: Block, intake: Intake) -> None:
        try:
            intake.check_block(block)
            self._chain.append(block, None)
            self._first_leaf[block.index] = len(self.leaf_hashes)
            for position, certificate in enumerate(block.certificates):
                self.leaf_hashes.append(certificate.leaf_hash)
                self._note_file(certificate, Place(block.index, position))
        except Refused as refused:
            raise DamagedStore(f"{self._store.path}: block {block.index} was altered: {refused}", refused) from None
        self.forged[block.header.forger] = self.forged.get(block.header.forger, 0) + 1

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
