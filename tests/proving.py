"""A ledger in a store whose members countersign what they are told to, and proofs that are made of it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tallystick.ledger.block import Block, genesis_block
from tallystick.ledger.bundle import Bundle, read_bundle
from tallystick.ledger.certificate import AnyCertificate, Payload, Statement, issue_statement
from tallystick.ledger.checkpoint import Checkpoint, Cosignature, cosign
from tallystick.ledger.file_statement import FileStatement, file_payload
from tallystick.ledger.genesis import Genesis
from tallystick.node.checkpoints import Countersigned
from tallystick.proof.verify import Demand, Verdict, verify
from tallystick.storage.making import ProofFiles
from tallystick.storage.proving import Prover
from tallystick.storage.store import Store
from tests.builders import START_MS
from tests.governed import FinalGovernedScribe, directory_genesis

REPORT = FileStatement("report.pdf", 12_345, bytes(range(32)), "final version")
NOW_MS = START_MS + 86_400_000


def short_epochs(blocks: int, stakes: tuple[int, ...] = (10, 10, 10, 10)) -> Genesis:
    """Organisations ada, ben, cy and dot; an epoch lasts so many blocks, which follow each other by 1 ms."""
    times = {"epoch_ms": blocks, "unbonding_blocks": 2 * blocks, "unbonding_ms": 2 * blocks}
    return directory_genesis(stakes, epoch_blocks=blocks, **times)


class ProvenLedger:
    """Written block by block; each is kept with its finalization."""

    def __init__(self, path: Path, genesis: Genesis | None = None) -> None:
        self.scribe = FinalGovernedScribe(genesis)
        self.store = Store.create(path, self.scribe.genesis)
        self.prover = Prover(self.store)
        self.epoch = self.scribe.state.epoch
        """Of the last block."""

    @property
    def genesis(self) -> Genesis:
        return self.scribe.genesis

    def block(self, index: int) -> Block:
        found = self.store.block(index) if index else genesis_block(self.genesis)
        assert found is not None
        return found

    def about(self, document: FileStatement = REPORT, by: str = "ada") -> tuple[Statement, Payload]:
        """A statement about a file, not on the ledger yet, and its payload."""
        payload = file_payload(document, bytes(32))
        return issue_statement(self.scribe.key(by), self.genesis.ledger_id, START_MS, "", payload), payload

    def forge(self, *certificates: AnyCertificate, payloads: Iterable[Payload] = (), **changes: Any) -> Block:
        """The next block, kept."""
        self.epoch = self.scribe.state.epoch
        block = self.scribe.forge(*certificates, **changes)
        self.store.append(replace(self.scribe.kept[-1], payloads=tuple(payloads)))
        return block

    def forge_until(self, epoch: int) -> None:
        """Blocks until this epoch has begun."""
        while self.scribe.state.epoch.number < epoch:
            self.forge()

    def countersigned(self, *names: str, time_s: int = NOW_MS // 1000) -> Countersigned:
        """The last block's log, cosigned by the members of its epoch, or by those with these names."""
        state, wallets = self.scribe.state, {one.public_key: one for one in self.scribe.keys.values()}
        keys = [self.scribe.key(one).public_key for one in names] or [key for key, _ in self.epoch.members]
        checkpoint = Checkpoint(self.genesis.origin, state.log.size, state.log.root())
        return Countersigned(state, self.epoch, self._cosigned(checkpoint, [wallets[key] for key in keys], time_s))

    def _cosigned(self, checkpoint: Checkpoint, wallets: Iterable[Any], time_s: int) -> tuple[Cosignature, ...]:
        return tuple(sorted((cosign(one, checkpoint, time_s) for one in wallets), key=lambda one: one.member))

    def prove(self, certificate: AnyCertificate, at: Countersigned, since: int = 0) -> ProofFiles:
        place = self.scribe.chain.place_of(certificate.id)
        assert place is not None
        return self.prover.prove(place, self.scribe.chain.certificate_index.number_of(place), at, since)

    def verdict(self, files: ProofFiles, **demand: Any) -> Verdict:
        """By a verifier who trusts this ledger. Raises `Refused`."""
        known = {"now_ms": NOW_MS, "ledger_id": self.genesis.ledger_id}
        return verify(read(files), Demand(**{**known, **demand}))


def read(files: ProofFiles) -> Bundle:
    return read_bundle(files.proof.encode(), files.members, files.payload)
