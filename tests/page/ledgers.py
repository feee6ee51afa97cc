"""A small ledger for the page: proofs of it, its mirror as files, and PDF files that carry a proof of it."""

from pathlib import Path
from typing import Any, NamedTuple

from tallystick.client.pdf_files import read_base
from tallystick.client.pdf_revision import AttachedProof, write_revision
from tallystick.ledger.certificate import Statement
from tallystick.ledger.changes import Effect
from tallystick.node.checkpoints import Countersigned
from tallystick.storage.described_files import describe_file
from tallystick.storage.making import ProofFiles
from tests.mirrors import write_mirror
from tests.page.chromium import file
from tests.pdfs import by_hand
from tests.proving import ProvenLedger, short_epochs

PDF = by_hand()


class Certified(NamedTuple):
    """A PDF that is certified on a ledger of its own, of which there are an older and a newer proof."""

    ledger: ProvenLedger
    statement: Statement
    older: ProofFiles
    at_older: Countersigned
    folder: Path
    pdf: bytes

    @property
    def ledger_id(self) -> str:
        return self.ledger.genesis.ledger_id.hex()

    @property
    def given(self) -> list[Any]:
        """The PDF and its older proof, beside it."""
        return [file("diploma.pdf", self.pdf), file("diploma.pdf.tlog-proof", self.older.proof.encode())]

    def mirror(self, at: Countersigned | None = None) -> Path:
        write_mirror(self.ledger, at or self.ledger.countersigned(), self.folder / "mirror")
        return self.folder / "mirror"

    def newer(self) -> ProofFiles:
        return self.ledger.prove(self.statement, self.ledger.countersigned())

    def go_on(self, *, is_revoked: bool = False) -> None:
        """A block more."""
        scribe = self.ledger.scribe
        said = scribe.revocation(self.statement, effect=Effect.REVOKED) if is_revoked else scribe.statement()
        self.ledger.forge(said)


def certified(folder: Path, pdf: bytes = PDF) -> Certified:
    (folder / "diploma.pdf").write_bytes(pdf)
    ledger = ProvenLedger(folder / "chain.db", short_epochs(4))
    statement, payload = ledger.about(describe_file(folder / "diploma.pdf"))
    ledger.forge(statement, payloads=[payload])
    at = ledger.countersigned()
    return Certified(ledger, statement, ledger.prove(statement, at), at, folder, pdf)


def attached(proof: ProofFiles, pdf: bytes = PDF) -> bytes:
    """The PDF with its proof attached."""
    return pdf + write_revision(read_base(pdf), AttachedProof(proof.proof.encode(), proof.members, proof.payload))
